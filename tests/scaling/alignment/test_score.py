"""A model against benchmarks: the numbers are the benchmarks' own, one pass over the images, failures kept apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.random_projection import SparseRandomProjection
from torch import nn

from scaling.alignment import score as score_module
from scaling.alignment.benchmark import Benchmark
from scaling.alignment.commitment import Commitment
from scaling.alignment.features.activations import collect_activations
from scaling.alignment.features.cache import RepresentationCache
from scaling.alignment.features.extraction import FeatureBudget
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.features.reduction import PrincipalComponents, SparseProjection
from scaling.alignment.metrics.rsa import rdm
from scaling.alignment.protocol import Protocol
from scaling.alignment.score import Subject, score_checkpoint, score_model
from scaling.alignment.scoring import ScoringOptions
from scaling.checkpoints.weights import CheckpointInfo, save_weights
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError
from scaling.layout import weights_name
from scaling.models import build_model, candidate_layers
from scaling.records import AlignmentRecord, ResultsStore

LAYERS = ("0", "2", "4", "5")
BATCH = 16
OPTIONS = ScoringOptions(budget=FeatureBudget(batch_size=BATCH), resamples=20)
ON_ALL = replace(OPTIONS, commitment=Commitment("all", {}, "all"))
SQUARE = Preprocessing.square(8, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
FACTS = {"run_id": "r", "epoch": 1, "samples_seen": 10, "flops": 1.0, "accuracy": 0.5}


def noise_images(n, seed):
    images = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return Stimuli(images, tuple(map(str, range(n))), np.arange(n) % 4, f"noise images {seed}")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 30),
    )  # fmt: skip


@pytest.fixture
def subject(model):
    return Subject(model, LAYERS, SQUARE)


def neural(name, region, metric, stimuli, **changes):
    """A recording of random linear features of the images, repeated six times."""
    rng = np.random.default_rng(list(name.encode()))
    pixels = (stimuli.images.reshape(len(stimuli), -1) - 127.5) / 74
    signal = np.tanh(pixels @ rng.standard_normal((192, 5)) / 10)
    recording = signal + 0.3 * rng.standard_normal((6, *signal.shape))
    return Benchmark(f"test.{name}", region, metric, stimuli, recording, "split_half", **changes)


@pytest.fixture
def stimuli():
    """80 images: either half is enough for PLS."""
    return noise_images(80, 0)


@pytest.fixture
def benchmarks(stimuli):
    return benchmarks_on(stimuli)


@pytest.fixture
def few():
    """The same on 60 images: a half leaves PLS 27 to fit and 3 to predict."""
    return benchmarks_on(noise_images(60, 0))


def benchmarks_on(stimuli):
    """Four metrics on the same images; two regions are mapped together."""
    judged = np.stack([rdm(neural(f"judge{i}", "IT", "ridge", stimuli).assembly[i]) for i in range(4)])
    return [
        neural("V4", "V4", "ridge", stimuli),
        neural("IT", "IT", "ridge", stimuli),
        Benchmark("test.behavior", "behavior", "rsa", stimuli, judged, "none"),
        neural("V1", "V1", "pls", stimuli, ceiled="r2/c"),
        neural("V2", "V2", "cka", stimuli, readout_only=True),
    ]


def features_of(model, stimuli, layers=LAYERS):
    return collect_activations(model, list(layers), SQUARE.apply(stimuli.images), BATCH)


def assert_equal_results(got, expected):
    """All columns of two AlignmentResults, numbers to rounding."""
    left, right = got.model_dump(), expected.model_dump()
    assert left.pop("layer_scores") == pytest.approx(right.pop("layer_scores"), rel=1e-9)
    for name, value in right.items():
        if isinstance(value, float) or (name == "draws" and value is not None):
            value = pytest.approx(np.asarray(value), rel=1e-9, abs=1e-12)
        assert left[name] == value, name


class Shown:
    """Counts the images that a model is shown."""

    def __init__(self, module):
        self.images = 0
        module.register_forward_pre_hook(self._count)

    def _count(self, module, inputs):
        self.images += len(inputs[0])


@pytest.mark.parametrize("options", [OPTIONS, ON_ALL], ids=["on halves", "on all"])
def test_scores_are_the_benchmarks_own_on_collected_activations(subject, model, benchmarks, stimuli, options):
    options = replace(options, resamples=200)
    scores = score_model(subject, benchmarks, options)
    features = features_of(model, stimuli)
    assert [score.of for score in scores] == benchmarks
    for score, benchmark in zip(scores, benchmarks, strict=True):
        assert score.reason is None
        assert score.score_s > 0
        assert_equal_results(score.result, benchmark(features, options.commitment))
        n_candidates = 1 if benchmark.readout_only else len(LAYERS)
        assert len(score.result.layer_scores) == n_candidates


def test_each_stimulus_set_is_shown_once_whatever_scores_on_it(subject, model, benchmarks, stimuli):
    others = noise_images(44, 5)
    shown = Shown(model)
    scores = score_model(subject, [*benchmarks, neural("other", "IT", "ridge", others)], ON_ALL)
    assert [score.reason for score in scores] == [None] * 6
    assert shown.images == (1 + len(stimuli)) + (1 + len(others))  # one image each to learn the layers' widths


def test_equal_images_in_two_sets_are_shown_once(subject, model, benchmarks, stimuli):
    twin = replace(stimuli, ids=tuple(f"copy {i}" for i in stimuli.ids), name="the same images again")
    shown = Shown(model)
    score_model(subject, [benchmarks[0], neural("twin", "IT", "ridge", twin)], OPTIONS)
    assert shown.images == 1 + len(stimuli)


def test_layers_that_nobody_wants_do_not_run(subject, model, benchmarks):
    fixed = Commitment("split", {"V4": "0", "IT": "2"}, "fixed by layers.yaml")
    deepest = Shown(model[5])
    scores = score_model(subject, benchmarks[:2], replace(OPTIONS, commitment=fixed))
    assert [score.result.layer for score in scores] == ["0", "2"]
    assert deepest.images <= 1  # the one image that tells widths


def test_a_fixed_layer_beside_the_candidates_is_computed(subject, benchmarks):
    fixed = Commitment("split", {"V4": "3"}, "fixed by layers.yaml")
    v4, it = score_model(subject, benchmarks[:2], replace(OPTIONS, commitment=fixed))
    assert v4.result.layer == "3"
    assert list(it.result.layer_scores) == list(LAYERS)


def test_one_benchmark_that_cannot_be_computed_leaves_the_others_alone(subject, few):
    alone = score_model(subject, few[:3], OPTIONS)
    scores = {score.benchmark: score for score in score_model(subject, few, OPTIONS)}
    failed = scores.pop("test.V1")
    assert failed.result is None
    assert "benchmark test.V1, layer '0'" in failed.reason
    assert "30 stimuli leaves 27 to fit and 3 held out" in failed.reason
    assert all(score.reason is None for score in scores.values())
    for score in alone:
        assert_equal_results(scores[score.benchmark].result, score.result)


def test_a_layer_narrower_than_the_components_of_pls_has_as_many_as_it_has_features(model, benchmarks):
    narrow = nn.Sequential(model[0], nn.Flatten(), nn.Linear(216, 7))
    scores = {s.benchmark: s for s in score_model(Subject(narrow, ("0", "2"), SQUARE), benchmarks, OPTIONS)}
    pls = scores["test.V1"]
    assert pls.reason is None
    assert set(pls.result.layer_scores) == {"0", "2"}
    assert AlignmentRecord.model_validate(FACTS | {"protocol": "p"} | pls.columns()).status == "scored"


def test_an_unreliable_recording_fails_alone(subject, benchmarks, stimuli):
    opposite = np.stack([benchmarks[0].assembly[0], -0.9 * benchmarks[0].assembly[0]])
    unreliable = Benchmark("test.noise", "V1", "ridge", stimuli, opposite, "split_half")
    ridge, noise = score_model(subject, [benchmarks[0], unreliable], OPTIONS)
    assert ridge.reason is None
    assert "ceiling 0" in noise.reason


def test_a_model_of_nans_fails_everything_with_the_reason(subject, model, benchmarks):
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    scores = score_model(subject, benchmarks, ON_ALL)
    assert [score.result for score in scores] == [None] * len(benchmarks)
    assert all("layer '0'" in score.reason and "NaN" in score.reason for score in scores)


def test_one_stimulus_set_that_cannot_be_shown_leaves_the_other_alone(subject, benchmarks):
    """The model takes images of one size only; the other set is prepared to it, so its files have to fail."""

    class Broken(Stimuli):
        def batches(self, batch_size):
            raise StudyError("im3.png is damaged")

    other = noise_images(44, 99)
    broken = neural("broken", "IT", "ridge", Broken(other.images, other.ids, other.labels, "broken"))
    good, bad = score_model(subject, [benchmarks[0], broken], OPTIONS)
    assert good.reason is None
    assert bad.reason == "im3.png is damaged"


def test_of_equal_layers_the_first_is_chosen_whatever_order_they_come_in(model, benchmarks, tmp_path):
    twins = nn.Sequential(model[0], nn.Identity(), nn.Identity())
    subject = Subject(twins, ("0", "1", "2"), SQUARE)
    cached = replace(OPTIONS, cache=RepresentationCache(tmp_path))
    assert score_model(replace(subject, layers=("2",)), benchmarks[:1], cached)[0].result.layer == "2"
    for options in (OPTIONS, cached):  # the cache gives "2" before "0" has run
        (score,) = score_model(subject, benchmarks[:1], options)
        assert score.result.layer == "0"
        assert list(score.result.layer_scores) == ["0", "1", "2"]
        assert len(set(score.result.layer_scores.values())) == 1


def test_columns_are_those_of_a_record(subject, few):
    for score in score_model(subject, few, OPTIONS):
        record = AlignmentRecord.model_validate(FACTS | {"protocol": "p"} | score.columns())
        assert record.benchmark == score.benchmark
        assert (record.status, record.reason) == (("failed", score.reason) if score.reason else ("scored", None))
        assert record.n_stimuli == (30 if score.result is not None and not score.of.readout_only else 60)
        assert record.ceiled == score.of.ceiled
        if score.result is not None:
            assert json.loads(record.layer_scores) == score.result.layer_scores
            assert (record.raw, record.raw_error) == (score.result.raw, score.result.raw_error)
            assert (record.raw_low, record.raw_high) == (score.result.raw_low, score.result.raw_high)
            assert (record.selection_leak, record.commitment) == (score.result.selection_leak, "split")
        else:
            assert (record.raw, record.score, record.layer, record.layer_scores) == (None, None, None, None)


def test_no_resamples_no_interval(subject, benchmarks):
    (score,) = score_model(subject, benchmarks[:1], replace(OPTIONS, resamples=0))
    assert (score.result.raw_low, score.result.raw_high) == (None, None)
    assert score.result.raw_error > 0


def test_a_second_scoring_from_the_cache_runs_no_forward_pass(subject, model, benchmarks, tmp_path):
    options = replace(ON_ALL, cache=RepresentationCache(tmp_path))
    first = score_model(subject, benchmarks, options)
    shown = Shown(model)
    again = score_model(subject, benchmarks, options)
    assert shown.images == 0
    assert [score.result for score in again] == [score.result for score in first]
    with torch.no_grad():
        model[0].bias += 0.5
    changed = score_model(subject, benchmarks, options)
    assert shown.images > 0
    assert changed[0].result.layer_scores != first[0].result.layer_scores


def test_random_projection_is_sklearns_and_leaves_narrow_layers_alone(subject, model, benchmarks, stimuli):
    (plain,), (reduced,) = (
        score_model(subject, benchmarks[:1], replace(OPTIONS, reduction=reduction))
        for reduction in (OPTIONS.reduction, SparseProjection(60))
    )
    projected = {
        layer: x if x.shape[1] <= 60 else SparseRandomProjection(60, random_state=0).fit_transform(x.astype(float))
        for layer, x in features_of(model, stimuli).items()
    }
    expected = benchmarks[0](projected).layer_scores
    assert reduced.result.layer_scores == pytest.approx(expected, rel=1e-6)
    before, after = plain.result.layer_scores, reduced.result.layer_scores
    assert [layer for layer in LAYERS if after[layer] != pytest.approx(before[layer], rel=1e-9)] == ["0", "2", "4"]


def test_principal_components_are_fitted_on_other_images(subject, model, benchmarks, stimuli):
    others = noise_images(100, 3)
    reduction = PrincipalComponents(others, 40)
    shown = Shown(model)
    (score,) = score_model(subject, benchmarks[:1], replace(OPTIONS, reduction=reduction))
    assert shown.images == 1 + len(stimuli) + len(others)
    fit, shown_features = features_of(model, others), features_of(model, stimuli)
    reduced = {
        layer: x if x.shape[1] <= 40 else PCA(40, svd_solver="full").fit(fit[layer].astype(float)).transform(x)
        for layer, x in shown_features.items()
    }
    assert score.result.layer_scores == pytest.approx(benchmarks[0](reduced).layer_scores, rel=1e-5)


@pytest.fixture
def checkpoint(storage, make_run, stimuli):
    """A trained run's checkpoint at epoch 2, in its store: (storage, run_id, epoch)."""
    run = make_run()
    torch.manual_seed(1)
    built = build_model(run.model, 8, 10)
    info = CheckpointInfo(
        run=run, epoch=2, samples_seen=40, flops=1e6, accuracy=0.25, image_size=8, n_classes=10,
        mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2),
    )  # fmt: skip
    save_weights(storage, built, info)
    return storage, run.run_id, 2


