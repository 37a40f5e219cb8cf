"""Scoring settings: what they become, which change the numbers, and commitments that are no commitments."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.commitment import Commitment, read_commitment
from scaling.alignment.features.reduction import PrincipalComponents, Reduction, SparseProjection
from scaling.alignment.protocol import scoring_protocols
from scaling.alignment.scoring import FIT_IMAGES, scoring_options, with_convention
from scaling.data.recordings.recording import PlainRecording, write_file
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError
from scaling.protocol_text import default_protocol
from scaling.specs.scoring import ScoringSpec


def spec(**settings):
    return ScoringSpec(**settings)


IT, V4 = "majajhong2015.IT", "majajhong2015.V4"
HUMAN = "kriegeskorte2008.human-IT"
PLS = "; at most 25 components, two-way draws"  # what the protocols of its benchmarks say


def protocol(settings, benchmark=IT):
    """The text of one benchmark's."""
    return scoring_protocols(settings, ["majajhong2015"])[benchmark].text


def no_images(n):
    raise AssertionError("no images are needed")


@pytest.fixture
def layers(tmp_path):
    path = tmp_path / "layers.yaml"
    path.write_text("IT: layer4.0\nmajajhong2015.V4: layer3.1\n")
    return path


@pytest.mark.parametrize("word", ["split", "folds", "all"])
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
        (None, ["neither 'split' nor 'folds' nor 'all' nor a readable YAML file", "No such file", "one 'benchmark or"]),
        (b"IT: [layer4", ["readable YAML file", "line 1"]),
        (b"\xff\xfe\x00", ["readable YAML file"]),
        (b"", ["holds no fields"]),
        (b"- IT\n- layer4\n", ["holds no fields", "one 'benchmark or region: layer' a line"]),
        (b"IT: 4\n", ["holds no names"]),
        (b"4: layer4\n", ["no field's name"]),
        (b"IT: [layer3, layer4]\n", ["holds no names"]),
        (b"!!python/object/apply:os.getcwd []\n", ["readable YAML file"]),
    ],
)  # fmt: skip
def test_files_that_hold_no_commitment(tmp_path, content, words):
    path = tmp_path / "layers.yaml"
    if content is not None:
        path.write_bytes(content)
    for read in (read_commitment, lambda value: protocol(spec(commitment=value))):
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
    {"mapping": {"samples": [25]}},  # of suites that know their units by subject alone
]


def test_every_setting_that_changes_scores_has_a_protocol_of_its_own(layers):
    protocols = [protocol(spec(**s)) for s in [{}, *NUMBERS, {"commitment": str(layers)}]]
    assert len(set(protocols)) == len(protocols)
    assert all(text and "\n" not in text for text in protocols)


@pytest.mark.parametrize("settings", NO_NUMBERS, ids=lambda settings: next(iter(settings)))
def test_settings_that_change_no_score_change_no_protocol(settings):
    assert protocol(spec(**settings)) == protocol(spec())


def test_every_setting_is_sorted_into_one_or_the_other():
    """A new setting has to be thought about: does it change scores?"""
    listed = {name for settings in [*NUMBERS, *NO_NUMBERS] for name in settings}
    assert listed | {"resamples"} == set(ScoringSpec.model_fields)


def test_a_fixed_layer_is_in_the_protocol_of_its_own_benchmarks(layers, tmp_path):
    fixed = spec(commitment=str(layers))
    before = {name: protocol(fixed, name) for name in (IT, V4)}
    assert before == {IT: f"layer layer4.0; own; none; 8 deg{PLS}", V4: f"layer layer3.1; own; none; 8 deg{PLS}"}
    assert scoring_protocols(fixed, ["freemanziemba2013.V1"])["freemanziemba2013.V1"].text == protocol(spec())
    moved = tmp_path / "elsewhere.yaml"
    moved.write_text("majajhong2015.V4: layer2.0\nIT: layer4.0\n")
    assert protocol(spec(commitment=str(moved)), IT) == before[IT], "of the file's place and other lines it is free"
    assert protocol(spec(commitment=str(moved)), V4) != before[V4]


def test_options_carry_the_settings(tmp_path, layers):
    options = scoring_options(
        spec(memory_gb=0.5, spill_gb=3, cache=str(tmp_path / "cache"), resamples=7, commitment=str(layers)), no_images
    )
    assert (options.budget.memory_gb, options.budget.spill_gb, options.budget.batch_size) == (0.5, 3.0, None)
    assert options.resamples == 7
    assert options.commitment == read_commitment(str(layers))
    assert options.reduction == Reduction()
    assert options.cache is not None
    assert not (tmp_path / "cache").exists(), "made by who uses it"
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


def test_a_cache_lies_on_the_nodes_own_disks(layers):
    with pytest.raises(StudyError, match=r"scoring\.cache='s3://\*\*\*@bucket/x' is a URI; give a folder"):
        scoring_options(spec(cache="s3://KEY:secret@bucket/x"), no_images)


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


@pytest.fixture
def recording(tmp_path):
    """Writes a recording of one's own, with other responses by each seed."""

    def write(name, seed=0, metric="cka"):
        images = tmp_path / f"images {name}"
        images.mkdir(exist_ok=True)
        rng = np.random.default_rng(seed)
        names = [f"{i}.png" for i in range(40)]
        for file in names:
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(images / file)
        responses = rng.standard_normal((3, 40, 6))
        write_file(
            tmp_path / f"{name}.nc", PlainRecording(name, responses, names, ["IT"] * 6, 8.0, images.name, metric=metric)
        )
        return f"file:{tmp_path / f'{name}.nc'}"

    return write


