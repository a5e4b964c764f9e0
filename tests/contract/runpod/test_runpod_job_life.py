"""The life of a job between real clients, the endpoint and the SDK's own loop."""

from __future__ import annotations

import json
import re
import time

import pytest
from runpod_stage import RunningEndpoint, until


@pytest.fixture(scope="module")
def doomed(stages: dict[str, RunningEndpoint]) -> dict[str, tuple[RunningEndpoint, str]]:
    """Jobs that die slowly: submitted before the first test, looked at by the last.

    For bytes the SDK posts nothing, for NaN it gives up after the 400, and a job without input it cannot run at all.
    """
    told, reporting = stages["told"], stages["reporting"]
    return {
        "bytes": (told, told.run({"not_json": "bytes"})),
        "NaN": (told, told.run({"not_json": "NaN"})),
        "empty input": (reporting, reporting.run({})),
    }


@pytest.fixture(autouse=True)
def _doomed_from_the_start(doomed: object) -> None:
    pass


def test_run_answers_at_once_and_status_tells_the_rest(echo: RunningEndpoint) -> None:
    job_id = echo.run({"seconds": 0.3, "text": "é"})
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}-u1", job_id)
    progress = echo.in_progress(job_id)
    assert list(progress) == ["delayTime", "id", "status", "workerId"]
    job = echo.final(job_id)
    assert list(job) == ["delayTime", "executionTime", "id", "output", "status", "workerId"]
    assert job["status"] == "COMPLETED"
    assert job["output"]["echo"] == {"seconds": 0.3, "text": "é"}
    assert job["output"]["job_keys"] == ["id", "input"]
    assert job["workerId"] == job["output"]["worker"]
    assert job["executionTime"] >= 300
    assert echo.status(job_id) == job, "a result can be read again"


def test_runsync_answers_with_the_result(echo: RunningEndpoint) -> None:
    job = echo.runsync({"n": 1})
    assert job["id"].startswith("sync-")
    assert (job["status"], job["output"]["echo"]) == ("COMPLETED", {"n": 1})


def test_runsync_that_outlasts_its_wait_goes_on_as_a_job(echo: RunningEndpoint) -> None:
    began = time.monotonic()
    job = echo.runsync({"seconds": 2.5}, wait=1)  # clamped to the documented minimum of 1000 ms
    assert time.monotonic() - began >= 1.0
    assert job["status"] == "IN_PROGRESS"
    answer = echo.http("POST", f"/v2/local/status-sync/{job['id']}?wait=10000")
    assert answer.json()["status"] == "COMPLETED"


def test_two_workers_share_a_backlog(echo: RunningEndpoint) -> None:
    jobs = [echo.final(job_id) for job_id in [echo.run({"seconds": 0.2}) for _ in range(4)]]
    assert {job["workerId"] for job in jobs} == {"w1", "w2"}


def test_cancel_reaches_an_async_handler(echo: RunningEndpoint) -> None:
    job_id = echo.run({"seconds": 60})
    echo.in_progress(job_id)
    answer = echo.http("POST", f"/cancel/{job_id}")
    assert answer.json() == {"id": job_id, "status": "CANCELLED"}
    job = echo.status(job_id)
    assert list(job) == ["delayTime", "executionTime", "id", "status", "workerId"]
    echo.workers_ready(2)
    assert echo.runsync({"n": 1})["status"] == "COMPLETED"


def test_cancel_of_a_waiting_job_means_it_never_runs(blocking: RunningEndpoint) -> None:
    first = blocking.run({"seconds": 0.5})
    blocking.in_progress(first)
    waiting = blocking.run({"n": "never"})
    assert blocking.http("POST", f"/v2/local/cancel/{waiting}", json={}).json()["status"] == "CANCELLED"
    assert blocking.final(first)["status"] == "COMPLETED"
    assert blocking.status(waiting) == {"id": waiting, "status": "CANCELLED"}


def test_cancel_does_not_reach_a_sync_handler_and_its_result_is_ignored(blocking: RunningEndpoint) -> None:
    job_id = blocking.run({"seconds": 1})
    blocking.in_progress(job_id)
    blocking.http("POST", f"/cancel/{job_id}")
    following = blocking.runsync({"n": 1})
    assert following["delayTime"] > 500, "the worker was busy with the cancelled job to its end"
    assert "output" not in blocking.status(job_id)
    assert blocking.status(job_id)["status"] == "CANCELLED"


@pytest.mark.parametrize(
    ("input", "status", "output", "error"),
    [
        ({"return": "x"}, "COMPLETED", "x", None),
        ({"return": [1]}, "COMPLETED", [1], None),
        ({"return": True}, "COMPLETED", True, None),
        ({"return": None}, "COMPLETED", None, None),
        ({"return": {"a": 1}}, "COMPLETED", {"a": 1}, None),
        ({"return": {}}, "COMPLETED", "absent", None),
        ({"return": {"error": "bad"}}, "FAILED", "absent", "bad"),
        ({"return": {"error": "bad", "detail": 1}}, "FAILED", {"detail": 1}, "bad"),
        ({"return": {"error": {"code": 1}}}, "FAILED", "absent", '{"code":1}'),
        ({"return": {"error": ""}}, "COMPLETED", "absent", None),
    ],
)
def test_what_a_handler_returns(
    told: RunningEndpoint, input: object, status: str, output: object, error: str | None
) -> None:
    job = told.runsync(input)
    assert (job["status"], job.get("output", "absent"), job.get("error")) == (status, output, error)


