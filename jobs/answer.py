"""A study's answer: its table goes to the analysis, its folder keeps what was answered."""

from __future__ import annotations

import tempfile
from pathlib import Path

from analysis import Answer, answer
from analysis.rates.report import RateReport
from analysis.verify.verification import Verification, read_verifications
from scaling.errors import StudyError
from scaling.ledger import Study
from scaling.rates import StudyRates
from scaling.verify.study import read_all


def answer_study(study: Study) -> Answer:
    """The saved answer if it was made from the very scores that the study holds, else a new one, saved.

    Raises:
        StudyError: nothing is scored yet, or the scores are none that a measurement gives.
    """
    frame, verifications, rates = study.table(), verifications_of(study), rates_of(study.rates)
    untrained = study.untrained()
    try:
        with study.answer_files() as folder:
            saved = Answer.load(folder, frame, verifications, rates, untrained)
            whole = saved is not None and saved.is_saved(folder)
        made = saved or answer(frame, verifications=verifications, rates=rates, untrained=untrained)
    except ValueError as error:
        raise StudyError(f"study '{study.name}' has no answer: {error}") from error
    if not whole:
        with tempfile.TemporaryDirectory() as scratch:
            made.save(scratch)
            study.save_answer(Path(scratch))
    return made


def rates_of(rates: StudyRates | None) -> RateReport | None:
    """How a study's rates were found; None of one that is not tuned."""
    return None if rates is None else RateReport.model_validate(rates.report)


def verifications_of(study: Study) -> tuple[Verification, ...]:
    """What was verified of a study.

    Raises:
        StudyError: a file that holds no verification.
    """
    try:
        return read_verifications(read_all(study))
    except ValueError as error:
        raise StudyError(f"a verification of study '{study.name}' cannot be read: {error}") from error
