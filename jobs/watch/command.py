"""The command `scaling watch`: its options."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from jobs.arguments import StorageOption, StudyFile, bad_input_ends, opened, refuse_unused, terminal


@bad_input_ends
def watch(
    study: StudyFile,
    storage: StorageOption = None,
    every: Annotated[int, typer.Option(min=1, help="Seconds between two looks.")] = 10,
    once: Annotated[bool, typer.Option("--once", help="Look once; so it is where the output is no terminal.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="As a page on 127.0.0.1, whose address has a token.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page [default: any that is free].")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the page to a file, and end.")] = None,
) -> None:
    """Runs by state, loss curves, throughput, cost and laws, from the study's folder alone: no driver need be alive."""
    from jobs.watch.page import watch_page
    from jobs.watch.snapshot import Watch
    from jobs.watch.terminal import terminal_view

    if not serve:
        refuse_unused("watch", "it goes with --serve", port=port)
    watched = Watch(opened(study, storage))
    console = terminal()
    if out is not None:
        refuse_unused("watch --out", "it writes one file", serve=serve, once=once)
        out.write_text(watch_page(watched.take()))
        print(f"page: {out}")
    elif serve:
        _serve(watched.take, every, port)
    elif once or not console.is_terminal:
        console.print(terminal_view(watched.take()))
    else:
        with Live(terminal_view(watched.take()), console=console, auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(every)
                live.update(terminal_view(watched.take()), refresh=True)


def _serve(take: object, every: int, port: int) -> None:
    from jobs.watch.server import Renewed, page_server

    token = secrets.token_urlsafe(24)
    renewed = Renewed(take, every)  # type: ignore[arg-type]
    renewed.page()  # what is wrong with the study is said here
    with page_server(renewed, port, token) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/?token={token} (Ctrl-C ends it)", flush=True)
        server.serve_forever()
