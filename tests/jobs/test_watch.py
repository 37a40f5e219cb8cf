"""`scaling watch`, over a study's folder that no driver is at work in; all results there are simulated."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from jobs.watch.grid_map import grid_maps
from jobs.watch.live import RECENT_S
from jobs.watch.page import watch_page
from jobs.watch.server import Renewed, page_server
from jobs.watch.snapshot import Snapshot, Watch
from jobs.watch.terminal import sparkline, terminal_view
from scaling.checkpoints.resume import RunProgress
from scaling.errors import StudyError
from scaling.layout import resume_name
from scaling.ledger import Study, open_study
from scaling.models.cost import training_flops
from scaling.records import AlignmentRecord, EpochRecord, run_record
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec

EPOCHS, CLASSES = 10, 10
GRID = {
    "models": [{"family": "resnet", "depth": 10, "sizes": [2, 4, 8, 16]}], "data_sizes": [2, 5, 12, 30],
    "training": {"epochs": EPOCHS, "batch_size": 10},
}  # fmt: skip
REASON = "RuntimeError: <script>alert(1)</script> & more"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def flops_per_image(run: RunSpec) -> float:
    """Simulated: that of a width."""
    return 1e4 * (run.model.size or 1) ** 2


def cost(run: RunSpec, epochs: int = EPOCHS) -> float:
    return training_flops(flops_per_image(run), CLASSES * (run.images_per_class or 0) * epochs)


def epoch(run: RunSpec, number: int) -> EpochRecord:
    return EpochRecord(
        run_id=run.run_id, epoch=number, samples_seen=CLASSES * (run.images_per_class or 0) * number,
        flops=cost(run, number), loss=2.3 * 0.8**number, lr=0.1, accuracy=0.5, epoch_s=1.0,
        images_per_s=100.0 * number, compute_share=0.9, host=f"node-{run.images_per_class}",
        ended_at=1000.0 + number, node_use=json.dumps({"cpu": number / 10}),
    )  # fmt: skip


def write_finished(study: Study, run: RunSpec, at: float) -> None:
    n_samples = CLASSES * (run.images_per_class or 0)
    study.store.write_run(
        run_record(
            run, "finished", None, n_samples=n_samples, epochs_done=EPOCHS, kept=(EPOCHS,), ended_at=at,
            n_params=run.model.size**2, flops_per_image=flops_per_image(run), samples_seen=n_samples * EPOCHS,
            flops=cost(run), loss=0.5, accuracy=0.6, train_s=2.0, images_per_s=50.0, flops_per_s=5e6, compute_share=0.8,
        )
    )  # fmt: skip
    ((benchmark, protocol),) = study.protocols.items()
    score = 1 - 0.9 * (cost(run) / 1e7) ** -0.2 * np.exp(np.random.default_rng(int(run.run_id, 16)).normal(0, 0.01))
    facts = {"samples_seen": n_samples * EPOCHS, "flops": cost(run), "accuracy": 0.6, "region": "IT", "metric": "ridge",
             "layer": "x", "raw": 0.5, "ceiling": 1.0, "ceiling_kind": "noiseless", "score": score, "n_stimuli": 10,
             "n_neuroids": 5, "selection_raw": 0.5, "status": "scored", "reason": None, "score_s": 1.0}  # fmt: skip
    study.store.write_scores(
        [AlignmentRecord(run_id=run.run_id, epoch=EPOCHS, benchmark=benchmark, protocol=protocol.text, **facts)]
    )


def write_resume(study: Study, run: RunSpec, epochs: int, age_s: float = 0.0) -> Path:
    path = Path(study.storage.path(resume_name(run.run_id)))
    path.parent.mkdir(parents=True)
    header = RunProgress(epoch=epochs, step=3, history=[epoch(run, n) for n in range(1, epochs + 1)]).header()
    save_file({"weight": torch.zeros(1000)}, path, metadata=header)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


@pytest.fixture
def study(make_study: Callable[..., StudySpec], tmp_path: Path) -> Study:
    return make(open_study(make_study(**GRID), tmp_path))


@pytest.fixture(scope="module")
def still(make_study: Callable[..., StudySpec], tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Snapshot]:
    """The same, which no test changes, and what is seen of it."""
    study = make(open_study(make_study(**GRID), tmp_path_factory.mktemp("watched")))
    return study, Watch(study).take()


@pytest.fixture
def snapshot(still: tuple[Study, Snapshot]) -> Snapshot:
    return still[1]


def make(study: Study) -> Study:
    """16 runs: 9 finished, 2 running, 1 interrupted, 1 failed, 1 out of memory, 1 with a bad resume file, 1 waiting."""
    runs = study.runs
    for i, run in enumerate(runs[:9]):
        write_finished(study, run, 1000.0 + i)
    write_resume(study, runs[9], 4)
    write_resume(study, runs[10], 2, age_s=30)
    write_resume(study, runs[11], 5, age_s=2 * RECENT_S)
    study.store.write_run(run_record(runs[12], "failed", REASON))
    study.store.write_run(run_record(runs[13], "out_of_memory", "8 GB are too little"))
    damaged = write_resume(study, runs[14], 1)
    damaged.write_bytes(damaged.read_bytes()[:30])
    return study


def test_every_run_has_its_state(still):
    study, snapshot = still
    states = ["finished"] * 9 + ["running"] * 2 + ["interrupted", "failed", "out of memory", "running", "waiting"]
    assert [shown.state for shown in snapshot.runs] == states
    assert snapshot.counts == {"finished": 9, "running": 3, "interrupted": 1, "waiting": 1, "failed": 1,
                               "out of memory": 1}  # fmt: skip
    assert [shown.run for shown in snapshot.running] == [study.runs[i] for i in (14, 9, 10)]
    assert {shown.reason for shown in snapshot.faults} == {REASON, "8 GB are too little"}
    (grid,) = grid_maps(snapshot.runs)
    assert [len(row.cells) for row in grid.rows] == [4] * 4
    widths, sizes = ([2, 4, 8, 16], [2, 5, 12, 30])
    for shown in snapshot.runs:
        row = grid.rows[widths.index(shown.run.model.size)]
        assert row.cells[sizes.index(shown.run.images_per_class)] == {shown.state: 1}
    assert [row.label for row in grid.rows][:2] == ["resnet-10 w2, N 4", "resnet-10 w4, N 16"]
    assert grid.columns[3] == "30/class × 10, D 3e+03"


def test_a_run_that_goes_on_is_seen_by_its_resume_file(still):
    study, snapshot = still
    live = snapshot.runs[9].live
    assert (live.epoch, live.step) == (4, 3)
    assert list(live.history) == [epoch(study.runs[9], n) for n in (1, 2, 3, 4)]
    assert snapshot.runs[14].live.history == (), "what cannot be read tells nothing"
    assert snapshot.throughput[0].images_per_s == 300.0, "the median of 400 and 200 images/s, the last epochs'"


def test_nodes_are_told_by_the_runs_that_go_on_there(still):
    study, snapshot = still
    expected = {f"node-{study.runs[i].images_per_class}": 100.0 * n for i, n in ((9, 4), (10, 2))}
    assert {node.host: node.images_per_s for node in snapshot.nodes} == expected
    assert {node.host: dict(node.use) for node in snapshot.nodes} == {
        f"node-{study.runs[i].images_per_class}": {"cpu": n / 10} for i, n in ((9, 4), (10, 2))
    }
    for node, i in zip(snapshot.nodes, (10, 9), strict=True):
        per_image = cost(study.runs[i], 1) / (CLASSES * (study.runs[i].images_per_class or 0))
        assert node.flops_per_s == pytest.approx(node.images_per_s * per_image)


def test_cost_is_counted_from_what_runs_have_told(still):
    """Widths 2, 4 and 8 have told FLOP per image, all data sizes how many images they have; width 16 nothing."""
    study, snapshot = still
    known = study.runs[:12]
    assert snapshot.spending.planned == pytest.approx(sum(map(cost, known)))
    spent = sum(map(cost, study.runs[:9])) + sum(cost(study.runs[i], n) for i, n in ((9, 4), (10, 2), (11, 5)))
    assert snapshot.spending.spent == pytest.approx(spent)
    assert snapshot.spending.n_unknown == 4


def test_laws_firm_up_in_the_order_of_the_runs_ends(snapshot):
    looks = snapshot.laws["IT", "resnet"]
    assert [look.n_runs for look in looks if look] == [3, 5, 7, 9]
    assert all(look.low < look.change < look.high < 0 for look in looks if look)
    last = looks[-1]
    runs = [shown.run for shown in snapshot.runs[:9]]
    planted = (max(map(cost, runs)) / min(map(cost, runs))) ** -0.2 - 1
    assert last.low < planted < last.high


def test_the_terminal_shows_it_all(snapshot):
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(terminal_view(snapshot))
    text = console.export_text()
    for words in ("● 9 finished", "▶ 3 running", "resnet-10 w8", "4/10 + 3 steps", REASON):
        assert words in text
    assert re.search(r"2/10 \+ 3 steps .* 200 .* 90% .* (3|4|5|6)\d s ago", text)


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([1.0, 1.0], "▁▁"), ([0.0, 7.0, 3.0], "▁█▄"), ([9.0, *[0.0] * 23, 1.0], "▁" * 23 + "█")],
)
def test_a_sparkline_scales_what_it_shows(values, bars):
    assert sparkline(values) == bars


class Outside(HTMLParser):
    """Collects everything by which a page asks for something else, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.asks: list[str] = []
        self.points: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.asks += [tag] * (tag in ("script", "link", "iframe", "object", "img", "form"))
        self.asks += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        self.points += [named["points"] or ""] if tag == "polyline" else []

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_asks_for_nothing_and_shows_what_was_written(snapshot):
    page = watch_page(snapshot, 10)
    seen = Outside()
    seen.feed(page)
    assert seen.asks == []
    assert "url(" not in page
    assert "@import" not in page
    assert REASON in seen.text, "shown as text, not run"
    assert sorted(len(points.split()) for points in seen.points) == [2, 4]
    assert "spent" in seen.text
    assert "None yet" not in seen.text


