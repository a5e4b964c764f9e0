"""The APIs as seen on the wire; where a worker is needed the test plays it."""

from __future__ import annotations

import html
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from runpod_stage import CLIENT_TIMEOUT_S, RunningEndpoint, meanwhile, until

MIB = 1024 * 1024
LONGER_THAN_CLIENTS_WAIT_S = 2 * CLIENT_TIMEOUT_S


def problem(status: int, title: str, detail: str) -> dict[str, Any]:
    return {"status": status, "title": title, "detail": detail}


@pytest.fixture(scope="module", autouse=True)
def idle() -> Iterator[tuple[http.client.HTTPConnection, float]]:
    """A connection used once before the first test, for the last one; and when that was."""
    with RunningEndpoint() as endpoint:
        host, port = endpoint.url.removeprefix("http://").split(":")
        client = http.client.HTTPConnection(host, int(port))
        client.request("GET", "/ping")
        client.getresponse().read()
        yield client, time.monotonic()
        client.close()


# --- paths, errors, access ---


@pytest.mark.parametrize("prefix", ["", "/v2/local"])
def test_each_path_works_as_on_runpod_and_without_prefix(bare: RunningEndpoint, prefix: str) -> None:
    job_id = bare.http("POST", f"{prefix}/run", json={"input": 1}).json()["id"]
    for method, path in [
        ("GET", f"/status/{job_id}"),
        ("POST", f"/status/{job_id}"),
        ("GET", f"/stream/{job_id}"),
        ("POST", f"/stream/{job_id}"),
        ("GET", "/health"),
        ("GET", "/requests"),
        ("POST", f"/cancel/{job_id}"),
        ("GET", f"/status-sync/{job_id}"),
        ("POST", f"/status-sync/{job_id}"),
        ("POST", "/purge-queue"),
    ]:
        answer = bare.http(method, prefix + path)
        assert answer.status_code == 200, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/json"
    assert bare.http("GET", "/requests").json() == {"requests": [{"id": job_id, "status": "CANCELLED"}]}


def test_the_first_requests_to_two_endpoints_at_once() -> None:
    """Each is a process of its own for users; here, and in a notebook, they share one, and Python's warning filters."""
    for _ in range(3):
        with RunningEndpoint() as one, RunningEndpoint() as other, ThreadPoolExecutor(2) as threads:
            both_ready = threading.Barrier(2)

            def first_request(endpoint: RunningEndpoint, both_ready: threading.Barrier = both_ready) -> int:
                both_ready.wait(10)
                return endpoint.http("POST", "/run", json={"input": 1}).status_code

            assert list(threads.map(first_request, (one, other))) == [200, 200]


def test_errors_are_problem_json_with_a_numeric_status(bare: RunningEndpoint) -> None:
    unknown = problem(404, "Not Found", "job not found")
    for method, path in [
        ("GET", "/status/x"),
        ("GET", "/status-sync/x"),
        ("GET", "/stream/x"),
        ("POST", "/cancel/x"),
        ("POST", "/retry/x"),
        ("POST", "/v2/local/job-done/w/x"),
        ("POST", "/v2/local/job-stream/w/x"),
    ]:
        answer = bare.http(method, path, data="{}")
        assert (answer.status_code, answer.json()) == (404, unknown), path
        assert answer.headers["content-type"] == "application/json"
    assert bare.http("GET", "/v2/other/health").json() == problem(404, "Not Found", "endpoint not found")
    assert bare.http("GET", "/nowhere").json() == problem(404, "Not Found", "not found")
    assert bare.http("GET", "/run").json() == problem(405, "Method Not Allowed", "method not allowed")
    assert bare.http("POST", "/run", data="nonsense").json()["title"] == "Bad Request"
    assert bare.http("POST", "/run", json={}).json()["detail"] == "bad request: `input` is missing from the body"
    for wait in ("soon", "nan"):
        assert bare.http("POST", f"/runsync?wait={wait}", json={"input": 1}).json()["status"] == 400
    assert bare.http("POST", "/run", json={"input": 1, "webhook": "http://["}).json()["status"] == 400


def test_keys_of_clients_and_workers() -> None:
    with RunningEndpoint(api_key="client", worker_key="worker") as endpoint:

        def code(method: str, path: str, key: str) -> int:
            return endpoint.http(method, path, headers={"Authorization": key} if key else {}).status_code

        assert [code("GET", "/health", key) for key in ("client", "Bearer client")] == [200, 200]
        assert [code("GET", "/v2/local/health", key) for key in ("", "Bearer", "worker", "x")] == [401] * 4
        assert endpoint.http("GET", "/health").json() == problem(401, "Unauthorized", "unauthorized")
        assert [code("GET", "/v2/local/ping/w", key) for key in ("worker", "Bearer worker")] == [200, 200]
        assert [code("GET", "/v2/local/ping/w", key) for key in ("", "client")] == [401, 401]
        assert code("GET", "/ping", "") == 200
        # The SDK asks for work again at once after an error; the answer is delayed instead.
        began = time.monotonic()
        assert code("GET", "/v2/local/job-take/w", "client") == 401
        assert time.monotonic() - began >= 1


