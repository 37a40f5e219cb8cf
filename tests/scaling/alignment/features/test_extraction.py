"""Representations of a model's layers against the same features held whole, and the memory that they take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from sklearn.decomposition import PCA
from sklearn.random_projection import SparseRandomProjection
from torch import nn

from scaling.alignment.features import passes as plan_module
from scaling.alignment.features.activations import collect_activations
from scaling.alignment.features.cache import RepresentationCache
from scaling.alignment.features.extraction import layer_representations
from scaling.alignment.features.passes import FeatureBudget
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.features.reduction import PrincipalComponents, SparseProjection
from scaling.alignment.features.representation import Representation
from scaling.errors import StudyError

N, SIZE = 23, 16
LAYERS = ["0", "2", "5", "7"]


class Images:
    """uint8 images, or prepared ones."""

    def __init__(self, n=N, seed=0, prepared=False):
        rng = np.random.default_rng(seed)
        shape = (n, 3, SIZE, SIZE) if prepared else (n, SIZE, SIZE, 3)
        self.images = (
            rng.standard_normal(shape).astype(np.float32) if prepared else rng.integers(0, 256, shape, np.uint8)
        )
        self.key, self.passes = f"{n} {seed} {prepared}", 0

    def __len__(self):
        return len(self.images)

    def batches(self, batch_size):
        self.passes += 1
        for start in range(0, len(self), batch_size):
            yield self.images[start : start + batch_size]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(inplace=True),
        nn.MaxPool2d(2), nn.Conv2d(12, 8, 3), nn.Flatten(), nn.Linear(288, 15),
    )  # fmt: skip


@pytest.fixture
def preprocessing():
    return Preprocessing.square(SIZE, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def whole(model, stimuli, preprocessing, batch_size=5):
    prepared = preprocessing.apply(stimuli.images) if preprocessing else stimuli.images
    return collect_activations(model, LAYERS, prepared, batch_size)


def assert_equal(got, expected, **tolerance):
    for field in fields(Representation):
        left, right = getattr(got, field.name), getattr(expected, field.name)
        if left is None or right is None:
            assert left is right, field.name
        elif tolerance:
            np.testing.assert_allclose(left, right, err_msg=field.name, **tolerance)
        else:
            np.testing.assert_array_equal(left, right, err_msg=field.name)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 30 columns of 23 images, and no bytes but those that the plan counts one by one."""
    for module in ("numerics", "features.passes"):
        monkeypatch.setattr(f"scaling.alignment.{module}.BLOCK_ELEMENTS", 30 * N)
    monkeypatch.setattr(plan_module, "OVERHEAD_BYTES", 0)


BUDGETS = {
    "one pass in memory": (FeatureBudget(memory_gb=1, batch_size=5), 1),
    "one pass in a file": (FeatureBudget(memory_gb=9e-4, spill_gb=1, batch_size=5), 1),
    "passes in a file": (FeatureBudget(memory_gb=6.2e-4, spill_gb=2e-4, batch_size=5), 4),
    "passes in memory": (FeatureBudget(memory_gb=9e-4, spill_gb=0, batch_size=5), 3),
    "many passes": (FeatureBudget(memory_gb=5.25e-4, spill_gb=0, batch_size=5), 80),
}


@pytest.mark.parametrize("case", BUDGETS)
def test_equal_to_the_bit_to_features_held_whole_whatever_the_budget(
    model, preprocessing, small_blocks, tmp_path, case
):
    budget, least_passes = BUDGETS[case]
    stimuli = Images()
    got = layer_representations(
        model,
        ["7", "0", "5", "2", "0"],
        stimuli,
        preprocessing,
        budget.model_copy(update={"spill_folder": str(tmp_path)}),
    )
    found = dict(got)
    assert list(found) == LAYERS
    for layer, features in whole(model, Images(), preprocessing).items():
        assert_equal(found[layer], Representation.of(features))
    assert stimuli.passes - 1 >= least_passes  # and one image to probe
    assert stimuli.passes - 1 < 1.4 * least_passes
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_used_exactly_where_memory_does_not_do(model, preprocessing, small_blocks, monkeypatch):
    files = []
    monkeypatch.setattr(os, "posix_fallocate", lambda file, offset, size: files.append(size))
    list(layer_representations(model, LAYERS, Images(), preprocessing, BUDGETS["one pass in memory"][0]))
    assert files == []
    list(layer_representations(model, LAYERS, Images(), preprocessing, BUDGETS["one pass in a file"][0]))
    assert files == [4 * N * sum(x.shape[1] for x in whole(model, Images(), preprocessing).values())]


