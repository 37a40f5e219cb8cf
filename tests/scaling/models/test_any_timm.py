"""Models by name: which layers are candidates, whose weights they get, and what is refused."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from scaling.alignment.features.activations import collect_activations
from scaling.errors import StudyError
from scaling.models.any_timm import block_layers, load_timm, running_layers

# (first candidates, last candidates, how many), read from each model's definition
EXPECTED = {
    "resnet50": (["conv1", "layer1.0"], ["layer4.2", "global_pool"], 18),
    "vgg16": (["features.0", "features.2"], ["features.28", "pre_logits", "head.global_pool"], 15),
    "vit_base_patch16_224": (["patch_embed", "blocks.0"], ["blocks.11", "fc_norm"], 14),
    "convnext_tiny": (["stem.0", "stages.0.blocks.0"], ["stages.3.blocks.2", "head.global_pool"], 20),
    "swin_tiny_patch4_window7_224": (["patch_embed"], ["layers.3.blocks.1", "head.global_pool"], 14),
    "efficientnet_b0": (["conv_stem", "blocks.0.0"], ["conv_head", "global_pool"], 19),
    "mixer_b16_224": (["stem", "blocks.0"], ["blocks.11", "head_drop"], 14),
    "regnety_016": (["stem", "s1"], ["s4", "head.global_pool"], 6),  # its stem is a ConvNormAct, no norm
    "nfnet_f0": (["stem.conv1", "stem.conv2"], ["final_conv", "head.global_pool"], 18),  # gains that are scalars
    "inception_v3": (["Conv2d_1a_3x3", "Conv2d_2a_3x3"], ["Mixed_7c", "global_pool"], 17),
    "volo_d1_224": (["patch_embed", "network.0.0"], ["post_network.1", "head_drop"], 23),  # an auxiliary classifier
    "efficientformer_l1": (["stem.conv1", "stem.conv2"], ["stages.3", "head_drop"], 15),  # a second classifier
    "crossvit_9_240": (["patch_embed.0", "patch_embed.1"], ["blocks.2.blocks.1.2", "head_drop"], 15),  # two classifiers
}  # fmt: skip
SMALL = ("test_resnet", "test_vit", "test_convnext", "test_byobnet", "test_efficientnet", "test_nfnet")


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name).eval()


@pytest.mark.parametrize("name", EXPECTED)
def test_candidates_are_the_blocks_and_the_pooled_features(name):
    model = on_meta(name)
    layers, (first, last, n_layers) = block_layers(model), EXPECTED[name]
    assert layers[: len(first)] == first
    assert layers[-len(last) :] == last
    assert len(layers) == len(set(layers)) == n_layers
    shapes = [[p.ndim for p in model.get_submodule(layer).parameters()] for layer in layers[: -len(last)]]
    assert all(max(dimensions) > 1 for dimensions in shapes)  # a norm has scales and shifts alone
    names = model.pretrained_cfg["classifier"]
    classifiers = {model.get_submodule(n) for n in ([names] if isinstance(names, str) else names)}
    assert not any(classifiers & set(model.get_submodule(layer).modules()) for layer in layers)


@pytest.mark.parametrize("name", SMALL)
def test_every_candidate_runs(name):
    model = load_timm(name)
    layers, size = block_layers(model), model.pretrained_cfg["input_size"][-1]
    found = collect_activations(model, layers, torch.rand(3, 3, size, size))
    assert list(found) == running_layers(model, layers, size) == layers
    assert all(np.isfinite(values).all() and len(values) == 3 for values in found.values())
    assert found[layers[-1]].shape[1] == model.num_features  # the last one is what the classifier reads


def test_candidates_do_not_depend_on_the_classifier():
    assert block_layers(timm.create_model("test_resnet", num_classes=0)) == block_layers(on_meta("test_resnet"))


class Odd(nn.Module):
    """Blocks that run in another order than they are listed, never, over patches, or without a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.late, self.early, self.dead = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.patches, self.table = nn.Linear(4, 4), nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.table({"images": images})
        self.patches(images.reshape(-1, 4))
        return self.late(self.early(images))


def test_layers_that_do_not_run_by_image_are_left_out_and_the_rest_come_as_they_run():
    model = Odd()
    assert block_layers(model) == ["late", "early", "dead", "patches"]
    assert running_layers(model, ["late", "early", "dead", "patches", "table"], 4) == ["early", "late"]
    assert not any(module._forward_hooks for module in model.modules())


def test_a_timm_model_that_never_calls_its_pooling_still_has_candidates():
    model = timm.create_model("deit_tiny_distilled_patch16_224").eval()
    assert block_layers(model)[-1] == "fc_norm"
    assert running_layers(model, block_layers(model), 224)[-1] == "blocks.11"


def test_images_that_a_model_does_not_take():
    model = load_timm("test_vit")
    with pytest.raises(StudyError, match=r"VisionTransformer does not take images of 100 pixels \(.*100.*--image-size"):
        running_layers(model, block_layers(model), 100)
    assert not any(module._forward_hooks for module in model.modules())


def test_random_weights_are_the_same_each_time_and_no_generator_moves():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = load_timm("test_resnet")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    second = load_timm("test_resnet")
    assert not first.training
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key
    torch.manual_seed(0)
    own = timm.create_model("test_resnet").state_dict()
    assert all(torch.equal(value, own[key]) for key, value in first.state_dict().items())