def test_documentation_lists_every_route_with_examples(bare: RunningEndpoint) -> None:
    paths = bare.http("GET", "/openapi.json").json()["paths"]
    for name in ("run", "runsync", "status/{job_id}", "cancel/{job_id}", "stream/{job_id}", "health", "purge-queue"):
        for path in (f"/{name}", f"/v2/{{endpoint_id}}/{name}"):
            (operation,) = paths[path].values()
            assert operation["summary"]
            assert operation["responses"]["200"]["content"]["application/json"]["examples"]


def test_the_documentation_page_needs_no_internet(bare: RunningEndpoint) -> None:
    """Swagger UI is fetched from a public server; without one the page says the same in plain text."""
    page = bare.http("GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "swagger" in page.text
    plain = re.sub(r"(?s)<(script|style)\b.*?</\1>", "", page.text)
    for path, methods in bare.http("GET", "/openapi.json").json()["paths"].items():
        for method, route in methods.items():
            assert f"{method.upper()} {path}" in plain
            assert html.escape(route["summary"]).replace("`", "") in re.sub("</?code>", "", plain)
    assert html.escape('"detail": "job not found"') in plain


# --- sizes ---


@pytest.mark.parametrize(("path", "limit"), [("/run", 10), ("/runsync?wait=1000", 20)])
def test_a_request_over_the_limit_is_400(bare: RunningEndpoint, path: str, limit: int) -> None:
    frame = len('{"input":""}')
    fits = '{"input":"' + "x" * (limit * MIB - frame) + '"}'
    detail = f"bad request: body: exceeded max body size of {limit}MiB"
    answer = bare.http("POST", path, data=fits[:-2] + 'x"}')
    assert (answer.status_code, answer.json()) == (400, problem(400, "Bad Request", detail))

    def chunked() -> Iterator[bytes]:
        for _ in range(limit + 1):
            yield b"x" * MIB

    assert bare.http("POST", path, data=chunked()).json()["detail"] == detail
    assert bare.http("POST", path, data=fits).status_code == 200
    assert bare.health()["jobs"]["inQueue"] == 1
    job = bare.take()
    assert job is not None
    assert len(job["input"]) == limit * MIB - frame


@pytest.mark.parametrize(("sync", "limit"), [(False, 10), (True, 20)])
def test_a_result_over_the_limit_is_400_and_the_job_completed(bare: RunningEndpoint, sync: bool, limit: int) -> None:
    for size, status in ((limit * MIB, 200), (limit * MIB + 1, 400)):
        job_id = bare.runsync(1, wait=1000)["id"] if sync else bare.run(1)
        assert bare.take()["id"] == job_id
        body = b'{"output":"' + b"x" * (size - len(b'{"output":""}')) + b'"}'
        assert bare.done(job_id, body).status_code == status
        job = bare.status(job_id)
        assert job["status"] == "COMPLETED"
        assert ("output" in job) is (status == 200)


def test_a_status_is_answered_while_large_bodies_are_half_way(bare: RunningEndpoint) -> None:
    large, other = bare.runsync(1, wait=1000)["id"], bare.run(2)
    bare.take()
    host, port = bare.url.removeprefix("http://").split(":")
    body = b'{"output":"' + b"x" * (20 * MIB - len(b'{"output":""}')) + b'"}'
    half = len(body) // 2
    worker = http.client.HTTPConnection(host, int(port), timeout=CLIENT_TIMEOUT_S)
    worker.putrequest("POST", f"/v2/local/job-done/raw/{large}")
    worker.putheader("Content-Length", str(len(body)))
    worker.endheaders(body[:half])
    assert bare.status(other)["status"] == "IN_QUEUE"
    worker.send(body[half:])
    assert worker.getresponse().status == 200
    client = http.client.HTTPConnection(host, int(port), timeout=CLIENT_TIMEOUT_S)
    client.request("GET", f"/status/{large}")
    answer = client.getresponse()
    begun = answer.read(half)
    assert bare.status(other)["status"] == "IN_QUEUE"
    assert len(json.loads(begun + answer.read())["output"]) == len(body) - len(b'{"output":""}')
    worker.close()
    client.close()


# --- lifetimes ---


def test_results_and_jobs_expire() -> None:
    with RunningEndpoint(ttl_ms=700, retention_sync_s=0.2) as endpoint:
        queued = endpoint.run(1)
        endpoint.take()
        endpoint.done(queued, {"output": 1})
        assert endpoint.status(queued)["status"] == "COMPLETED"
        unknown = problem(404, "Not Found", "job not found")
        until(lambda: endpoint.http("GET", f"/status/{queued}").json() == unknown, 2, "ttl")
        # A client that waits for a job whose time is up gets the same answer.
        answer = endpoint.http("POST", "/runsync?wait=5000", json={"input": 1})
        assert (answer.status_code, answer.json()) == (404, unknown)


def test_status_can_shorten_the_life_of_a_result(bare: RunningEndpoint) -> None:
    job_id = bare.run(1)
    bare.take()
    bare.done(job_id, {"output": 1})
    assert bare.http("GET", f"/status/{job_id}?ttl=300").json()["output"] == 1
    until(lambda: bare.http("GET", f"/status/{job_id}").status_code == 404, 2)


def test_purge_answers_those_who_wait(bare: RunningEndpoint) -> None:
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(bare.http("POST", "/runsync", json={"input": 1})))
    waiting.start()
    until(lambda: bare.health()["jobs"]["inQueue"] == 1)
    assert bare.http("POST", "/v2/local/purge-queue", json={}).json() == {"removed": 1, "status": "completed"}
    waiting.join(5)
    assert answers[0].status_code == 404