@pytest.fixture
def loads(monkeypatch):
    """Names of the checkpoints that are read, as they are."""
    names, load = [], score_module.load_weights

    def counted(storage, run_id, epoch):
        names.append(weights_name(run_id, epoch))
        return load(storage, run_id, epoch)

    monkeypatch.setattr(score_module, "load_weights", counted)
    return names


def alike(benchmarks, text):
    """One protocol for all of them."""
    return {benchmark.name: Protocol(text, text) for benchmark in benchmarks}


def by_name(records):
    return {record.benchmark: record for record in records}


def test_a_checkpoint_is_read_once_for_all_benchmarks_and_its_scores_are_stored(
    checkpoint, benchmarks, loads, make_run
):
    storage, run_id, epoch = checkpoint
    benchmarks = [b for b in benchmarks if b.metric != "pls"]  # the readout layer has 16 features, fewer than 25
    records = score_checkpoint(*checkpoint, benchmarks, ON_ALL, alike(benchmarks, "all"))
    assert loads == [weights_name(run_id, epoch)]
    assert ResultsStore(storage).read_checkpoint_scores(run_id, epoch) == records
    assert [record.benchmark for record in records] == sorted(b.name for b in benchmarks)
    assert {(r.run_id, r.epoch, r.samples_seen, r.flops, r.accuracy, r.protocol, r.status) for r in records} == {
        (run_id, 2, 40, 1e6, 0.25, "all", "scored")
    }
    torch.manual_seed(1)
    built = build_model(make_run().model, 8, 10).eval()
    subject = Subject(built, candidate_layers(make_run().model, built), SQUARE)
    for score in score_model(subject, benchmarks, ON_ALL):
        record = by_name(records)[score.benchmark]
        assert (record.raw, record.score, record.layer) == (score.result.raw, score.result.score, score.result.layer)


