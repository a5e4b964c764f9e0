"""Workers that die, are stopped or ask to be replaced, with the SDK's loop in each of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from runpod_stage import SOON_LOST_S, RunningEndpoint, Worker, until

Start = Callable[..., Worker]


def test_the_job_of_a_killed_worker_completes_on_another(three_to_end: RunningEndpoint) -> None:
    endpoint = three_to_end
    job_id = endpoint.run({"seconds": 0.7})
    killed = endpoint.in_progress(job_id)["workerId"]
    endpoint.workers[killed].kill()
    job = endpoint.final(job_id)
    assert (job["status"], job["retries"]) == ("COMPLETED", 1)
    assert job["workerId"] != killed
    assert job["delayTime"] >= 1000 * SOON_LOST_S, "counted up to the second attempt"
    assert endpoint.health()["jobs"] == {"completed": 1, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 1}


def test_sigterm_lets_the_job_in_hand_finish_and_a_job_handed_out_meanwhile_is_retried(
    three_to_end: RunningEndpoint, start_worker: Start
) -> None:
    """Ends all workers, so it comes after the test above."""
    endpoint = three_to_end
    endpoint.workers_polling([worker.name for worker in endpoint.workers.values() if worker.is_running()])
    in_hand = endpoint.run({"seconds": 2})
    busy = endpoint.workers[endpoint.in_progress(in_hand)["workerId"]]
    idle = [worker for worker in endpoint.workers.values() if worker.is_running() and worker is not busy]

    # An idle worker asked to end still waits for its poll. A job it gets then is accepted and never run.
    for worker in idle:
        worker.terminate()
    time.sleep(0.3)
    in_window = endpoint.run({"n": 1})
    assert endpoint.in_progress(in_window)["workerId"] in [worker.name for worker in idle]

    busy.terminate()
    assert endpoint.final(in_hand)["status"] == "COMPLETED"
    for worker in (busy, *idle):  # their polls for stop signals are still held, and would be for long
        endpoint.http("POST", f"/local/workers/{worker.name}/retire")
        assert worker.exit_code() == 0
    start_worker(endpoint, "sleep_then_echo", "next")
    job = endpoint.final(in_window)
    assert (job["status"], job["workerId"], job["retries"]) == ("COMPLETED", "next", 1)


def test_a_worker_that_asks_to_be_refreshed_gets_no_more_jobs(
    two_to_refresh: RunningEndpoint, start_worker: Start
) -> None:
    endpoint = two_to_refresh
    jobs = [endpoint.run({"n": number}) for number in range(3)]
    until(lambda: [endpoint.status(job_id)["status"] for job_id in jobs[:2]] == ["COMPLETED"] * 2)
    assert {endpoint.status(job_id)["workerId"] for job_id in jobs[:2]} == {"stopped", "ending"}
    # One is configured so and ends by itself, the other polls on and is given nothing.
    assert endpoint.workers["ending"].exit_code() == 0
    time.sleep(1.2)
    assert endpoint.workers["stopped"].is_running()
    assert endpoint.status(jobs[2])["status"] == "IN_QUEUE"
    assert endpoint.health()["workers"]["idle"] == 0
    # A new process of the same name is a new worker. RunPod starts one; here the test does.
    endpoint.workers["stopped"].kill()
    start_worker(endpoint, "return_refresh_worker", "stopped")
    assert endpoint.final(jobs[2])["workerId"] == "stopped"