def test_images_that_come_prepared(model):
    stimuli = Images(prepared=True)
    found = dict(layer_representations(model, LAYERS, stimuli, None, FeatureBudget(batch_size=5)))
    for layer, features in whole(model, stimuli, None).items():
        assert_equal(found[layer], Representation.of(features))


def test_the_batch_size_hardly_matters(model, preprocessing):
    found = [
        dict(layer_representations(model, LAYERS, Images(), preprocessing, FeatureBudget(batch_size=size)))
        for size in (1, 5, None)
    ]
    for layer in LAYERS:
        for other in found[1:]:
            np.testing.assert_allclose(other[layer].kernel, found[0][layer].kernel, rtol=1e-4, atol=1e-4)


def test_layers_come_as_they_are_done_and_nothing_is_left_when_the_caller_stops(model, preprocessing, small_blocks):
    stimuli, before = Images(), len(os.listdir("/proc/self/fd"))
    model.train()
    stream = layer_representations(model, LAYERS, stimuli, preprocessing, BUDGETS["passes in a file"][0])
    assert stimuli.passes == 0
    layer, _ = next(stream)
    assert layer == "0"
    assert stimuli.passes < 6
    assert model.training
    stream.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not any(module._forward_hooks for module in model.modules())


def test_progress_tells_every_batch_and_layer(model, preprocessing, small_blocks):
    told = []
    list(
        layer_representations(
            model, LAYERS, Images(), preprocessing, BUDGETS["passes in a file"][0], progress=lambda *p: told.append(p)
        )
    )
    dones, totals = [done for _, done, _ in told], {total for _, _, total in told}
    assert len(totals) == 1
    assert dones == sorted(dones)
    assert dones[-1] == totals.pop()
    words = " ".join(what for what, _, _ in told)
    assert all(f": {layer}" in words for layer in LAYERS)
    assert "pass 1 of" in words
    assert "images" in words


def test_a_timm_model_at_its_own_preprocessing():
    model = timm.create_model("resnet18")
    preprocessing = Preprocessing.of_timm(model, image_size=64)
    layers, stimuli = ["layer1", "layer3.1.conv2", "global_pool"], Images(6)
    found = dict(layer_representations(model, layers, stimuli, preprocessing, FeatureBudget(batch_size=4)))
    expected = collect_activations(model, layers, preprocessing.apply(stimuli.images), batch_size=4)
    for layer in layers:
        assert_equal(found[layer], Representation.of(expected[layer]))


@pytest.mark.parametrize("case", BUDGETS)
def test_a_projection_is_sklearns(model, preprocessing, small_blocks, case):
    found = dict(
        layer_representations(
            model, LAYERS, Images(), preprocessing, BUDGETS[case][0].model_copy(update={"memory_gb": 0.004}),
            reduction=SparseProjection(100),
        )
    )  # fmt: skip
    for layer, features in whole(model, Images(), preprocessing).items():
        if features.shape[1] > 100:
            features = SparseRandomProjection(100, random_state=0).fit_transform(features.astype(np.float64))
        assert_equal(found[layer], Representation.of(features), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", ["one pass in memory", "passes in a file"])
def test_principal_components_are_sklearns(model, preprocessing, case):
    others = Images(40, seed=1)
    found = dict(
        layer_representations(
            model, LAYERS, Images(), preprocessing, BUDGETS[case][0].model_copy(update={"memory_gb": 1}),
            reduction=PrincipalComponents(others, 30),
        )
    )  # fmt: skip
    joint = Images()
    joint.images = np.concatenate([joint.images, others.images])
    for layer, features in whole(model, joint, preprocessing).items():
        if features.shape[1] <= 30:
            # float32 features of other batches: the last digits depend on how the processor adds
            assert_equal(found[layer], Representation.of(features[:N]), rtol=1e-5, atol=1e-6)
            continue
        x = features.astype(np.float64)
        scores = PCA(30, svd_solver="full").fit(x[N:]).transform(x[:N])
        expected = Representation.of(scores).kernel
        assert found[layer].n_features == 30
        np.testing.assert_allclose(found[layer].kernel, expected, atol=1e-8 * np.abs(expected).max())


def test_the_cache_gives_the_same_numbers_without_running_the_model(model, preprocessing, tmp_path):
    cache, stimuli = RepresentationCache(tmp_path), Images()
    first = dict(layer_representations(model, LAYERS[:2], stimuli, preprocessing, cache=cache))
    passes = stimuli.passes
    again = dict(layer_representations(model, LAYERS[:2], stimuli, preprocessing, cache=cache))
    assert stimuli.passes == passes
    more = dict(layer_representations(model, LAYERS, stimuli, preprocessing, cache=cache))
    assert stimuli.passes > passes
    assert list(more) == LAYERS
    for layer in LAYERS[:2]:
        assert_equal(again[layer], first[layer])
        assert_equal(more[layer], first[layer])


def test_what_changes_the_numbers_is_not_found_in_the_cache(model, preprocessing, tmp_path):
    cache = RepresentationCache(tmp_path)

    def kept(stimuli=None, change=preprocessing, **options):
        list(layer_representations(model, ["5"], stimuli or Images(), change, cache=cache, **options))
        return len(list(tmp_path.iterdir()))

    assert kept() == 1
    assert kept(budget=FeatureBudget(memory_gb=1, spill_gb=0)) == 1  # the budget changes nothing
    assert kept(budget=FeatureBudget(batch_size=3)) == 2
    assert kept(Images(seed=5)) == 3
    assert kept(change=Preprocessing.square(SIZE, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))) == 4
    assert kept(reduction=SparseProjection(20)) == 5
    assert kept(reduction=PrincipalComponents(Images(40, seed=1), 20)) == 6
    assert kept(reduction=PrincipalComponents(Images(40, seed=2), 20)) == 7
    with torch.no_grad():
        model[7].bias += 1
    assert kept() == 8