def test_what_is_scored_is_not_scored_again_nor_is_the_model_read(checkpoint, benchmarks, loads):
    storage, run_id, epoch = checkpoint
    first = score_checkpoint(*checkpoint, benchmarks[:3], OPTIONS, alike(benchmarks[:3], "p"))
    Path(storage.path(weights_name(run_id, epoch))).unlink()
    assert score_checkpoint(*checkpoint, benchmarks[:3], OPTIONS, alike(benchmarks[:3], "p")) == first
    (only,) = score_checkpoint(*checkpoint, benchmarks[:1], OPTIONS, alike(benchmarks[:1], "p"))
    assert only == by_name(first)[only.benchmark]
    assert len(loads) == 1
    with pytest.raises(StudyError, match="cannot be read"):
        score_checkpoint(*checkpoint, benchmarks[:3], OPTIONS, alike(benchmarks[:3], "another protocol"))
    assert ResultsStore(storage).read_checkpoint_scores(run_id, epoch) == first


def test_a_new_benchmark_is_added_and_the_others_keep_their_scores(checkpoint, benchmarks, loads):
    first = by_name(score_checkpoint(*checkpoint, benchmarks[:2], OPTIONS, alike(benchmarks[:2], "p")))
    both = by_name(score_checkpoint(*checkpoint, benchmarks[:3], OPTIONS, alike(benchmarks[:3], "p")))
    assert list(both) == ["test.IT", "test.V4", "test.behavior"]
    assert {name: both[name] for name in first} == first  # score_s among their columns
    assert len(loads) == 2