# --- the worker's side ---


def test_a_poll_is_held_and_answered_as_soon_as_a_job_comes(bare: RunningEndpoint) -> None:
    began = time.monotonic()
    assert bare.take() is None
    assert time.monotonic() - began >= 0.5
    with RunningEndpoint(poll_hold_s=LONGER_THAN_CLIENTS_WAIT_S) as endpoint, meanwhile(endpoint.run, 1):
        assert endpoint.take() is not None


def test_urls_without_a_question_mark_are_cut_at_the_ampersand(bare: RunningEndpoint) -> None:
    """So the SDK builds them when RUNPOD_WEBHOOK_GET_JOB has none, as RunPod's own test harness sets it."""
    for _ in range(3):
        bare.run(1)
    assert bare.take("w1&job_in_progress=0", query="")["id"]
    answer = bare.http("GET", "/v2/local/job-take-batch/w1&batch_size=5&job_in_progress=1")
    assert len(answer.json()) == 2
    workers = bare.http("GET", "/local/workers").json()["workers"]
    assert [(worker["name"], len(worker["jobs"])) for worker in workers] == [("w1", 3)]


def test_a_batch_size_that_is_no_number_asks_for_one(bare: RunningEndpoint) -> None:
    for size in ("", "²", "-1", "9" * 5000):
        bare.run(1)
        answer = bare.http("GET", f"/v2/local/job-take-batch/w1?batch_size={size}")
        assert len(answer.json()) == 1, size[:10]


def test_the_worker_gets_s3_config_and_the_client_never_does(bare: RunningEndpoint) -> None:
    job_id = bare.run(1, s3Config={"accessSecret": "s3cret"}, webhook="http://127.0.0.1:9/", custom=1)
    assert bare.take() == {
        "id": job_id,
        "input": 1,
        "s3Config": {"accessSecret": "s3cret"},
        "webhook": "http://127.0.0.1:9/",
    }
    bare.done(job_id, {"output": 1})
    assert "s3cret" not in bare.http("GET", f"/status/{job_id}").text


