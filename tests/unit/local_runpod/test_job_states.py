"""What clients and the time do to a job."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from runpod_desk import Desk

from local_runpod.jobs import Status, WorkerRef
from local_runpod.problems import Problem
from local_runpod.results import Progress, Result
from local_runpod.settings import TimeoutStatus

FAILED = Result(output=b'{"code":"X"}', error="bad")


def is_unknown(desk: Desk, job_id: str) -> bool:
    try:
        desk.endpoint.find(job_id)
    except Problem as problem:
        assert (problem.status, problem.detail) == (404, "job not found")
        return True
    return False


def test_jobs_are_handed_out_in_order_and_low_priority_ones_last(desk: Desk) -> None:
    low = desk.submit({"input": 1, "policy": {"lowPriority": True}})
    first, second = desk.submit(), desk.submit()
    assert [desk.take()[0].id for _ in range(3)] == [first.id, second.id, low.id]
    assert desk.take() == []


def test_a_batch_holds_at_most_what_was_asked_for(desk: Desk) -> None:
    jobs = [desk.submit() for _ in range(3)]
    assert [job.id for job in desk.take(limit=2)] == [job.id for job in jobs[:2]]
    assert [job.id for job in desk.take(limit=2)] == [jobs[2].id]


def test_a_result_with_error_is_failed_and_keeps_its_output(desk: Desk) -> None:
    job = desk.running()
    desk.finish(job, FAILED)
    shown = desk.shown(job)
    assert (shown["status"], shown["error"], shown["output"]) == ("FAILED", "bad", {"code": "X"})


def test_a_waiting_job_is_cancelled_and_never_handed_out(desk: Desk) -> None:
    job = desk.submit()
    desk.endpoint.cancel(job)
    assert desk.shown(job) == {"id": job.id, "status": "CANCELLED"}
    assert desk.take() == []
    assert desk.observer.ended == [job.id]


def test_a_running_job_is_cancelled_its_worker_told_once_and_its_result_ignored(desk: Desk) -> None:
    job = desk.running()
    desk.clock.now += 2
    desk.endpoint.cancel(job)
    assert desk.observer.signalled == ["w1"]
    assert desk.stops() == [job.id]
    assert desk.stops() == []
    desk.finish(job)
    shown = desk.shown(job)
    assert (shown["status"], shown["executionTime"]) == ("CANCELLED", 2000)
    assert "output" not in shown


def test_progress_is_no_output_of_a_cancelled_job(desk: Desk) -> None:
    job = desk.running()
    desk.fleet.progressed(job.id, WorkerRef("w1"), Progress(output=b'{"percent":40}'))
    desk.endpoint.cancel(job)
    assert list(desk.shown(job)) == ["delayTime", "executionTime", "id", "status", "workerId"]


def test_cancelling_a_finished_job_changes_nothing(desk: Desk) -> None:
    job = desk.running()
    desk.finish(job)
    desk.endpoint.cancel(job)
    assert job.status is Status.COMPLETED


def test_retry_runs_a_failed_job_again_as_if_new(desk: Desk) -> None:
    job = desk.running({"input": {"n": 7}})
    desk.finish(job, FAILED)
    desk.clock.now += 5
    desk.endpoint.retry(job)
    assert desk.shown(job) == {"id": job.id, "status": "IN_QUEUE"}
    desk.clock.now += 1
    assert desk.take()[0] is job
    assert job.submission.input == b'{"n": 7}'
    desk.finish(job)
    assert desk.shown(job)["delayTime"] == 1000


def test_only_failed_jobs_can_be_retried(desk: Desk) -> None:
    job = desk.running()
    with pytest.raises(Problem, match="not IN_PROGRESS"):
        desk.endpoint.retry(job)
    desk.finish(job)
    with pytest.raises(Problem, match="not COMPLETED"):
        desk.endpoint.retry(job)


def test_retry_goes_on_with_the_time_to_live(desk: Desk) -> None:
    job = desk.running({"input": 1, "policy": {"ttl": 60_000}})
    desk.finish(job, FAILED)
    desk.after(50)
    desk.endpoint.retry(job)
    desk.after(9.9)
    assert not is_unknown(desk, job.id)
    desk.after(0.2)
    assert is_unknown(desk, job.id)
    assert desk.take() == []


def test_purge_removes_what_waits_and_leaves_what_runs(desk: Desk) -> None:
    running = desk.running()
    waiting = [desk.submit(), desk.submit({"input": 1, "policy": {"lowPriority": True}})]
    assert desk.endpoint.purge() == 2
    assert desk.take() == []
    assert all(is_unknown(desk, job.id) for job in waiting)
    assert not is_unknown(desk, running.id)
    assert desk.endpoint.purge() == 0


def test_execution_timeout_fails_the_job_and_stops_it_on_the_worker(desk: Desk) -> None:
    job = desk.running({"input": 1, "policy": {"executionTimeout": 8000}})
    desk.after(7.9)
    assert job.status is Status.IN_PROGRESS
    desk.after(0.2)
    shown = desk.shown(job)
    assert (shown["status"], shown["error"]) == ("FAILED", "executionTimeout exceeded")
    assert shown["executionTime"] == 8100
    assert desk.stops() == [job.id]


def test_execution_timeout_counts_from_the_take_not_from_the_submission(desk: Desk) -> None:
    job = desk.submit({"input": 1, "policy": {"executionTimeout": 8000}})
    desk.after(3600)
    assert desk.take() == [job]
    desk.after(1)
    assert job.status is Status.IN_PROGRESS


def test_timed_out_jobs_can_be_shown_as_documented(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(timeout_status=TimeoutStatus.TIMED_OUT, execution_timeout_ms=1000)
    job = desk.running()
    desk.after(1)
    assert desk.shown(job)["status"] == "TIMED_OUT"
    desk.endpoint.retry(job)
    assert job.status is Status.IN_QUEUE


@pytest.mark.parametrize("state", ["waiting", "running", "finished"])
def test_the_time_to_live_deletes_a_job_in_any_state(desk: Desk, state: str) -> None:
    job = desk.submit({"input": 1, "policy": {"ttl": 10_000}})
    if state != "waiting":
        desk.take()
    if state == "finished":
        desk.finish(job)
    desk.after(10)
    assert is_unknown(desk, job.id)
    assert desk.observer.deleted == [job.id]
    assert desk.stops() == ([job.id] if state == "running" else [])
    assert desk.endpoint.health()["jobs"]["inQueue"] == desk.endpoint.health()["jobs"]["inProgress"] == 0
    with pytest.raises(Problem, match="job not found"):
        desk.finish(job)


def test_results_are_kept_half_an_hour_or_a_minute(desk: Desk) -> None:
    queued, synced = desk.submit(), desk.submit(sync=True)
    for job in desk.take(limit=2):
        desk.finish(job)
    desk.after(59)
    assert not is_unknown(desk, synced.id)
    desk.after(1)
    assert is_unknown(desk, synced.id)
    desk.after(1739)
    assert not is_unknown(desk, queued.id)
    desk.after(1)
    assert is_unknown(desk, queued.id)


def test_a_life_can_be_shortened_but_not_lengthened(desk: Desk) -> None:
    job = desk.running()
    desk.finish(job)
    desk.endpoint.shorten_life(job, 6)
    desk.endpoint.shorten_life(job, 100)
    desk.after(5.9)
    assert not is_unknown(desk, job.id)
    desk.after(0.1)
    assert is_unknown(desk, job.id)


def test_an_expired_job_is_unknown_even_before_the_next_tick(desk: Desk) -> None:
    job = desk.submit({"input": 1, "policy": {"ttl": 10_000}})
    desk.clock.now += 10
    assert is_unknown(desk, job.id)


def test_an_expired_job_is_not_handed_out(desk: Desk) -> None:
    desk.submit({"input": 1, "policy": {"ttl": 10_000}})
    alive = desk.submit()
    desk.clock.now += 10
    assert desk.take() == [alive]
    desk.after(0)
    assert desk.endpoint.jobs() == [alive]


def test_the_oldest_results_go_when_more_is_retained_than_allowed(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(retained_mib=1)
    jobs = [desk.submit() for _ in range(3)]
    for job in desk.take(limit=3):
        desk.finish(job, Result(output=b'"' + b"x" * 400_000 + b'"'))
    desk.after(0)
    assert [is_unknown(desk, job.id) for job in jobs] == [True, False, False]


def test_the_input_of_a_completed_job_is_let_go_and_of_a_failed_one_kept(desk: Desk) -> None:
    completed, failed = desk.submit(), desk.submit()
    desk.take(limit=2)
    desk.finish(completed)
    desk.finish(failed, FAILED)
    for job in (completed, failed):
        desk.endpoint.webhook_call(job)
    assert completed.submission.input is None
    assert failed.submission.input is not None


def test_the_webhook_gets_the_job_with_its_input(make_desk: Callable[..., Desk]) -> None:
    body = {"input": {"n": 1}, "webhook": "http://h/hook"}
    desk = make_desk()
    job = desk.running(body)
    desk.finish(job)
    call = desk.endpoint.webhook_call(job)
    assert call is not None
    assert call.url == "http://h/hook"
    assert b'"input":{"n": 1},"output":{"ok":1},"status":"COMPLETED","webhook":"http://h/hook","workerId"' in b"".join(
        call.body
    )
    for on_cancel in (True, False):
        desk = make_desk(webhook_on_cancel=on_cancel)
        job = desk.submit(body)
        desk.endpoint.cancel(job)
        assert (desk.endpoint.webhook_call(job) is not None) is on_cancel


def test_stream_chunks_are_handed_out_once_and_the_end_with_the_last(desk: Desk) -> None:
    job = desk.submit()
    assert desk.endpoint.drain_stream(job) == (Status.IN_QUEUE, [])
    desk.take()
    desk.fleet.streamed(job.id, WorkerRef("w1"), [b"0", b"1"])
    assert desk.endpoint.drain_stream(job) == (Status.IN_PROGRESS, [b"0", b"1"])
    desk.fleet.streamed(job.id, WorkerRef("w1"), [b"2"])
    desk.finish(job, Result(output=b"[]"))
    assert desk.endpoint.drain_stream(job) == (Status.COMPLETED, [b"2"])
    assert desk.endpoint.drain_stream(job) == (Status.COMPLETED, [])


def test_a_long_stream_is_handed_out_in_portions_and_ends_with_the_last(desk: Desk) -> None:
    job = desk.running()
    chunk = b'"' + b"x" * (1024 * 1024 - 2) + b'"'
    desk.fleet.streamed(job.id, WorkerRef("w1"), [chunk] * 12)
    desk.finish(job)
    status, chunks = desk.endpoint.drain_stream(job)
    assert (status, len(chunks)) == (Status.IN_PROGRESS, 10)
    status, chunks = desk.endpoint.drain_stream(job)
    assert (status, len(chunks)) == (Status.COMPLETED, 2)
