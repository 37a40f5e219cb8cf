"""The Markdown note at a study's run in MLflow: laws, recipe and figures, as its answer's files have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scaling.mlflow_values import LONGEST_TAG

NOTE_TAG = "mlflow.note.content"  # MLflow's own: what its UI shows as the run's description
FIGURES = (".png", ".svg")


def study_note(name: str, files: Sequence[Path], run_id: str) -> str:
    """What the study says, its texts first; figures are links to the run's artifacts, which the UI shows.

    A text that MLflow would cut is cut at a line, and its file named.
    """
    figures = [f"![{path.stem}](get-artifact?path={path.name}&run_uuid={run_id})" for path in _of(files, FIGURES)]
    shown = "\n\n".join(["## Figures", *figures]) if figures else ""
    room = LONGEST_TAG - len(shown) - 200
    texts = []
    for path in _of(files, (".txt",)):
        lines, kept = path.read_text(encoding="utf-8").splitlines(), list[str]()
        while lines and sum(len(line) + 1 for line in kept) + len(lines[0]) < room:
            kept.append(lines.pop(0))
        room -= sum(len(line) + 1 for line in kept) + 40
        more = f"\n\n… the rest: `{path.name}` among the artifacts" if lines else ""
        texts.append(f"## {path.stem.replace('-', ' ').capitalize()}\n\n```\n" + "\n".join(kept) + f"\n```{more}")
    return "\n\n".join(part for part in [f"# Study {name}", *texts, shown] if part)


def _of(files: Sequence[Path], endings: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in files if path.suffix in endings)