def test_another_protocol_scores_anew_beside_the_first(checkpoint, benchmarks):
    storage, run_id, epoch = checkpoint
    split = score_checkpoint(*checkpoint, benchmarks[:2], OPTIONS, alike(benchmarks[:2], "split"))
    (other,) = score_checkpoint(*checkpoint, benchmarks[:1], ON_ALL, alike(benchmarks[:1], "all"))
    (first,) = [record for record in split if record.benchmark == other.benchmark]
    assert (other.benchmark, other.protocol, other.n_stimuli) == ("test.V4", "all", 80)
    assert (first.protocol, first.n_stimuli) == ("split", 40)
    stored = ResultsStore(storage).read_checkpoint_scores(run_id, epoch)
    assert sorted(stored, key=repr) == sorted([*split, other], key=repr)


def test_a_score_of_an_earlier_version_is_not_made_again(checkpoint, benchmarks, loads):
    """Its protocol was the whole study's, followed by every file that the study named."""
    settings = "split; own; none; 8 deg"
    former = {b.name: Protocol(f"{settings}; a.nc 12345678; b.nc 9abcdef0", settings) for b in benchmarks[:2]}
    before = score_checkpoint(*checkpoint, benchmarks[:2], OPTIONS, former)
    file, other = benchmarks[0].name, benchmarks[1].name
    now = {file: Protocol(f"{settings}; b.nc 9abcdef0", settings), other: Protocol(settings, settings)}
    assert score_checkpoint(*checkpoint, benchmarks[:2], OPTIONS, now) == before
    changed = now | {file: Protocol(f"{settings}; b.nc 00000000", settings)}
    after = by_name(score_checkpoint(*checkpoint, benchmarks[:2], OPTIONS, changed))
    assert after[other] == by_name(before)[other]
    assert after[file].protocol.endswith("b.nc 00000000")
    assert len(loads) == 2