@pytest.mark.parametrize("name", ["w.bin", "w.pth", "w.SAFETENSORS"])
def test_safetensors_are_known_by_their_content(tmp_path, name):
    tensors = timm.create_model("test_resnet").state_dict()
    save_file(tensors, tmp_path / name)
    loaded = load_timm("test_resnet", weights=tmp_path / name).state_dict()
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("kind", ["pth", "nested", "safetensors"])
def test_weights_of_a_file(tmp_path, kind):
    torch.manual_seed(3)
    tensors = timm.create_model("test_resnet").state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors if kind == "pth" else {"epoch": 3, "state_dict": tensors}, path)
    loaded = load_timm("test_resnet", weights=path).state_dict()
    assert list(loaded) == list(tensors)
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet5O", {}, ["timm has no model 'resnet5O'", "did you mean 'resnet50'?"]),
        ("test_resnett", {}, ["did you mean 'test_resnet'?"]),
        ("", {}, ["timm has no model ''"]),
        ("test_resnet", {"pretrained": True, "weights": Path("w.pth")}, ["both pretrained and weights=w.pth", "one"]),
    ],
)
def test_models_that_are_refused(name, options, words):
    with pytest.raises(StudyError) as error:
        load_timm(name, **options)
    assert all(word in str(error.value) for word in words), error.value


def test_published_weights_out_of_reach(monkeypatch):
    def offline(name: str, pretrained: bool) -> nn.Module:
        raise OSError("no route to the Hub\nlong advice")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        StudyError, match=r"cannot be had \(no route to the Hub\); check the connection, or .*--weights"
    ):
        load_timm("test_resnet", pretrained=True)


class Attack:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def save_other(path):
    torch.save(timm.create_model("test_vit").state_dict(), path)


def save_half(path):
    save_file(timm.create_model("test_resnet").state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])


def save_most(path):
    save_file(timm.create_model("test_resnet").state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100])


def save_half_pth(path):
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])


def save_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/model.pth", b"other")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1234\n"
PAGE, ERROR = b"\n<!DOCTYPE html>\n<html><body>404</body></html>", b'{"error": "Repository not found"}'


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        *((f"{what}.{kind}", lambda path, content=content: path.write_bytes(content), words)
          for kind in ("safetensors", "pth", "bin")
          for what, content, words in (
              ("pointer", POINTER, ["a Git LFS pointer", "`git lfs pull`"]),
              ("page", PAGE, ["a web page", "download the file itself"]),
              ("error", ERROR, ["JSON", "download the file itself"]),
              ("nothing", b"", ["empty", "download it again"]),
              ("packed", gzip.compress(b"weights"), ["packed (gzip)", "unpack it"]),
          )),
        ("half.pth", save_half_pth, ["cut short at 5,000 bytes", "fetch it again"]),
        ("half_of_all.safetensors", save_most, ["cut short", "promises", "fetch it again"]),
        ("zip.pth", save_zip, ["a zip of weights/model.pth", "unpack it"]),
        ("zip.safetensors", save_zip, ["a zip of weights/model.pth", "unpack it"]),
        ("absent.pth", lambda path: None, ["No such file"]),
        ("absent.safetensors", lambda path: None, ["No such file"]),
        ("empty.pth", lambda path: path.write_bytes(b""), ["no PyTorch file", "empty"]),
        ("text.pth", lambda path: path.write_text("hello world"), ["no PyTorch file"]),
        ("garbage.pth", lambda path: path.write_bytes(b"\x01\x02garbage" * 99), ["no PyTorch file"]),
        ("garbage.safetensors", lambda path: path.write_bytes(b"\xff" * 999), ["header"]),
        ("half.safetensors", save_half, ["header"]),
        ("other.pth", save_other, ["Missing key(s)", "conv1.0.weight"]),
        ("list.pth", lambda path: torch.save([1, 2], path), ["list"]),
        ("nested.pth", lambda path: torch.save({"state_dict": 7}, path), ["int"]),
        ("module.pth", lambda path: torch.save(timm.create_model("test_resnet"), path), ["more than tensors"]),
        ("folder.pth", lambda path: path.mkdir(), ["directory"]),
    ],
)  # fmt: skip
def test_files_that_hold_no_weights(tmp_path, name, write, words):
    write(tmp_path / name)
    with pytest.raises(StudyError) as error:
        load_timm("test_resnet", weights=tmp_path / name)
    message = str(error.value)
    told = ["timm:test_resnet", str(tmp_path / name), "holds no weights for it", "a PyTorch state dict of this model"]
    assert [word for word in (*told, *words) if word not in message] == [], message
    assert len(message) < 500
    assert "\n" not in message


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_a_file_of_weights_runs_no_code(tmp_path, save):
    mark = tmp_path / "executed"
    pickle.loads(pickle.dumps(Attack(mark)))
    assert mark.exists()  # the attack works where it is let
    mark.unlink()
    save({"conv1.0.weight": Attack(mark)}, tmp_path / "evil.pth")
    with pytest.raises(StudyError, match="more than tensors") as error:
        load_timm("test_resnet", weights=tmp_path / "evil.pth")
    assert "weights_only" not in str(error.value)
    assert not mark.exists()
