"""What workers do to jobs, and what happens when they vanish."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from runpod_desk import Desk

from local_runpod.jobs import Job, Status, WorkerRef
from local_runpod.problems import Problem
from local_runpod.results import Progress, Result
from local_runpod.settings import LateProgress, Oversize, Ping

W1, W2 = WorkerRef("w1"), WorkerRef("w2")


def ping_for(desk: Desk, seconds: int, *jobs: Job, ref: WorkerRef = W1) -> None:
    for _ in range(seconds):
        desk.fleet.pinged(ref, [job.id for job in jobs])
        desk.after(1)


# --- lost jobs ---


def test_a_confirmed_job_is_never_lost(desk: Desk) -> None:
    job = desk.running()
    ping_for(desk, 300, job)
    assert (job.status, job.retries) == (Status.IN_PROGRESS, 0)


@pytest.mark.parametrize("pings", [True, False])
def test_an_unconfirmed_job_is_handed_out_once_more_and_then_failed(desk: Desk, pings: bool) -> None:
    job = desk.running()
    other = desk.submit()
    for _ in range(40):
        ping_for(desk, 1) if pings else desk.after(1)
    assert desk.shown(job) == {"id": job.id, "retries": 1, "status": "IN_QUEUE"}
    assert desk.stops() == [job.id]
    desk.clock.now += 1
    assert desk.take("w2") == [job], "a lost job goes before the others"
    assert desk.shown(job)["delayTime"] == 41_000
    desk.after(40)
    assert desk.shown(job) == {
        "delayTime": 41_000,
        "error": "job timed out after 1 retries",
        "executionTime": 40_000,
        "id": job.id,
        "retries": 1,
        "status": "FAILED",
        "workerId": "w2",
    }
    assert other.status is Status.IN_QUEUE
    assert desk.endpoint.health()["jobs"] == {"completed": 0, "failed": 1, "inProgress": 0, "inQueue": 1, "retried": 1}


def test_heartbeats_right_after_the_take_may_lack_the_job(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(lost_job_s=0.5, ping_interval_ms=2000)
    job = desk.running()
    desk.after(3.9)
    assert job.status is Status.IN_PROGRESS
    desk.after(0.1)
    assert job.retries == 1


def test_the_retried_job_completes_on_another_worker_and_the_late_result_is_ignored(desk: Desk) -> None:
    job = desk.running()
    desk.after(40)
    assert desk.take("w2") == [job]
    desk.finish(job, Result(output=b'"late"'), name="w1")
    assert job.status is Status.IN_PROGRESS
    desk.finish(job, Result(output=b'"second"'), name="w2")
    assert desk.shown(job)["output"] == "second"
    assert desk.shown(job)["retries"] == 1


def test_a_stop_signal_of_the_lost_attempt_does_not_hit_the_next_one_on_the_same_worker(desk: Desk) -> None:
    job = desk.running()
    desk.after(40)
    assert desk.take("w1") == [job]
    assert desk.stops("w1") == []


def test_a_new_process_under_the_name_gives_its_jobs_back_at_once(desk: Desk) -> None:
    job = desk.submit()
    desk.take("w1", start="1")
    desk.after(1)
    assert desk.take("w1", start="2") == [job]
    assert job.retries == 1
    desk.fleet.finished(job.id, WorkerRef("w1", "1"), Result())
    assert job.status is Status.IN_PROGRESS, "the old process has no say any more"


def test_a_late_result_of_the_process_before_does_not_take_the_job_from_its_successor(desk: Desk) -> None:
    job = desk.submit()
    assert desk.take("w1", start="1") == [job]
    assert desk.take("w1", start="2") == [job]
    desk.fleet.finished(job.id, WorkerRef("w1", "1"), Result(output=b'"late"'))
    assert job.status is Status.IN_PROGRESS
    assert [worker.jobs for worker in desk.fleet.workers] == [{job.id}]


def test_no_retry_at_all_when_set_so(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(max_retries=0)
    job = desk.running()
    desk.after(40)
    assert desk.shown(job)["error"] == "job timed out after 0 retries"


def test_polls_are_enough_for_a_worker_without_heartbeat_when_set_so(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(ping=Ping.OPTIONAL)
    job = desk.running()
    for _ in range(30):
        desk.stops()
        desk.after(10)
    assert job.status is Status.IN_PROGRESS
    desk.after(41)
    assert job.retries == 1


def test_progress_and_stream_posts_confirm_the_job(desk: Desk) -> None:
    job = desk.running()
    desk.after(30)
    desk.fleet.progressed(job.id, W1, Progress(output=b"1"))
    desk.after(30)
    desk.fleet.streamed(job.id, W1, [b"1"])
    desk.after(30)
    assert job.status is Status.IN_PROGRESS


# --- progress and results ---


def test_progress_is_shown_while_the_job_runs(desk: Desk) -> None:
    job = desk.running()
    desk.clock.now += 1.804
    desk.fleet.progressed(job.id, W1, Progress(output=b'{"percent": 40}'))
    assert desk.shown(job) == {
        "delayTime": 0,
        "executionTime": 1804,
        "id": job.id,
        "output": {"percent": 40},
        "status": "IN_PROGRESS",
        "workerId": "w1",
    }
    desk.finish(job, Result())
    assert "output" not in desk.shown(job), "progress is no result"


def test_late_progress_is_ignored_or_overwrites_the_result(make_desk: Callable[..., Desk]) -> None:
    for knob, expected in ((LateProgress.IGNORE, "COMPLETED"), (LateProgress.OVERWRITE, "IN_PROGRESS")):
        desk = make_desk(late_progress=knob)
        job = desk.running()
        desk.finish(job)
        desk.fleet.progressed(job.id, W1, Progress(output=b"50"))
        assert desk.shown(job)["status"] == expected


def test_progress_of_a_job_that_went_elsewhere_is_ignored(desk: Desk) -> None:
    job = desk.running()
    desk.after(40)
    desk.fleet.progressed(job.id, W1, Progress(output=b"50"))
    assert "output" not in desk.shown(job)


def test_a_second_result_is_ignored(desk: Desk) -> None:
    job = desk.running()
    desk.finish(job, Result(output=b"1"))
    desk.finish(job, Result(error="no"))
    assert (job.status, job.output) == (Status.COMPLETED, b"1")
    assert desk.endpoint.health()["jobs"]["completed"] == 1


def test_an_oversized_result_completes_the_job_without_output_or_fails_it(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk()
    job = desk.running()
    desk.fleet.progressed(job.id, W1, Progress(output=b"50"))
    desk.fleet.oversized(job.id, W1)
    assert (desk.shown(job)["status"], "output" in desk.shown(job)) == ("COMPLETED", False)
    desk = make_desk(oversize=Oversize.FAIL)
    job = desk.running()
    desk.fleet.oversized(job.id, W1)
    assert desk.shown(job)["error"] == "result exceeded max body size of 10MiB"


def test_an_oversized_result_of_a_cancelled_job_changes_nothing(desk: Desk) -> None:
    job = desk.running()
    desk.endpoint.cancel(job)
    desk.fleet.oversized(job.id, W1)
    assert job.status is Status.CANCELLED


def test_a_stream_chunk_over_one_mebibyte_is_refused(desk: Desk) -> None:
    job = desk.running()
    with pytest.raises(Problem, match="stream chunk exceeded"):
        desk.fleet.streamed(job.id, W1, [b'"' + b"x" * 1024 * 1024 + b'"'])


# --- stop signals ---


def test_a_stop_signal_is_repeated_only_when_the_job_still_runs_after_ten_seconds(desk: Desk) -> None:
    job = desk.running()
    desk.endpoint.cancel(job)
    assert desk.stops() == [job.id]
    ping_for(desk, 10, job)
    assert desk.stops() == []
    ping_for(desk, 1, job)
    assert desk.stops() == [job.id]
    ping_for(desk, 30)
    assert desk.stops() == [], "a heartbeat without the job ends the matter"


def test_a_signal_for_a_job_the_worker_finished_meanwhile_is_withdrawn(desk: Desk) -> None:
    job = desk.running()
    desk.endpoint.cancel(job)
    desk.finish(job)
    assert desk.stops() == []


# --- stopPod ---


def test_a_stopped_worker_gets_no_more_jobs(desk: Desk) -> None:
    job = desk.running()
    desk.finish(job, Result(output=b"1", stop_pod=True))
    waiting = desk.submit()
    for _ in range(10):
        desk.clock.now += 1
        assert desk.take("w1") == []
    assert "w1" in desk.observer.signalled
    assert desk.take("w2") == [waiting]


def test_after_a_silence_a_stopped_worker_counts_as_restarted(desk: Desk) -> None:
    desk.finish(desk.running(), Result(stop_pod=True))
    waiting = desk.submit()
    desk.clock.now += 1.9
    assert desk.take("w1") == []
    desk.clock.now += 2.1
    assert desk.take("w1") == [waiting]


def test_a_worker_with_an_open_poll_is_not_silent(desk: Desk) -> None:
    desk.finish(desk.running(), Result(stop_pod=True))
    desk.fleet.poll_started(W1)
    desk.submit()
    desk.clock.now += 60
    assert desk.take("w1") == []


@pytest.mark.parametrize(
    ("connection", "silence", "is_new"),
    [("1.1.1.1 5", 1.9, False), ("1.1.1.1 6", 0.4, False), ("1.1.1.1 6", 0.6, True)],
)
def test_a_stopped_worker_is_replaced_by_a_process_with_another_connection(
    desk: Desk, connection: str, silence: float, is_new: bool
) -> None:
    job = desk.running()
    desk.fleet.finished(job.id, W1, Result(stop_pod=True), "1.1.1.1 5")
    desk.submit()
    desk.clock.now += silence
    worker = desk.fleet.poll_started(W1, connection)
    assert bool(desk.fleet.take(worker, 1)) is is_new


def test_a_stopped_worker_is_replaced_by_another_start(desk: Desk) -> None:
    desk.submit()
    job = desk.take("w1", start="1")[0]
    desk.fleet.finished(job.id, WorkerRef("w1", "1"), Result(stop_pod=True))
    desk.submit()
    assert desk.take("w1", start="1") == []
    assert len(desk.take("w1", start="2")) == 1


# --- health ---


def test_health_of_workers(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(workers=4, ping_interval_ms=2000)

    def counts() -> dict[str, int]:
        return desk.endpoint.health()["workers"]

    none = {"idle": 0, "initializing": 0, "ready": 0, "running": 0, "throttled": 0, "unhealthy": 0}
    assert counts() == {**none, "initializing": 4}
    desk.fleet.pinged(W1, [])
    assert counts() == {**none, "initializing": 4}, "a heartbeat alone is a worker that starts"
    desk.take("w1")
    desk.take("w2")
    assert counts() == {**none, "idle": 2, "ready": 2, "initializing": 2}
    job = desk.running(name="w1")
    assert counts() == {**none, "idle": 1, "ready": 1, "running": 1, "initializing": 2}
    desk.fleet.unhealthy(WorkerRef("w3"), "_memory_check: low")
    assert counts() == {**none, "idle": 1, "ready": 1, "running": 1, "unhealthy": 1, "initializing": 1}
    desk.finish(job)
    desk.after(6.1)
    assert counts() == {**none, "unhealthy": 1, "initializing": 3}, "silent for three heartbeats"
    desk.take("w3")
    assert counts() == {**none, "idle": 1, "ready": 1, "initializing": 3}, "a poll shows it is well again"


def test_vanished_workers_are_forgotten(desk: Desk) -> None:
    for number in range(50):
        desk.take(f"pod-{number}")
    desk.after(61)
    assert list(desk.fleet.workers) == []
