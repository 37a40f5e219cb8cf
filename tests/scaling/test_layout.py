"""The names in a study's folder."""

from __future__ import annotations

from scaling import layout


def test_names_are_those_of_the_tree():
    """As studies have them on disk since the first version."""
    assert layout.run_name("ab") == "runs/ab.parquet"
    assert layout.epochs_name("ab") == "epochs/ab.parquet"
    assert layout.scores_name("ab", 7) == "scores/ab-00007.parquet"
    assert layout.weights_name("ab", 7) == "checkpoints/ab/epoch-00007.safetensors"
    assert layout.branch_name("ab", 7) == "checkpoints/ab/branch-00000007.safetensors"
    assert layout.resume_name("ab") == "checkpoints/ab/resume.safetensors"
    assert (layout.LOCK, layout.MLFLOW_FILE, layout.RAY_FOLDER) == (".lock", "mlflow.db", "ray")
    for name in (layout.RUNS, layout.EPOCHS, layout.SCORES, layout.CHECKPOINTS, layout.ANSWER, layout.DATASET_FILE):
        assert name in layout.__doc__


def test_a_file_of_rows_has_an_owner(storage):
    names = [layout.run_name("a-b"), layout.scores_name("a-b", 3), layout.scores_name("a-b", 123456)]
    assert {layout.owner(name) for name in names} == {"a-b"}
    for name in names:
        storage.write_bytes(name, b"")
    assert layout.row_names(storage, layout.SCORES) == sorted(names[1:])