class Growing(nn.Module):
    runs = 0

    def forward(self, x):
        self.runs += 1
        return x.repeat(1, 2) if self.runs > 2 else x


class Shrinking(Images):
    def batches(self, batch_size):
        yield from list(super().batches(batch_size))[: 1 if self.passes > 1 else None]


def nan_after_the_first(stimuli):
    stimuli.images[3, 0, 0, 0] = np.nan
    return stimuli


@pytest.mark.parametrize(
    ("layers", "make", "budget", "words"),
    [
        (["5", "77"], Images, None, ["'77'", "known: 0, 1"]),
        ([], Images, None, ["no layers"]),
        (["5"], lambda: Images(2), None, ["2 stimuli", "at least 3"]),
        (["5"], lambda: nan_after_the_first(Images(prepared=True)), None, ["layer '5'", "NaN"]),
        (["9"], Images, None, ["'9'", "576", "288"]),
        (["5"], Shrinking, None, ["5 images came of 23"]),
        (["5"], Images, FeatureBudget(memory_gb=0.01), ["memory_gb=0.01", "'5'", "raise it to"]),
    ],
)
def test_bad_input(model, layers, make, budget, words):
    model = nn.Sequential(*model[:7], nn.Identity(), nn.Identity(), Growing())
    stimuli = make()
    preprocessing = None if stimuli.images.dtype == np.float32 else Preprocessing.square(SIZE, (0, 0, 0), (1, 1, 1))
    with pytest.raises(StudyError) as error:
        list(layer_representations(model, layers, stimuli, preprocessing, budget or FeatureBudget(batch_size=5)))
    assert all(word in str(error.value) for word in words), error.value


MEMORY = """
import json, sys
import numpy as np, torch
from torch import nn
from scaling.alignment.features.activations import collect_activations
from scaling.alignment.features.extraction import layer_representations
from scaling.alignment.features.passes import FeatureBudget
from scaling.alignment.features.representation import Representation

class Images:
    key = "seeded"
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def batches(self, size):
        for start in range(0, self.n, size):
            batch = np.random.default_rng(start).standard_normal((min(size, self.n - start), 3, 64, 64))
            yield batch.astype(np.float32)

def resident(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(
    nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(64, 64, 1), nn.ReLU(inplace=True),
    nn.MaxPool2d(2), nn.Conv2d(64, 32, 1),
)
layers, growths, kernels = ["0", "2", "5"], [], []
for spill_gb in (0.3, 0.0):
    budget = FeatureBudget(memory_gb=0.25, spill_gb=spill_gb, spill_folder=sys.argv[1], batch_size=8)
    list(layer_representations(model, layers, Images(8), None, budget))  # libraries allocate what they keep
    before = resident("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
    found = layer_representations(model, layers, Images(240), None, budget)
    kernels.append({layer: representation.kernel for layer, representation in found})
    growths.append(resident("VmHWM") - before)
images = torch.from_numpy(np.concatenate(list(Images(240).batches(8))))
whole, wrong = collect_activations(model, layers, images, batch_size=8), 0
for layer in layers:
    expected = Representation.of(whole[layer]).kernel
    wrong += sum(int((by_layer[layer] != expected).sum()) for by_layer in kernels)
print(json.dumps({"growths": growths, "wrong": wrong, "whole": sum(x.nbytes for x in whole.values())}))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc")
def test_resident_memory_stays_within_the_setting_and_the_numbers_are_the_same(tmp_path):
    """With a file and without one; the features take twice the setting."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["whole"] > 2 * 0.25e9
    assert max(found["growths"]) < 0.25e9
    assert found["wrong"] == 0
