"""A run that hears of its end saves at the next step, waits, and goes on where the end does not come."""

from __future__ import annotations

import threading
import time

import pytest

from scaling.checkpoints.resume import RunProgress
from scaling.layout import resume_name
from scaling.train.distributed.worker import Worker
from scaling.train.loop import Training
from scaling.train.notice import Notice


@pytest.mark.parametrize("images", [2, 1], ids=["between steps", "between epochs of one step"])
def test_a_run_saves_within_a_step_and_waits(make_run, digits_data, storage, images):
    run = make_run(data_sizes=[images], training={"epochs": 4, "batch_size": 10, "lr": 0.05})
    notice, saved = Notice(), []
    training = Training(run, digits_data, storage, Worker(notice=notice))
    training._clock.due = lambda interval_s: False
    step, done = training.step, []

    def counted(*words):
        done.append(1)
        if len(done) == 3:
            notice.give(60.0, saved.append)
        return step(*words)

    training.step = counted
    thread = threading.Thread(target=lambda: list(training.epochs()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not saved and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (saved, len(done)) == ([run.run_id], 3), "no step after the notice"
    assert storage.exists(resume_name(run.run_id))
    again = Training(run, digits_data, storage)
    at = RunProgress()
    again._train_epoch = lambda epoch: vars(at).update(vars(again.progress)) or 1 / 0
    with pytest.raises(ZeroDivisionError):
        list(again.epochs())
    assert at.epoch * training.steps + at.step == 3
    notice.take_back()
    thread.join(60)
    assert not thread.is_alive()
    assert len(done) == 4 * training.steps, "it went on"


def test_it_waits_no_longer_than_it_was_told():
    notice, saved = Notice(), []
    notice.give(0.2, saved.append)
    began = time.monotonic()
    notice.heed("a")
    assert 0.2 <= time.monotonic() - began < 5
    assert (saved, notice.given) == (["a"], False)
