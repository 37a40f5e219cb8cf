"""kriegeskorte2008 on the published files: contents, the monkey–human correlation, ceilings, damaged files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.stats import pearsonr, spearmanr

from scaling.alignment.metrics.rsa import rsa, upper_triangle
from scaling.alignment.suites.registry import build_benchmarks, check_benchmark_data
from scaling.data.recordings.kriegeskorte import BRAIN_FILE, JUDGMENTS_FILE, NAME, STIMULI_FILE, load_kriegeskorte
from scaling.errors import StudyError


@pytest.fixture(scope="module")
def data(kriegeskorte_dir):
    return load_kriegeskorte(kriegeskorte_dir)


@pytest.fixture(scope="module")
def benchmarks(kriegeskorte_dir, stimuli):
    return {b.name.removeprefix(f"{NAME}."): b for b in build_benchmarks([NAME], stimuli, kriegeskorte_dir)}


def test_contents(data):
    assert data.stimuli.images.shape == (92, 175, 175, 3)
    assert np.bincount(data.stimuli.labels).tolist() == [12, 12, 12, 12, 23, 21]
    assert data.categories[1] == "human face"
    assert data.monkey_it.shape == (1, 92, 92)
    assert data.human_it.shape == (4, 92, 92)
    assert data.judgments.shape == (16, 92, 92)


def test_monkey_and_human_it_correlate_as_published(data):
    """Kriegeskorte et al. 2008: r = .49 (their figure 3), here .4912; Spearman .4389."""
    monkey, human = data.monkey_it[0], data.human_it.mean(axis=0)
    assert pearsonr(upper_triangle(monkey), upper_triangle(human)).statistic == pytest.approx(0.4912, abs=1e-4)
    assert rsa(monkey, human) == pytest.approx(0.4389, abs=1e-4)
    assert rsa(monkey, human) == pytest.approx(
        spearmanr(upper_triangle(monkey), upper_triangle(human)).statistic, abs=1e-12
    )


def test_the_mean_of_subjects_and_sessions_is_the_published_human_rdm(data, kriegeskorte_dir):
    figure = loadmat(kriegeskorte_dir / NAME / STIMULI_FILE, squeeze_me=True)["RDMs_mIT_hIT_fig1"]
    published = next(row["RDM"] for row in figure if row["name"].startswith("hIT"))
    np.testing.assert_allclose(upper_triangle(data.human_it.mean(axis=0)), published, atol=1e-6)


def test_benchmarks_share_stimuli_and_split_them_in_halves(benchmarks):
    assert [(b.region, b.metric, b.ceiling_kind) for b in benchmarks.values()] == [
        ("IT", "rsa", "none"),
        ("IT", "rsa", "subjects"),
        ("behavior", "rsa", "subjects"),
    ]
    assert len({id(b.stimuli) for b in benchmarks.values()}) == 1
    halves = [b.halves for b in benchmarks.values()]
    assert all(len(selection) == len(scored) == 46 for selection, scored in halves)


def test_ceilings(benchmarks):
    assert benchmarks["monkey-IT"].ceiling() is None
    assert benchmarks["human-IT"].ceiling() == pytest.approx(0.808, abs=0.001)
    assert benchmarks["behavior"].ceiling() == pytest.approx(0.880, abs=0.005)


def test_categories_align_and_pixels_hardly(benchmarks):
    any_benchmark = benchmarks["behavior"]
    categories = np.eye(6)[any_benchmark.stimuli.labels]
    pixels = any_benchmark.stimuli.images.reshape(92, -1)
    for benchmark in benchmarks.values():
        result = benchmark({"pixels": pixels, "categories": categories})
        assert result.layer == "categories"
        assert result.score > 0.3
        assert benchmark({"pixels": pixels}).score < 0.25


def test_the_recording_itself_scores_high(benchmarks, data):
    """One subject's patterns, embedded from the RDM, against the mean over subjects that contains it."""
    similarity = 1 - data.human_it.mean(axis=0)
    values, vectors = np.linalg.eigh(similarity)
    patterns = vectors * np.sqrt(np.maximum(values, 0))
    assert benchmarks["human-IT"]({"self": patterns}).score > 0.9


@pytest.fixture
def copied(kriegeskorte_dir, tmp_path):
    shutil.copytree(kriegeskorte_dir / NAME, tmp_path / NAME)
    for path in (tmp_path / NAME).iterdir():
        path.chmod(0o644)
    return tmp_path


def truncate(path):
    path.write_bytes(path.read_bytes()[:50_000])


def rdms_of_size(field, n, count):
    def write(path):
        entries = np.zeros(count, dtype=[("RDM", object), ("name", object), ("color", object)])
        for index in np.ndindex(count):
            entries[index] = (np.zeros((n, n)), "x", [0, 0, 0])
        savemat(path, {field: entries})

    return write


def asymmetric(path):
    entries = np.zeros((1, 16), dtype=[("RDM", object), ("name", object)])
    for index in np.ndindex(1, 16):
        entries[index] = (np.triu(np.ones((92, 92)), 1), "x")
    savemat(path, {"rdms_behav_92": entries})


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        (STIMULI_FILE, lambda path: path.unlink(), ["does not exist"]),
        (STIMULI_FILE, truncate, ["50,000 bytes", "not readable"]),
        (BRAIN_FILE, truncate, ["50,000 bytes", "not readable"]),
        (BRAIN_FILE, lambda path: path.write_bytes(b""), ["0 bytes", "not readable"]),
        (BRAIN_FILE, lambda path: path.write_text("<html>not found</html>" * 20), ["not readable"]),
        (BRAIN_FILE, rdms_of_size("RDMs", 91, (4, 2)), ["human IT RDM of size (91, 91)", "expected (92, 92)"]),
        (BRAIN_FILE, rdms_of_size("RDMs", 92, (3, 2)), ["(3, 2) subjects", "expected (4, 2)"]),
        (JUDGMENTS_FILE, rdms_of_size("rdms_behav_92", 92, (1, 15)), ["(15,) people", "expected (16,)"]),
        (JUDGMENTS_FILE, lambda path: savemat(path, {"x": 1}), ["no field 'rdms_behav_92'"]),
        (JUDGMENTS_FILE, asymmetric, ["not symmetric"]),
        (STIMULI_FILE, lambda path: savemat(path, {"stimuli_92objs": 1.0}), [STIMULI_FILE]),
    ],
)
def test_damaged_files(copied, file, damage, words):
    damage(copied / NAME / file)
    with pytest.raises(StudyError) as error:
        check_benchmark_data([f"{NAME}.human-IT"], copied)
    assert all(word in str(error.value) for word in [file, f"scaling fetch {NAME}", *words]), error.value


def test_no_data_directory():
    with pytest.raises(StudyError, match=f"no data directory; run `scaling fetch {NAME}`"):
        load_kriegeskorte(None)
