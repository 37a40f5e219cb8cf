"""Anyone's own recordings as benchmarks: the numbers of the arrays; what is wrong is said with the file."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.commitment import Commitment
from scaling.alignment.features.activations import collect_activations
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.score import Subject, score_model
from scaling.alignment.scoring import ScoringOptions
from scaling.alignment.suites.registry import (
    benchmark_regions,
    build_benchmarks,
    check_benchmark_data,
)
from scaling.alignment.suites.simulated import SUITE
from scaling.data.recordings import PlainRecording, read_header, write_recording
from scaling.data.recordings.recording import write_file
from scaling.errors import StudyError

N_STIMULI, SUFFIXES = 80, (".nc", ".npz")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(N_STIMULI):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def signal():
    return np.random.default_rng(1).standard_normal((N_STIMULI, 6))


def recording(**changes):
    """Six neuroids, three repetitions; the third of the first stimulus is missing."""
    responses = signal() + 0.3 * np.random.default_rng(2).standard_normal((3, N_STIMULI, 6))
    responses[2, 0] = np.nan
    return PlainRecording(
        **{
            "name": "mine2026",
            "responses": responses,
            "filenames": [f"{i}.png" for i in range(N_STIMULI)],
            "regions": ["V4", "IT", "IT", "V4", "IT", "IT"],
            "degrees": 8.0,
            "images": "images",
        }
        | changes
    )


def written(path, **changes):
    write_recording(path, recording(**changes))
    return f"file:{path}"


def unchecked(path, **changes):
    write_file(path, recording(**changes))
    return f"file:{path}"


def refused_when_written(folder, words, **changes):
    with pytest.raises(StudyError) as error:
        written(folder / "mine.npz", **changes)
    assert all(word in str(error.value) for word in [str(folder / "mine.npz"), *words]), error.value


def build(name, stimuli=None):
    return build_benchmarks([name], stimuli)


def features():
    rng = np.random.default_rng(3)
    mixed = np.hstack([signal() + rng.standard_normal((N_STIMULI, 6)), rng.standard_normal((N_STIMULI, 40))])
    return {"noise": rng.standard_normal((N_STIMULI, 30)), "mixed": mixed}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_is_a_suite_of_its_regions(folder, suffix):
    name = written(folder / f"any{suffix}")
    assert benchmark_regions([name]) == {"mine2026.V4": "V4", "mine2026.IT": "IT"}
    assert list(benchmark_regions([name, f"{SUITE}.IT"])) == [f"{SUITE}.IT", "mine2026.V4", "mine2026.IT"]
    check_benchmark_data([name], None)
    v4, it = build(name)
    assert v4.stimuli is it.stimuli
    assert {b.name: b.region for b in (v4, it)} == benchmark_regions([name])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_scores_are_those_of_the_arrays(folder, suffix):
    labels = [f"c{i % 3}" for i in range(N_STIMULI)]
    v4, it = build(written(folder / f"any{suffix}", labels=labels))
    plain = np.asarray(recording().responses)
    for got, columns in ((v4, [0, 3]), (it, [1, 2, 4, 5])):
        expected = Benchmark(
            got.name, got.region, "pls", it.stimuli, plain[:, :, columns], "split_half", "r/c", np.array(labels)
        )(features())
        assert got(features()) == expected
        assert expected.layer == "mixed"
        assert expected.score == expected.raw / expected.ceiling


def test_one_repetition_has_no_ceiling(folder):
    name = written(folder / "once.npz", responses=signal()[None])
    assert {b.ceiling_kind for b in build(name)} == {"none"}
    result = build(name)[1](features())
    assert (result.ceiling, result.score) == (None, result.raw)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("", ("pls", "split_half")),
        ("ridge", ("ridge", "split_half")),
        ("cka", ("cka", "none")),
        ("procrustes", ("procrustes", "none")),
        ("reverse-pls", ("reverse-pls", "none")),
    ],
)
def test_the_file_names_its_metric(folder, metric, expected):
    name = written(folder / "mine.nc", metric=metric)
    assert {(b.metric, b.ceiling_kind) for b in build(name)} == {expected}


def test_paths_are_relative_to_the_working_directory_or_the_home_folder(folder, monkeypatch):
    name = written(folder / "mine.nc")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    spellings = [name, "file:mine.nc", "file:images/../mine.nc", "file:~/mine.nc", "mine2026.V4"]
    assert list(benchmark_regions(spellings)) == ["mine2026.V4", "mine2026.IT"]
    built = build_benchmarks(spellings, None)
    assert [b.name for b in built] == ["mine2026.V4", "mine2026.IT"]
    assert os.path.isabs(built[0].stimuli.source)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_are_known_without_the_responses(folder, suffix):
    """The responses are damaged where neither the header nor the table of contents lies."""
    path = folder / f"mine{suffix}"
    name = written(path, responses=np.random.default_rng(0).standard_normal((40, N_STIMULI, 6)))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    assert read_header(path).regions == ("V4", "IT")
    assert len(benchmark_regions([name])) == 2
    if suffix == ".npz":  # NetCDF has no checksum of values that are not compressed
        with pytest.raises(StudyError, match=r"mine\.npz .*no whole npz"):
            check_benchmark_data([name], None)


def test_a_model_is_scored_on_files_and_actors_get_them_small(folder):
    """From files to records: as from the same arrays in memory."""
    benchmarks = build(written(folder / "mine.npz"))
    sent = pickle.loads(pickle.dumps(benchmarks))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 40))
    subject = Subject(model, ["0", "3"], Preprocessing.square(8, (0.5,) * 3, (0.2,) * 3))
    scores = score_model(subject, sent, ScoringOptions())
    images = np.concatenate(list(benchmarks[0].stimuli.batches(32)))
    activations = collect_activations(model, ["0", "3"], subject.preprocessing.apply(images))
    for benchmark, score in zip(benchmarks, scores, strict=True):
        assert score.reason is None
        expected = benchmark(activations, Commitment())
        assert score.result.layer_scores == pytest.approx(expected.layer_scores, abs=1e-5)
        assert score.result.score == pytest.approx(expected.score, abs=1e-5)
        assert score.columns()["benchmark"] == benchmark.name


def test_images_that_a_node_cannot_read_fail_alone(folder, stimuli):
    """The benchmarks are built where the images are and scored where they are not."""
    away = build(written(folder / "mine.npz"))
    here = Benchmark("here.IT", "IT", "ridge", stimuli, np.random.default_rng(0).standard_normal((1, 60, 3)), "none")
    (folder / "images").rename(folder / "elsewhere")
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 30))
    subject = Subject(model, ["1"], Preprocessing.square(8, (0.5,) * 3, (0.2,) * 3))
    scores = {score.benchmark: score for score in score_model(subject, [*away, here], ScoringOptions())}
    assert scores["here.IT"].result is not None
    for benchmark in away:
        assert f"{folder / 'images'} does not exist" in scores[benchmark.name].reason
        assert scores[benchmark.name].columns()["status"] == "failed"


def truncate(path):
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (truncate, "no whole"),
        (lambda path: path.write_bytes(b"x"), "no whole"),
    ],
)
def test_damaged_files_are_named(folder, suffix, damage, words):
    path = folder / f"mine{suffix}"
    name = written(path)
    damage(path)
    for ask in (benchmark_regions, build, lambda names: check_benchmark_data(names, None)):
        with pytest.raises(StudyError, match=words) as error:
            ask(name if ask is build else [name])
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"regions": ["a.b"] * 6}, ["region 'a.b'", "EVC"]),
        ({"metric": "rsa"}, ["metric 'rsa'", "pls, ridge, cka"]),
        ({"name": "a/b"}, ["name 'a/b'", "letters"]),
        ({"name": ""}, ["name ''"]),
        ({"name": SUITE}, [f"name '{SUITE}'", "published benchmark"]),
        ({"name": f"{SUITE}.IT"}, [f"name '{SUITE}.IT'", "published benchmark"]),
    ],
)
def test_headers_that_benchmarks_cannot_have(folder, changes, words):
    refused_when_written(folder, words, **changes)
    name = unchecked(folder / "mine.npz", **changes)
    for ask in (lambda: benchmark_regions([name]), lambda: build(name)):
        with pytest.raises(StudyError) as error:
            ask()
        assert all(word in str(error.value) for word in [str(folder / "mine.npz"), *words]), error.value


def few(n, **changes):
    responses = np.asarray(recording().responses)[:, :n]
    return {"responses": responses, "filenames": [f"{i}.png" for i in range(n)], **changes}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (few(39, metric="ridge"), ["39 stimuli", "at least 40"]),
        (few(50), ["50 stimuli", "half of them, by pls", "25 stimuli", "another metric"]),
        ({"labels": [f"c{i % 10}" for i in range(N_STIMULI)]}, ["80 stimuli", "10 labels", "leave the labels out"]),
    ],
)
def test_too_few_stimuli_are_refused_before_anything_is_trained(folder, changes, words):
    refused_when_written(folder, words, **changes)
    name = unchecked(folder / "mine.npz", **changes)
    with pytest.raises(StudyError) as error:
        check_benchmark_data([name], None)
    assert all(word in str(error.value) for word in [str(folder / "mine.npz"), *words]), error.value


def test_stimuli_that_are_gone_or_do_not_match(folder):
    name = written(folder / "mine.npz")
    (folder / "images" / "7.png").unlink()
    with pytest.raises(StudyError, match=r"no image '7\.png'") as error:
        check_benchmark_data([name], None)
    assert str(folder / "mine.npz") in str(error.value)
    arrays = dict(np.load(folder / "mine.npz"))
    np.savez(folder / "mine.npz", **(arrays | {"filename": arrays["filename"][:-1]}))
    with pytest.raises(StudyError, match=r"filename has 79 along stimulus|responses has 80"):
        build(name)


def sixteen_bits(path):
    Image.fromarray(np.full((8, 8), 9999, np.uint16)).save(path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (sixteen_bits, ["7.png", "mode 'I;16'", "8 bits", "convert it"]),
        (lambda path: Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(path), ["7.png shows 8 × 10", "one size"]),
        (lambda path: path.write_bytes(b"no image"), ["7.png", "no image"]),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), ["7.png", "no image"]),
    ],
)
@pytest.mark.parametrize("metric", ["", "ridge", "cka"])
def test_images_that_cannot_be_shown_are_refused_when_written_and_before_training(folder, spoil, words, metric):
    name = unchecked(folder / "mine.npz", metric=metric)
    check_benchmark_data([name], None)
    spoil(folder / "images" / "7.png")
    refused_when_written(folder, words, metric=metric)
    with pytest.raises(StudyError) as error:
        check_benchmark_data([name], None)
    assert all(word in str(error.value) for word in [str(folder / "mine.npz"), *words]), error.value


def test_two_files_of_one_name(folder):
    names = [written(folder / "a.nc"), written(folder / "b.npz")]
    with pytest.raises(StudyError, match=r"name 'mine2026' is also that of .*a\.nc; give the recording another name"):
        benchmark_regions(names)
    both = [names[0], written(folder / "b.npz", name="other")]
    assert list(benchmark_regions(both)) == ["mine2026.V4", "mine2026.IT", "other.V4", "other.IT"]


def test_what_is_neither_a_recording_nor_a_name(folder):
    np.savez(folder / "part.npz", filename=["0.png"], region=["IT"])
    with pytest.raises(StudyError, match=r"part\.npz has no name, responses; it has filename, region"):
        benchmark_regions([f"file:{folder / 'part.npz'}"])
    np.save(folder / "array.npy", np.zeros(3))
    (folder / "array.npy").rename(folder / "array.npz")
    with pytest.raises(StudyError, match="no whole npz of plain arrays: not a zip"):
        benchmark_regions([f"file:{folder / 'array.npz'}"])
    (folder / "mine.mat").touch()
    with pytest.raises(StudyError, match=r"suffix \.mat; name it \.nc or \.npz"):
        benchmark_regions([f"file:{folder / 'mine.mat'}"])
    with pytest.raises(StudyError, match=r"'mine\.nc' is unknown; .*; or file:PATH"):
        benchmark_regions(["mine.nc"])