def test_a_worker_that_hangs_up_during_its_poll_gets_no_job(bare: RunningEndpoint) -> None:
    host, port = bare.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as poll:
        poll.sendall(b"GET /v2/local/job-take/dead?gpu=x HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: bare.http("GET", "/local/workers").json()["workers"])
    time.sleep(0.1)
    job_id = bare.run(1)
    assert bare.take("alive")["id"] == job_id


def test_a_result_of_the_wrong_worker_or_too_late_is_ignored(bare: RunningEndpoint) -> None:
    job_id = bare.run(1)
    bare.take("w1")
    assert bare.done(job_id, {"output": "other"}, worker="w2").status_code == 200
    assert bare.status(job_id)["status"] == "IN_PROGRESS"
    assert bare.done(job_id, b'{"output": NaN}', worker="w1").status_code == 400
    assert bare.done(job_id, {"output": "right"}, worker="w1").status_code == 200
    assert bare.done(job_id, {"status": "IN_PROGRESS", "output": 50}, worker="w1").status_code == 200
    assert bare.status(job_id)["output"] == "right"


def test_a_job_lost_twice_fails_with_runpods_text() -> None:
    with RunningEndpoint(lost_job_s=0.2) as endpoint:
        job_id = endpoint.run(1)
        for worker in ("w1", "w2"):
            until(lambda worker=worker: endpoint.take(worker))
            until(lambda: endpoint.status(job_id)["status"] != "IN_PROGRESS", what="lost: the worker never pings")
        job = endpoint.status(job_id)
    assert list(job) == ["delayTime", "error", "executionTime", "id", "retries", "status", "workerId"]
    assert (job["error"], job["status"], job["workerId"]) == ("job timed out after 1 retries", "FAILED", "w2")


def test_stop_signals_reach_the_stop_poll_at_once() -> None:
    with RunningEndpoint(poll_hold_s=LONGER_THAN_CLIENTS_WAIT_S) as endpoint:
        job_id = endpoint.run(1)
        endpoint.take("w1")
        with meanwhile(endpoint.http, "POST", f"/cancel/{job_id}"):
            answer = endpoint.http("GET", "/v2/local/job-stop/w1?gpu=x")
        assert answer.json() == {"jobsToStop": [job_id]}


def test_an_unhealthy_worker_is_counted(bare: RunningEndpoint) -> None:
    bare.http("GET", "/v2/local/ping/w1?status=unhealthy&check=_memory_check&reason=RuntimeError%3A+low")
    assert bare.health()["workers"]["unhealthy"] == 1


def test_a_long_chunk_of_text_is_split(bare: RunningEndpoint) -> None:
    job_id = bare.run(1)
    bare.take()
    text = "é" * MIB
    bare.http("POST", f"/v2/local/job-stream/raw/{job_id}", data=json.dumps({"output": text}))
    stream = bare.http("GET", f"/stream/{job_id}").json()["stream"]
    assert len(stream) > 1
    assert "".join(part["output"] for part in stream) == text
    too_long = json.dumps({"output": ["x" * MIB]})
    assert bare.http("POST", f"/v2/local/job-stream/raw/{job_id}", data=too_long).status_code == 400


def test_a_client_that_hangs_up_does_not_cancel_its_job(bare: RunningEndpoint) -> None:
    host, port = bare.url.removeprefix("http://").split(":")
    client = http.client.HTTPConnection(host, int(port))
    client.request("POST", "/runsync", body='{"input":1}')
    job = bare.take()
    client.close()
    bare.done(job["id"], {"output": 1})
    assert bare.status(job["id"])["status"] == "COMPLETED"


# --- webhooks ---


@contextmanager
def receiver(*answers: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Answers each call with the next code (0: not at all), the last one for ever; and what it was called with."""
    calls: list[dict[str, Any]] = []
    release = threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            calls.append(json.loads(body))
            code = answers[min(len(calls), len(answers)) - 1]
            if code == 0:
                release.wait(5)
                return
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", calls
    finally:
        release.set()
        server.shutdown()
        thread.join(5)
        server.server_close()


def test_webhooks_are_called_until_200_three_times_at_most(bare: RunningEndpoint) -> None:
    for answers, expected in ([200], 1), ([500, 200], 2), ([0, 200], 2), ([201, 404, 500], 3):
        with receiver(*answers) as (url, calls):
            job_id = bare.run({"n": 1}, webhook=url)
            bare.take()
            bare.done(job_id, {"output": {"ok": 1}})
            until(lambda calls=calls, expected=expected: len(calls) >= expected, 5, f"{answers}")
            time.sleep(0.3)
            assert len(calls) == expected, answers
            assert list(calls[-1]) == sorted(calls[-1])
            shown = bare.status(job_id)
            assert calls[-1] == {**shown, "input": {"n": 1}, "webhook": url}


def test_webhooks_are_called_for_failed_and_cancelled_jobs(bare: RunningEndpoint) -> None:
    with receiver(200) as (url, calls):
        failed, cancelled = bare.run(1, webhook=url), bare.run(2, webhook=url)
        bare.take()
        bare.done(failed, {"error": "bad"})
        bare.http("POST", f"/cancel/{cancelled}")
        until(lambda: len(calls) == 2)
        seen = {call["id"]: (call["status"], call.get("error"), call["input"]) for call in calls}
        assert seen == {failed: ("FAILED", "bad", 1), cancelled: ("CANCELLED", None, 2)}


def test_an_idle_connection_is_kept_for_longer_than_clients_use_one(
    idle: tuple[http.client.HTTPConnection, float],
) -> None:
    """A worker that posts its result on a connection closed a moment ago loses it, after 5 s with uvicorn's default."""
    client, since = idle
    connection = client.sock
    time.sleep(max(0.0, since + 5.5 - time.monotonic()))
    client.request("GET", "/ping")
    assert client.getresponse().status == 200
    assert client.sock is connection