def test_a_changed_file_changes_its_own_protocol_alone(recording):
    mine, yours = recording("mine"), recording("yours")
    names = [mine, yours, "majajhong2015"]
    before = scoring_protocols(spec(), names)
    assert before[IT].text == protocol(spec())
    assert before["mine.IT"].text.startswith("split; own; none; 8 deg; mine.nc ")
    recording("mine", seed=1)
    after = scoring_protocols(spec(), names)
    assert {name for name in before if after[name] != before[name]} == {"mine.IT"}
    assert scoring_protocols(spec(), names[1:])["yours.IT"] == after["yours.IT"], "nor does another file enter it"


def test_replaced_images_change_a_files_protocol(recording, tmp_path):
    name = recording("mine")
    before = scoring_protocols(spec(), [name])["mine.IT"]
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images mine" / "3.png")
    after = scoring_protocols(spec(), [name])["mine.IT"]
    assert before.text.split("; ")[:5] == after.text.split("; ")[:5]
    assert not after.made(before.text)
    assert after.made("; ".join(before.text.split("; ")[:5])), "a version before named no images"


@pytest.mark.parametrize(
    ("ceiled", "text"),
    [
        (
            "r/c",
            {"majajhong2015.IT": "r/c of √reliability", "kriegeskorte2008.human-IT": "r/c", "cowley2023.V4": "r/c"},
        ),
        ("r2/c", {"majajhong2015.IT": "r2/c", "kriegeskorte2008.human-IT": "r2/c of reliability"}),
        ("r2/c2", {"majajhong2015.IT": "r2/c2", "kriegeskorte2008.human-IT": "r2/c2 of reliability"}),
        ("mean r/c", {"majajhong2015.IT": "own", "kriegeskorte2008.human-IT": "own", "cowley2023.V4": "mean r/c"}),
        ("r2/c", {"human-alignment.abs_mean": "own"}),
    ],
)
def test_a_convention_names_formula_and_ceiling(ceiled, text):
    """What was ceiled by the formula alone is scored again; what was right keeps its text."""
    found = scoring_protocols(spec(ceiled=ceiled), list(text))
    mapped = {name: PLS * name.startswith("majaj") for name in text}
    expected = {name: f"split; {own}; none; 8 deg{mapped[name]}" for name, own in text.items()}
    assert {name: p.text for name, p in found.items()} == expected
    for name, protocol in found.items():
        assert protocol.made(f"split; {ceiled}; none; 8 deg{mapped[name]}") == (text[name] == ceiled)


def test_degrees_do_not_enter_where_nothing_is_placed():
    found = scoring_protocols(spec(degrees=4.0), ["kriegeskorte2008.human-IT", IT])
    assert found["kriegeskorte2008.human-IT"].text == "split; own; none; 8 deg"
    assert found["kriegeskorte2008.human-IT"].made("split; own; none; 4 deg")
    assert found[IT].text == f"split; own; none; 4 deg{PLS}"
    assert not found[IT].made(f"split; own; none; 8 deg{PLS}")


def test_protocols_of_earlier_versions_are_known(recording, layers):
    mine, yours = recording("mine"), recording("yours")
    now = scoring_protocols(spec(), [mine, yours, HUMAN])
    parts = [now[name].text.split("; ")[4] for name in ("mine.IT", "yours.IT")]
    former = "; ".join(["split; own; none; 8 deg", *parts])  # one for all, every file behind it
    assert [p.made(former) for p in now.values()] == [True] * 3
    assert not now["mine.IT"].made(f"split; own; none; 8 deg; {parts[1]}")
    assert not now[HUMAN].made("all; own; none; 8 deg")
    digest = hashlib.sha256(json.dumps([["IT", "layer4.0"], [V4, "layer3.1"]]).encode()).hexdigest()[:8]
    fixed = scoring_protocols(spec(commitment=str(layers)), [HUMAN])[HUMAN]
    assert fixed.made(f"fixed by layers.yaml {digest}; own; none; 8 deg")
    assert not fixed.made("fixed by layers.yaml 00000000; own; none; 8 deg")


@pytest.mark.parametrize(("metric", "says"), [("", PLS), ("pls", PLS), ("ridge", "; folds by label, two-way draws")])
def test_mappings_of_earlier_versions_are_scored_again(recording, metric, says):
    """Their folds, components or intervals were others."""
    found = scoring_protocols(spec(), [recording("mine", metric=metric), IT, "simulated-ventral-stream"])
    assert found["mine.IT"].text.startswith(f"split; own; none; 8 deg{says}; mine.nc ")
    file = found["mine.IT"].text.split("; ")[5]
    for former in ("split; own; none; 8 deg", f"split; own; none; 8 deg; {file}"):
        made = {name for name, protocol in found.items() if protocol.made(former)}
        assert made == {"simulated-ventral-stream.behavior"}  # RSA
    assert all(protocol.made(protocol.text) for protocol in found.values())


def test_the_default_protocol_is_that_of_no_setting_and_no_file():
    assert default_protocol(protocol(spec()))
    assert default_protocol(protocol(spec()).removesuffix(PLS))
    assert not default_protocol(protocol(spec(commitment="all")))
    assert not default_protocol(protocol(spec()) + "; mine.nc 12345678")
