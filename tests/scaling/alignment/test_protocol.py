"""Scoring settings: what they become, which change the numbers, and commitments that are no commitments."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.commitment import Commitment, read_commitment
from scaling.alignment.features.reduction import PrincipalComponents, Reduction, SparseProjection
from scaling.alignment.protocol import scoring_protocol
from scaling.alignment.scoring import FIT_IMAGES, scoring_options, with_convention
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError
from scaling.specs.scoring import ScoringSpec


def spec(**settings):
    return ScoringSpec(**settings)


def no_images(n):
    raise AssertionError("no images are needed")


@pytest.fixture
def layers(tmp_path):
    path = tmp_path / "layers.yaml"
    path.write_text("IT: layer4.0\nmajajhong2015.V4: layer3.1\n")
    return path


@pytest.mark.parametrize("word", ["split", "all"])
def test_commitments_by_word(word):
    assert read_commitment(word) == Commitment(word, {}, word)


def test_a_fixed_commitment_by_file(layers):
    commitment = read_commitment(str(layers))
    assert commitment.layers == {"IT": "layer4.0", "majajhong2015.V4": "layer3.1"}
    assert commitment.name == "fixed by layers.yaml"
    assert commitment.scored_on == "split"  # of the benchmarks that the file does not name


def test_a_file_in_the_home_folder(layers, monkeypatch):
    monkeypatch.setenv("HOME", str(layers.parent))
    assert read_commitment("~/layers.yaml").layers == read_commitment(str(layers)).layers


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["neither 'split' nor 'all' nor a readable YAML file", "No such file", "one 'benchmark or"]),
        (b"IT: [layer4", ["readable YAML file", "line 1"]),
        (b"\xff\xfe\x00", ["readable YAML file"]),
        (b"", ["holds no names"]),
        (b"- IT\n- layer4\n", ["holds no names", "one 'benchmark or region: layer' a line"]),
        (b"IT: 4\n", ["holds no names"]),
        (b"4: layer4\n", ["holds no names"]),
        (b"IT: [layer3, layer4]\n", ["holds no names"]),
        (b"!!python/object/apply:os.getcwd []\n", ["readable YAML file"]),
    ],
)  # fmt: skip
def test_files_that_hold_no_commitment(tmp_path, content, words):
    path = tmp_path / "layers.yaml"
    if content is not None:
        path.write_bytes(content)
    for read in (read_commitment, lambda value: scoring_protocol(spec(commitment=value))):
        with pytest.raises(StudyError) as error:
            read(str(path))
        told = [f"commitment='{path}'", *words]
        assert [word for word in told if word not in str(error.value)] == [], error.value


def test_a_folder_is_no_commitment(tmp_path):
    with pytest.raises(StudyError, match="readable YAML file"):
        read_commitment(str(tmp_path))


NUMBERS = [
    {"commitment": "all"},
    {"degrees": 10.0},
    {"ceiled": "r/c"},
    {"ceiled": "r2/c"},
    {"ceiled": "r2/c2"},
    {"reduction": "pca"},
    {"reduction": "pca", "components": 50},
    {"reduction": "random_projection"},
    {"reduction": "random_projection", "components": 50},
]
NO_NUMBERS = [
    {"actors": 3},
    {"cpus": 2.0},
    {"gpus": 0.5},
    {"memory_gb": 8.0},
    {"spill_gb": 0.0},
    {"cache": "/somewhere"},
    {"components": 50},  # of no reduction
]


def test_every_setting_that_changes_scores_has_a_protocol_of_its_own(layers):
    protocols = [scoring_protocol(spec(**s)) for s in [{}, *NUMBERS, {"commitment": str(layers)}]]
    assert len(set(protocols)) == len(protocols)
    assert all(text and "\n" not in text for text in protocols)


@pytest.mark.parametrize("settings", NO_NUMBERS, ids=lambda settings: next(iter(settings)))
def test_settings_that_change_no_score_change_no_protocol(settings):
    assert scoring_protocol(spec(**settings)) == scoring_protocol(spec())


def test_every_setting_is_sorted_into_one_or_the_other():
    """A new setting has to be thought about: does it change scores?"""
    listed = {name for settings in [*NUMBERS, *NO_NUMBERS] for name in settings}
    assert listed | {"resamples"} == set(ScoringSpec.model_fields)


def test_the_protocol_of_a_file_is_its_content_not_its_place(layers, tmp_path):
    protocol = scoring_protocol(spec(commitment=str(layers)))
    moved = tmp_path / "elsewhere" / "layers.yaml"
    moved.parent.mkdir()
    moved.write_text("# the same, in another order\nmajajhong2015.V4: layer3.1\nIT: layer4.0\n")
    assert scoring_protocol(spec(commitment=str(moved))) == protocol
    moved.write_text("majajhong2015.V4: layer3.0\nIT: layer4.0\n")
    assert scoring_protocol(spec(commitment=str(moved))) != protocol


def test_options_carry_the_settings(tmp_path, layers):
    options = scoring_options(
        spec(memory_gb=0.5, spill_gb=3, cache=str(tmp_path / "cache"), resamples=7, commitment=str(layers)), no_images
    )
    assert (options.budget.memory_gb, options.budget.spill_gb, options.budget.batch_size) == (0.5, 3.0, None)
    assert options.resamples == 7
    assert options.commitment == read_commitment(str(layers))
    assert options.reduction == Reduction()
    assert options.cache is not None
    assert (tmp_path / "cache").is_dir()
    assert scoring_options(spec(), no_images).cache is None


def test_reductions():
    others = Stimuli(np.zeros((30, 4, 4, 3), np.uint8), tuple(map(str, range(30))), None, "others")
    asked = []

    def give(n):
        asked.append(n)
        return others

    projection = scoring_options(spec(reduction="random_projection", components=12), no_images)
    assert projection.reduction == SparseProjection(12)
    assert scoring_options(spec(reduction="pca", components=12), give).reduction == PrincipalComponents(others, 12)
    assert asked == [12 * FIT_IMAGES]


def test_too_few_images_for_principal_components():
    others = Stimuli(np.zeros((30, 4, 4, 3), np.uint8), tuple(map(str, range(30))), None, "others")
    with pytest.raises(StudyError, match="n_components=30 of 30 fit images; give more images than components"):
        scoring_options(spec(reduction="pca", components=30), lambda n: others)


def test_a_cache_that_cannot_be_made(layers):
    with pytest.raises(StudyError, match=r"feature cache .*cannot be made"):
        scoring_options(spec(cache=str(layers / "below a file")), no_images)


def test_the_convention_is_the_benchmarks_own_unless_it_is_set(stimuli):
    recording = np.random.default_rng(0).standard_normal((4, 60, 3))
    benchmarks = [
        Benchmark("test.V4", "V4", "ridge", stimuli, recording, "split_half"),
        Benchmark("test.IT", "IT", "ridge", stimuli, recording, "split_half", "r2/c"),
    ]
    assert [b.ceiled for b in with_convention(benchmarks, spec())] == ["r/c", "r2/c"]
    changed = with_convention(benchmarks, spec(ceiled="r2/c2"))
    assert [(b.name, b.ceiled) for b in changed] == [("test.V4", "r2/c2"), ("test.IT", "r2/c2")]
    assert all(new.stimuli is old.stimuli for new, old in zip(changed, benchmarks, strict=True))


def test_the_driver_needs_no_torch_for_the_protocol():
    code = "import sys, scaling.alignment.protocol; print({'torch', 'ray'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_an_edited_recording_of_ones_own_changes_the_protocol(tmp_path):
    path = tmp_path / "mine.nc"
    path.write_bytes(b"one")
    before = scoring_protocol(spec(), [f"file:{path}", "kriegeskorte2008"])
    assert before.startswith(scoring_protocol(spec(), ["kriegeskorte2008"]) + "; mine.nc ")
    path.write_bytes(b"two")
    assert scoring_protocol(spec(), [f"file:{path}"]) != before
