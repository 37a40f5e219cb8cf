"""A study's answer: its table goes to the analysis, its folder keeps what was answered."""

from __future__ import annotations

import tempfile
from pathlib import Path

from analysis import Answer, answer
from scaling.errors import StudyError
from scaling.ledger import Study


def answer_study(study: Study) -> Answer:
    """The saved answer if it was made from the very scores that the study holds, else a new one, saved.

    Raises:
        StudyError: nothing is scored yet, or the scores are none that a measurement gives.
    """
    frame = study.table()
    try:
        with study.answer_files() as folder:
            saved = Answer.load(folder, frame)
        made = answer(frame) if saved is None else saved
    except ValueError as error:
        raise StudyError(f"study '{study.name}' has no answer: {error}") from error
    if saved is None:
        with tempfile.TemporaryDirectory() as scratch:
            made.save(scratch)
            study.save_answer(Path(scratch))
    return made