def test_failed_scores_are_records_and_are_tried_again(checkpoint, few, loads):
    storage, run_id, epoch = checkpoint
    failed = by_name(score_checkpoint(*checkpoint, few, OPTIONS, alike(few, "p")))["test.V1"]
    assert (failed.status, failed.raw, failed.score, failed.layer) == ("failed", None, None, None)
    assert "held out" in failed.reason
    again = by_name(score_checkpoint(*checkpoint, few, OPTIONS, alike(few, "p")))
    assert again["test.V1"].status == "failed"
    assert len(loads) == 2
    fixed = replace(OPTIONS, commitment=Commitment("split", {"V1": "act1"}, "fixed"))  # all stimuli: its cause is gone
    mended = by_name(score_checkpoint(*checkpoint, few, fixed, alike(few, "p")))
    assert (mended["test.V1"].status, mended["test.V1"].reason) == ("scored", None)
    for name in sorted(set(mended) - {"test.V1"}):
        assert mended[name] == again[name] == by_name(score_checkpoint(*checkpoint, few, fixed, alike(few, "p")))[name]
    assert len(loads) == 3
    assert by_name(ResultsStore(storage).read_checkpoint_scores(run_id, epoch)) == mended


def test_a_diverged_checkpoint_gives_failed_records(checkpoint, benchmarks, make_run):
    storage, run_id, epoch = checkpoint
    built = build_model(make_run().model, 8, 10)
    with torch.no_grad():
        built.conv1.weight.fill_(float("inf"))
    info = score_module.load_weights(storage, run_id, epoch)[1]
    save_weights(storage, built, info)
    records = score_checkpoint(*checkpoint, benchmarks, ON_ALL, alike(benchmarks, "p"))
    assert {record.status for record in records} == {"failed"}
    assert all("act1" in record.reason for record in records if record.benchmark != "test.V2")
    assert all(record.flops == 1e6 for record in records)


def test_a_damaged_checkpoint_is_said(checkpoint, benchmarks):
    storage, run_id, epoch = checkpoint
    path = Path(storage.path(weights_name(run_id, epoch)))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StudyError, match="cannot be read"):
        score_checkpoint(*checkpoint, benchmarks, OPTIONS, alike(benchmarks, "p"))
    assert ResultsStore(storage).read_checkpoint_scores(run_id, epoch) == []


class TwoScales(nn.Module):
    """One normalisation runs on two widths, as in CrossViT; another module never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow, self.both, self.idle = nn.Linear(192, 40), nn.Linear(40, 30), nn.ReLU(), nn.Linear(3, 3)

    def forward(self, images):
        return self.both(self.narrow(self.both(self.wide(images.flatten(1)))))


def test_an_odd_layer_is_left_out_and_named_and_the_others_score(stimuli):
    torch.manual_seed(0)
    model, (first, *_) = TwoScales(), benchmarks_on(stimuli)
    odd, plain = (score_model(Subject(model, layers, SQUARE), [first], OPTIONS)[0]
                  for layers in (("wide", "both", "idle", "narrow"), ("wide", "narrow")))  # fmt: skip
    assert odd.result is not None
    assert odd.result == plain.result
    assert "layer 'both' runs several times a pass, with 30 and 40 features" in odd.reason
    assert "layer 'idle' did not run" in odd.reason
    (alone,) = score_model(Subject(model, ("both",), SQUARE), [first], OPTIONS)
    assert alone.result is None
    assert alone.reason.startswith("layer 'both' runs several times")
