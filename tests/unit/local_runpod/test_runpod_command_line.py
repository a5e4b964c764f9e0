from __future__ import annotations

from pathlib import Path

import pytest

from local_runpod.command_line import parse_arguments


def test_the_endpoint_alone_needs_no_argument() -> None:
    options = parse_arguments([])
    assert (options.command, options.environment()) == ("endpoint", {})


@pytest.mark.parametrize("arguments", [["--port", "9", "serve"], ["serve", "--port", "9"]])
def test_the_port_may_stand_on_either_side_of_the_command(arguments: list[str]) -> None:
    options = parse_arguments([*arguments, "--worker", "w", "--workers", "3"])
    assert options.environment() == {"LOCAL_RUNPOD_PORT": "9", "LOCAL_RUNPOD_WORKERS": "3"}


def test_one_job_takes_any_free_port() -> None:
    options = parse_arguments(["once", "--worker", "w", "--request", "r.json", "--output", "o"])
    assert options.environment() == {"LOCAL_RUNPOD_PORT": "0"}
    assert (options.request, options.output) == (Path("r.json"), Path("o"))


def test_help_lists_the_knobs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    assert "LOCAL_RUNPOD_SYNC_WAIT_DEFAULT_MS  how long /runsync waits" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve"],
        ["once"],
        ["serve", "--worker", "w", "--workers", "0"],
        ["serve", "--worker", " "],
        ["serve", "--worker", "python 'handler.py"],
        ["serve", "--worker", "w", "--comfyui", 'python "main.py'],
        ["run"],
    ],
)
def test_what_cannot_be_run_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err
