"""Sizes as study files write them: widths, names, multiples and parameter counts; run ids that must stay."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scaling.errors import StudyError
from scaling.models import build_model
from scaling.models.sizes import count_params, nearest_steps
from scaling.specs.model import ModelSpec
from scaling.study import expand_study, load_study, parse_study

STUDIES = Path(__file__).parents[3] / "jobs" / "studies"


def models(*families: str, image_size: int | None = 32) -> list[ModelSpec]:
    """The models of a study with these families, each a line of YAML."""
    return [run.model for run in expand_study(parse_study(content(*families, image_size=image_size), "here"))]


def content(*families: str, image_size: int | None) -> dict[str, object]:
    dataset = {"name": "digits"} | ({} if image_size is None else {"image_size": image_size})
    return {
        "name": "sizes",
        "dataset": dataset,
        "models": [yaml.safe_load(f"{{{line}}}") for line in families],
        "benchmarks": ["simulated-ventral-stream.IT"],
    }


@pytest.mark.parametrize(
    ("line", "shape", "label"),
    [
        ("family: resnet, sizes: [18]", (18, None, None), "resnet w18"),
        ("family: resnet, sizes: ['18']", (64, 18, None), "resnet-18 w64 (18)"),
        ("family: resnet, sizes: [ResNet152]", (64, 152, None), "resnet-152 w64 (ResNet152)"),
        ("family: vit, sizes: [tiny]", (192, 12, 3), "vit-12 w192 (tiny)"),
        ("family: deit3, sizes: [deit3_base]", (768, 12, 12), "deit3-12 w768 (deit3_base)"),
        ("family: convnext, sizes: [convnext_large]", (192, 36, None), "convnext-36 w192 (convnext_large)"),
        ("family: efficientnet, sizes: [b2]", (110, 23, None), "efficientnet-23 w110 (b2)"),
        ("family: alexnet, sizes: [alexnet]", (64, None, None), "alexnet w64 (alexnet)"),
        ("family: cornet_s, sizes: [standard]", (64, None, None), "cornet_s w64 (standard)"),
        ("family: timm, sizes: [test_resnet]", (469_688, None, None), "timm test_resnet"),
        ("family: resnet, depth: 50, sizes: [{width: 0.5}]", (32, 50, None), "resnet-50 w32 (x0.5)"),
        ("family: resnet, sizes: [{width: 1e-3}]", (2, None, None), "resnet w2 (x0.001)"),
        ("family: vit, heads: 4, sizes: [{width: 0.3}]", (116, None, 4), "vit w116 (x0.3)"),
        ("family: efficientnet, sizes: [{width: 1.1}]", (110, None, None), "efficientnet w110 (x1.1)"),
    ],
)
def test_what_a_size_means_and_how_it_is_shown(line, shape, label):
    (model,) = models(line)
    assert (model.size, model.depth, model.heads) == shape
    assert model.label() == label


def test_the_published_width_ladder_of_resnet18():
    """Widths x 2 down to 1/8 in geometric steps, as the published study has them."""
    multiples = ", ".join(f"{{width: {2.0 ** (1 - i)}}}" for i in range(5))
    assert [model.size for model in models(f"family: resnet, sizes: [{multiples}]")] == [128, 64, 32, 16, 8]


def before_classifier(spec: ModelSpec, image_size: int) -> int:
    with torch.device("meta"):
        model = build_model(spec, image_size, 10)
    head = {id(p) for p in model.get_classifier().parameters()}
    return sum(p.numel() for p in model.parameters() if id(p) not in head)


@pytest.mark.parametrize(
    ("line", "step", "widest"),
    [
        ("family: resnet, depth: 10", 2, 12),
        ("family: vit, depth: 3, heads: 3", 3, 60),
        ("family: convnext, depth: 4", 1, 12),
        ("family: efficientnet, depth: 7", 1, 30),
        ("family: alexnet", 1, 5),
        ("family: cornet_s", 1, 5),
    ],
)
def test_a_wanted_count_gives_the_nearest_of_all_widths(line, step, widest):
    (asked,) = models(f"{line}, sizes: [{{params: 3e4}}]")
    counts = {
        size: before_classifier(asked.model_copy(update={"size": size}), 32) for size in range(step, widest + 1, step)
    }
    assert asked.size == min(counts, key=lambda size: abs(counts[size] - 3e4)) < widest - step
    assert asked.label().endswith(f"w{asked.size} (3e+04 params: {counts[asked.size]:,})")


def test_classes_count_the_classifier_in():
    without, with_classifier = models("family: resnet, sizes: [{params: 1e6}, {params: 1e6, classes: 1000}]")
    assert (without.size, with_classifier.size) == (20, 18)
    with torch.device("meta"):
        model = build_model(with_classifier, 32, 1000)
    assert count_params(with_classifier, 32, 1000) == sum(p.numel() for p in model.parameters()) == 1_030_762


@given(st.floats(1, 1e9), st.integers(1, 500), st.integers(0, 10**5), st.floats(0.1, 50))
def test_nearest_steps_against_all(wanted, start, constant, factor):
    def count(k: int) -> int:
        return constant + int(factor * k * k) + 7 * k

    found = nearest_steps(count, wanted, start)
    best = min(range(max(1, found - 50), found + 50), key=lambda k: abs(count(k) - wanted))
    assert abs(count(found) - wanted) == abs(count(best) - wanted)


def test_the_same_model_by_name_width_or_count_is_one_run():
    with pytest.raises(StudyError, match="two runs of the grid are the same"):
        models("family: resnet, depth: 18, sizes: [64]", "family: resnet, sizes: ['18']")
    with pytest.raises(StudyError, match="two runs of the grid are the same"):
        models("family: resnet, sizes: [20, {params: 1e6}]")


@pytest.mark.parametrize(
    ("line", "image_size", "words"),
    [
        ("family: resnet, sizes: ['19']", 32, ["resnet has no size '19'", "known: 10, 101", "here, models[0]"]),
        ("family: resnet, sizes: [small]", 32, ["resnet has no size 'small'", "{params: 1e6} a count"]),
        ("family: vit, sizes: [vit_smal]", 32, ["did you mean 'small'?", "base, huge"]),
        ("family: timm, sizes: [resnet5d]", 32, ["timm has no model 'resnet5d'", "resnet50d", "here, models[0]"]),
        ("family: timm, sizes: [8]", 32, ["size=8", "a name and no width"]),
        ("family: timm, sizes: [{width: 2}]", 32, ["'timm' has no widths", "give its models' names"]),
        ("family: timm, sizes: [test_vit]", 24, ["image_size=24", "test_vit", "set dataset.image_size"]),
        ("family: resnet, depth: 50, sizes: ['18']", 32, ["depth=50 beside size '18'", "remove depth"]),
        ("family: vit, heads: 2, sizes: [tiny]", 32, ["heads=2 beside size 'tiny'", "give the width, 192"]),
        ("family: vit, sizes: [{params: 1e6}]", None, ["1e+06 parameters", "set dataset.image_size", "models[0]"]),
        ("family: vit, sizes: [{params: 0}]", 32, ["models[0].sizes[0]={'params': 0}: params", "equal to 1"]),
        ("family: vit, sizes: [12, {parms: 9}]", 32, ["models[0].sizes[1]", "parms", "{params: 1e6}"]),
        ("family: vit, sizes: [{params: 9, width: 1}]", 32, ["give either width or params", "{width: 0.5}"]),
        ("family: vit, sizes: [{width: 1, classes: 2}]", 32, ["classes belongs to params"]),
        ("family: vit, sizes: [{width: .inf}]", 32, ["models[0].sizes[0]", "finite number"]),
        ("family: vit, sizes: [1.5]", 32, ["models[0].sizes[0]=1.5", "whole width greater than 0"]),
        ("family: vit, sizes: [true]", 32, ["models[0].sizes[0]=True", "whole width"]),
        ("family: vit, sizes: ['']", 32, ["models[0].sizes", "the text is empty"]),
        ("family: vit, sizes: [-.inf]", 32, ["models[0].sizes[0]=-inf", "whole width"]),
        ("family: vt, sizes: [tiny]", 32, ["unknown model family 'vt'", "here, models[0]"]),
    ],
)  # fmt: skip
def test_impossible_sizes_are_refused_with_what_is_possible(line, image_size, words):
    with pytest.raises(StudyError) as error:
        models(line, image_size=image_size)
    message = str(error.value)
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message


def test_a_model_reads_back_from_its_json():
    for model in models("family: vit, sizes: [huge, {params: 1e6}, 12]", "family: timm, sizes: [test_resnet]"):
        assert ModelSpec.model_validate_json(model.model_dump_json()) == model


# Ids of finished studies: one that changes makes every stored result an orphan
RUN_IDS = {
    "quickstart": ("74503c7b46ca", "4b19833953d064c6"),
    "cifar10_it": ("905887e487ab", "cd2173fca182b2eb"),
    "mixed_workers": ("3efeea92d4ac", "3caaaa76bfb5a313"),
}


@pytest.mark.parametrize("study", RUN_IDS)
def test_run_ids_of_the_studies_stay(study):
    ids = [run.run_id for run in expand_study(load_study(STUDIES / f"{study}.yaml"))]
    assert (ids[0], hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]) == RUN_IDS[study]


def test_run_ids_of_an_earlier_quickstart_stay():
    """Version 0.1 shipped this grid under that name."""
    vit = {"optimizer": "adamw", "lr": 0.002, "weight_decay": 0.05}
    study = parse_study({
        "name": "quickstart", "dataset": "digits", "data_sizes": [5, 15, 45, "all"],
        "models": [{"family": "resnet", "depth": 10, "sizes": [4, 8, 16], "training": {"lr": 0.05}},
                   {"family": "vit", "depth": 4, "heads": 3, "sizes": [12, 24, 48], "training": vit}],
        "training": {"epochs": 60, "batch_size": 32, "warmup_epochs": 2}, "benchmarks": ["simulated-ventral-stream"],
    })  # fmt: skip
    ids = [run.run_id for run in expand_study(study)]
    assert ids[0] == "63cccb6eb458"
    assert hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16] == "49db0dcc932738ba"


def test_a_size_by_name_has_its_widths_identity_and_a_variant_its_own(make_run):
    by_name = make_run(models=[{"family": "resnet", "sizes": ["resnet10"]}])
    by_width = make_run(models=[{"family": "resnet", "depth": 10, "sizes": [64]}])
    assert by_name.run_id == by_width.run_id
    vit = {"family": "vit", "sizes": [1280], "depth": 32, "heads": 16}
    assert make_run(models=[vit]).run_id != make_run(models=[{"family": "vit", "sizes": ["huge"]}]).run_id