def test_what_a_handler_raises(told: RunningEndpoint) -> None:
    job = told.runsync({"raise": "boom"})
    assert job["status"] == "FAILED"
    error = json.loads(job["error"])
    assert (error["error_message"], error["worker_id"], error["runpod_version"]) == ("boom", "w1", "1.12.0")


def test_a_result_over_the_limit_is_dropped_in_a_completed_job(told: RunningEndpoint) -> None:
    over_10_mib = {"characters": 10 * 1024 * 1024}
    job = told.final(told.run(over_10_mib))
    assert list(job) == ["delayTime", "executionTime", "id", "status", "workerId"]
    assert job["status"] == "COMPLETED"
    assert len(told.runsync(over_10_mib)["output"]) == 10 * 1024 * 1024, "/runsync allows 20 MiB"
    assert "output" not in told.runsync({"characters": 20 * 1024 * 1024})


def test_retry_runs_a_failed_job_again(told: RunningEndpoint) -> None:
    job_id = told.run({"return": {"error": "bad"}})
    assert told.final(job_id)["status"] == "FAILED"
    answer = told.http("POST", f"/retry/{job_id}")
    assert answer.json() == {"id": job_id, "status": "IN_QUEUE"}
    assert told.final(job_id)["error"] == "bad"
    ok = told.runsync({"return": 1})["id"]
    assert told.http("POST", f"/retry/{ok}").status_code == 400


def test_a_stream_is_drained_chunk_by_chunk(streaming: RunningEndpoint) -> None:
    job_id = streaming.run({"count": 3, "gap": 0.2})
    calls = []

    def over() -> bool:
        calls.append(streaming.http("GET", f"/stream/{job_id}").json())
        return calls[-1]["status"] == "COMPLETED"

    until(over)
    assert all(list(call) == ["status", "stream"] for call in calls)
    assert [part["output"] for call in calls for part in call["stream"]] == [{"index": index} for index in range(3)]
    assert sum(bool(call["stream"]) for call in calls) >= 2, "handed out while the job runs"
    assert streaming.http("POST", f"/stream/{job_id}").json() == {"status": "COMPLETED", "stream": []}
    assert streaming.status(job_id)["output"] == []


def test_progress_is_seen_and_never_replaces_the_result(reporting: RunningEndpoint) -> None:
    slow = reporting.run({"slowly": True})
    job = until(lambda: "output" in (job := reporting.status(slow)) and job)
    assert job["status"] == "IN_PROGRESS"
    assert job["output"]["percent"] in (10, 20, 30)
    assert job["executionTime"] >= 0
    assert reporting.final(slow)["output"] == "done"
    for _ in range(2):  # each of its three updates is a thread of its own, and most arrive after the result
        assert reporting.runsync({"slowly": False})["output"] == "done"


def test_a_worker_may_take_two_jobs_at_once(two_at_once: RunningEndpoint) -> None:
    jobs = [two_at_once.run({"seconds": 1.2}) for _ in range(2)]
    finished = [two_at_once.final(job_id) for job_id in jobs]
    assert 2 in [job["output"]["seen"] for job in finished]


def test_execution_timeout_stops_the_job(two_at_once: RunningEndpoint) -> None:
    job = two_at_once.final(two_at_once.run({"seconds": 60}))
    assert (job["status"], job["error"]) == ("FAILED", "executionTimeout exceeded")
    assert 2000 <= job["executionTime"] < 3000
    two_at_once.workers_ready(1)


def test_health_counts(told: RunningEndpoint) -> None:
    before = told.health()["jobs"]
    told.runsync({"return": 1})
    told.runsync({"return": {"error": "bad"}})
    health = told.health()
    assert health["jobs"]["completed"] == before["completed"] + 1
    assert health["jobs"]["failed"] == before["failed"] + 1
    assert health["workers"] == {
        "idle": 1,
        "initializing": 0,
        "ready": 1,
        "running": 0,
        "throttled": 0,
        "unhealthy": 0,
    }


@pytest.mark.parametrize("kind", ["bytes", "NaN", "empty input"])
def test_what_cannot_be_run_or_answered_is_lost(
    doomed: dict[str, tuple[RunningEndpoint, str]], kind: str, told: object, reporting: object
) -> None:
    endpoint, job_id = doomed[kind]
    job = endpoint.final(job_id, 40)
    assert (job["status"], job["error"], job["retries"]) == ("FAILED", "job timed out after 1 retries", 1)