def test_nothing_scored_yet_is_said(write_study):
    snapshot = Watch(open_study(write_study(**GRID))).take()
    assert snapshot.counts == {"waiting": 16}
    assert "no finished, scored run" in watch_page(snapshot)


@pytest.fixture
def served(study: Study) -> Iterator[Callable[..., tuple[int, str]]]:
    server = page_server(Renewed(Watch(study).take, 0), 0, "the token")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]

    def get(path: str, host: str = "127.0.0.1") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", path, headers={"Host": f"{host}:{port}"})
        answer = connection.getresponse()
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        return answer.status, answer.read().decode()

    yield get
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("/", "127.0.0.1", 401), ("/?token=other", "127.0.0.1", 401), ("/?token=the%20token", "evil.example", 403),
     ("/other?token=the%20token", "localhost", 404), ("/?token=%C3%A9", "127.0.0.1", 401)],
)  # fmt: skip
def test_it_answers_nobody_without_the_token(served, path, host, status):
    code, text = served(path, host)
    assert code == status
    assert "resnet" not in text


def test_each_look_reads_the_folder_again(served, study):
    assert "9 of 16" in served("/?token=the%20token")[1]
    write_finished(study, study.runs[15], 2000.0)
    assert "10 of 16" in served("/?token=the%20token")[1]
    path = Path(study.storage.path(f"runs/{study.runs[0].run_id}.parquet"))
    path.write_bytes(b"no Parquet")
    status, text = served("/?token=the%20token")
    assert (status, "9 of 16" in text, "damaged, counted as absent" in text) == (200, True, True)


def test_a_port_that_is_taken_is_refused(study):
    first = page_server(Renewed(Watch(study).take, 0), 0, "x")
    try:
        with pytest.raises(StudyError, match=r"--port \d+ cannot be had on 127\.0\.0\.1"):
            page_server(Renewed(Watch(study).take, 0), first.server_address[1], "x")
    finally:
        first.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on the PATH: the page cannot be seen")
def test_a_browser_draws_the_page_without_a_request(snapshot, tmp_path):
    page, log, picture = tmp_path / "page.html", tmp_path / "net.json", tmp_path / "page.png"
    page.write_text(watch_page(snapshot))
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-sync", "--disable-component-update", f"--user-data-dir={tmp_path}/profile")  # fmt: skip
    command = [
        CHROMIUM,
        *quiet,
        "--window-size=1280,1600",
        f"--screenshot={picture}",
        f"--log-net-log={log}",
        page.as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000, "more than an empty page"
    events = json.loads(log.read_text())["events"]
    asked = {event["params"]["url"] for event in events if "url" in event.get("params", {})}
    assert not [url for url in asked if url.startswith("http") and "google" not in url], asked
