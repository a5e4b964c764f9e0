from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from comfy_worker.logs import LEVELS, ROOT, JobLog, configure


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    logger = logging.getLogger(ROOT)
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def written(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_line_names_job_and_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO")
    JobLog("sync-1-e1", "4be0643f").info("queued after %.1f s", 0.25)
    assert written(capsys).endswith(" INFO    job=sync-1-e1 prompt=4be0643f queued after 0.2 s\n")


def test_before_queueing_there_is_no_prompt_to_name(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO")
    JobLog("sync-1-e1").warning("input is missing")
    assert written(capsys).endswith(" WARNING job=sync-1-e1 input is missing\n")


@pytest.mark.parametrize("level", LEVELS)
def test_lines_below_the_level_are_not_written(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = configure(level)
    for name in LEVELS:
        log.log(logging.getLevelName(name), "at %s", name)
    assert [line.rpartition(" ")[2] for line in written(capsys).splitlines()] == list(LEVELS[LEVELS.index(level) :])


def test_configured_twice_a_line_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure("DEBUG")
    configure("INFO").info("once")
    assert written(capsys).count("once") == 1


def test_the_host_programs_logging_does_not_repeat_our_lines() -> None:
    assert configure("INFO").propagate is False


def test_trap_23_no_secret_in_a_log_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = configure("INFO", ["AKIAEXAMPLE", "wJalr/XUtn+FEMI", ""])
    log.info("signing with %s and %r", "AKIAEXAMPLE", {"key": "wJalr/XUtn+FEMI"})
    assert written(capsys).endswith("signing with *** and {'key': '***'}\n")


def test_trap_23_no_secret_in_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO", ["comfyui-0123"])
    try:
        raise ValueError("refused key comfyui-0123")
    except ValueError:
        JobLog("j").exception("failed unexpectedly")
    text = written(capsys)
    assert "comfyui-0123" not in text
    assert "ValueError: refused key ***" in text


def test_trap_23_a_secret_that_begins_like_another_is_masked_whole(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO", ["minio", "minio-secret"]).info("minio-secret minio")
    assert written(capsys).endswith(" *** ***\n")


def test_a_name_that_no_terminal_can_print_is_written_all_the_same() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(stream)
    logger = configure("INFO")
    logger.handlers = [handler]
    JobLog("j").info("failed: %s", "half a pair \ud800")
    handler.flush()
    stream.seek(0)
    assert stream.read() == "job=j failed: half a pair \\ud800\n"


def test_a_step_is_one_line_with_its_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO")
    with JobLog("j").step("uploaded %d files", 2):
        pass
    assert written(capsys).endswith(" INFO    job=j uploaded 2 files (0.00 s)\n")


def test_a_step_that_fails_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO")
    with pytest.raises(ValueError, match="boom"), JobLog("j").step("uploaded"):
        raise ValueError("boom")
    assert written(capsys) == ""


def test_names_of_clients_cannot_make_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO")
    JobLog("evil\nINFO job=forged", "p").info("failed: %s", "out of\r\nmemory\x1b[2J \u2028 für immer")
    text = written(capsys)
    assert len(text.splitlines()) == 1
    assert text.endswith("job=evil\\nINFO job=forged prompt=p failed: out of\\r\\nmemory\\x1b[2J \\u2028 für immer\n")


def test_a_line_is_not_longer_than_needed_and_not_cut_within_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO", ["comfyui-0123"])
    JobLog("j").info("failed: %s", "x" * 1980 + "comfyui-0123" + "y" * 100_000)
    text = written(capsys)
    assert "comfyui" not in text
    assert len(text) < 2200
    assert text.endswith(" characters)\n")
