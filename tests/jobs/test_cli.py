"""The command line as a stranger meets it: every command explains itself."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jobs.cli import app, main

REPOSITORY = Path(__file__).parents[2]
COMMANDS = sorted(
    command.name or command.callback.__name__ for command in app.registered_commands if not command.hidden
)


def output(*words: str) -> str:
    result = CliRunner().invoke(app, words, env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_are_listed():
    assert COMMANDS == [
        "benchmarks",
        "fetch",
        "fit",
        "models",
        "plan",
        "presets",
        "recipe",
        "report",
        "run",
        "score",
        "slurm",
        "status",
        "ui",
        "verify",
        "watch",
    ]
    listed = output("--help")
    assert [name for name in COMMANDS if not re.search(rf"^\s+{name}\s", listed, re.MULTILINE)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_that_the_command_takes(command):
    text = " ".join(output(command, "--help").split())
    (example,) = re.findall(r"Example: scaling (.+)$", text)
    words = shlex.split(example)
    assert words[0] == command
    output(*words, "--help")  # an option that does not exist would end with status 2
    files = [word for word in words if word.endswith(".yaml")]
    assert all((REPOSITORY / file).is_file() for file in files)


def test_every_argument_and_option_is_explained():
    commands = typer.main.get_command(app).commands
    assert [(name, p.name) for name, command in commands.items() for p in command.params if not p.help] == []


def test_version_is_that_of_the_distribution():
    assert output("--version").strip() == version("ventral-scaling")


def test_an_unknown_command_and_option_end_with_status_2():
    for words in (["train"], ["run", "study.yaml", "--gpu"], ["recipe", "study.yaml"]):
        result = CliRunner().invoke(app, words)
        assert (result.exit_code, "Try 'scaling" in result.stderr) == (2, True), words


def test_an_earlier_name_of_a_command_says_the_new_one():
    result = CliRunner().invoke(app, ["training", "convnext"])
    assert result.exit_code == 2
    assert "it is called presets now; write `scaling presets convnext`" in result.stderr


def test_no_words_print_the_help():
    assert "Commands" in CliRunner().invoke(app, []).output


def test_the_installed_command_is_this_one():
    (command,) = entry_points(group="console_scripts", name="scaling")
    assert command.load() is main
