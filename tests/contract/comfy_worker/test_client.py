"""ComfyUI's HTTP API: against the embedded ComfyUI, against the recorded answers of two real ones, and against servers
that fail half-way."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tcp_server import PATIENCE_S, Connection, Eventually, Request, StartServer, answering, free_port

from comfy_worker.comfyui.client import ComfyUIClient, PromptRefused, PromptUnanswered
from comfy_worker.errors import ComfyUIUnavailable, OutputUnavailable, StorageFailed
from comfy_worker.storage import InlineStorage
from local_comfyui import LocalComfyUI

RECORDINGS = Path(__file__).parents[2] / "recordings"
CASES = [(version, case) for version in ("0.3.64", "0.26.0") for case in range(25)]
PROMPT_ID = "8a36b516-5d90-4cc2-9433-79d60183b88a"

Answer = Callable[[Connection, Request], None]


@pytest.fixture
def make_client() -> Iterator[Callable[..., ComfyUIClient]]:
    clients: list[ComfyUIClient] = []

    def make(host: str, **options: Any) -> ComfyUIClient:
        clients.append(ComfyUIClient(host, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


MakeClient = Callable[..., ComfyUIClient]


@pytest.fixture
def client(comfyui: LocalComfyUI, make_client: MakeClient) -> ComfyUIClient:
    return make_client(comfyui.host)


def workflow(color: int = 0, prefix: str = "made") -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def queue(client: ComfyUIClient, prompt: Mapping[str, Any] | None = None) -> str:
    prompt_id = str(uuid.uuid4())
    client.queue_prompt(workflow() if prompt is None else prompt, prompt_id, "client-1", {})
    return prompt_id


def exchanges(version: str, scenario: str) -> list[dict[str, Any]]:
    """The recorded requests and answers, in order."""
    recording = json.loads((RECORDINGS / version / f"{scenario}.json").read_text())
    return [event for event in recording["events"] if event["kind"] == "http"]


def replay(recorded: Mapping[str, Any]) -> Answer:
    """One recorded answer, whatever is asked."""
    body = json.dumps(recorded["json"]) if "json" in recorded else recorded.get("text", "")
    kind = recorded["content_type"] or None
    return lambda connection, _: connection.respond(recorded["status"], body.encode(), Content_Type=kind)


# --- the embedded ComfyUI


def test_a_prompt_from_queue_to_history_to_file(
    comfyui: LocalComfyUI, client: ComfyUIClient, eventually: Eventually
) -> None:
    prompt_id = str(uuid.uuid4())
    answer = client.queue_prompt(workflow(), prompt_id, "client-1", {"api_key_comfy_org": "k"})
    assert (answer["prompt_id"], answer["node_errors"]) == (prompt_id, {})
    assert comfyui.prompts[0] == {
        "prompt": workflow(),
        "prompt_id": prompt_id,
        "client_id": "client-1",
        "extra_data": {"api_key_comfy_org": "k"},
    }
    eventually(lambda: client.history(prompt_id))
    history = client.history(prompt_id)
    assert history is not None
    assert history["status"]["completed"] is True
    (image,) = history["outputs"]["2"]["images"]
    with client.view(image["filename"], image["subfolder"], image["type"]) as (stream, size):
        content = stream.read()
    assert content.startswith(b"\x89PNG")
    assert size == len(content)
    client.forget(prompt_id)
    assert client.history(prompt_id) is None
    assert client.queue() == ([], [])


def test_trap_03_a_prompt_is_thrown_out_by_its_id_wherever_it_is(
    comfyui: LocalComfyUI, client: ComfyUIClient, eventually: Eventually
) -> None:
    slow = {
        "1": {"class_type": "TestSleep", "inputs": {"seconds": 600, "steps": 6000}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "slow"}},
    }
    running = queue(client, slow)
    eventually(lambda: client.queue()[0] == [running])
    first, second, third = (queue(client, workflow(color)) for color in (1, 2, 3))
    assert client.queue() == ([running], [first, second, third])
    client.discard(second)
    assert client.queue() == ([running], [first, third])
    client.discard(running)
    eventually(lambda: client.history(third))
    interrupted = client.history(running)
    assert interrupted is not None
    assert interrupted["status"]["status_str"] == "error"
    assert client.history(second) is None
    assert client.history(first) is not None


@pytest.mark.parametrize(
    "path",
    [
        "a.png",
        "sub/deep/ünï cödé 日本.png",
        "emoji😀.png",
        "a&b=c+d %41.png",
        "semi;colon'.png",
        " lead.png",
        "100%.png",
    ],
)
def test_any_name_goes_up_and_comes_back(comfyui: LocalComfyUI, client: ComfyUIClient, path: str) -> None:
    client.upload(path, b"content of " + path.encode(), "image/png")
    client.upload(path, b"another content", "image/png")
    subfolder, _, name = path.rpartition("/")
    with client.view(name, subfolder, "input") as (stream, size):
        assert (stream.read(), size) == (b"another content", 15)
    assert (comfyui.folders.input / path).read_bytes() == b"another content"


def test_a_name_that_comfyui_does_not_keep_is_told(client: ComfyUIClient) -> None:
    with pytest.raises(ValueError, match=r"ComfyUI keeps the file as 'a%22b\.png': give it a plainer name"):
        client.upload('a"b.png', b"x", "image/png")


def test_uploads_side_by_side(comfyui: LocalComfyUI, client: ComfyUIClient) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: client.upload(f"{n}.bin", bytes([n]) * 100_000, "application/x"), range(24)))
    for number in range(24):
        assert (comfyui.folders.input / f"{number}.bin").read_bytes() == bytes([number]) * 100_000


def test_a_refused_upload(comfyui: LocalComfyUI, client: ComfyUIClient) -> None:
    with pytest.raises(ValueError, match="ComfyUI refused the upload with status 400"):
        client.upload("../../escape.png", b"x", "image/png")
    comfyui.faults.fail_upload(413)
    with pytest.raises(ValueError, match="status 413"):
        client.upload("a.png", b"x", "image/png")


def test_a_file_that_is_not_there(client: ComfyUIClient) -> None:
    text = "ComfyUI made 'gone.png' but answers 404 when asked for it"
    with pytest.raises(OutputUnavailable, match=text), client.view("gone.png", "", "output"):
        raise AssertionError("there is nothing to read")


def test_a_file_that_breaks_off_is_not_delivered(comfyui: LocalComfyUI, client: ComfyUIClient) -> None:
    client.upload("big.bin", bytes(3_000_000), "application/x")
    comfyui.faults.truncate_view()
    with client.view("big.bin", "", "input") as (stream, size), pytest.raises(OutputUnavailable, match=r"'big\.bin'"):
        InlineStorage().store("job/big.bin", "application/x", stream, size)
    with client.view("big.bin", "", "input") as (stream, size):
        assert InlineStorage().store("job/big.bin", "application/x", stream, size).size == 3_000_000


def test_choices_of_list_inputs(client: ComfyUIClient) -> None:
    choices = client.choices({"ImageScale", "NoSuchNode", "odd/na me?"})
    assert "bilinear" in choices["ImageScale", "upscale_method"]
    assert choices["ImageScale", "width"] == []
    assert {class_type for class_type, _ in choices} == {"ImageScale"}


def test_the_other_routes(comfyui: LocalComfyUI, client: ComfyUIClient) -> None:
    assert "comfyui_version" in client.system_stats()["system"]
    client.free_memory()
    assert comfyui.free_calls == [{"unload_models": True, "free_memory": True}]


def test_a_comfyui_that_died_and_came_back(comfyui: LocalComfyUI, client: ComfyUIClient) -> None:
    client.system_stats()
    comfyui.faults.die()
    with pytest.raises(ComfyUIUnavailable):
        client.queue()
    comfyui.faults.restart_empty()
    assert client.queue() == ([], [])


# --- the recorded answers of real ones


@pytest.mark.parametrize(("version", "case"), CASES)
def test_every_recorded_refusal_is_handed_on_whole(
    start_server: StartServer, make_client: MakeClient, version: str, case: int
) -> None:
    recorded = exchanges(version, "invalid_prompts")[case]["response"]
    client = make_client(start_server(answering(replay(recorded))).host)
    if recorded["status"] == 200:
        assert client.queue_prompt({}, PROMPT_ID, "client-1", {}) == recorded["json"]
        return
    with pytest.raises(PromptRefused) as caught:
        client.queue_prompt({}, PROMPT_ID, "client-1", {})
    assert caught.value.status == recorded["status"]
    if "json" in recorded:
        assert caught.value.body == recorded["json"]
    else:
        # A workflow in the editor's format.
        assert caught.value.body["error"]["message"] == f"ComfyUI answered {recorded['status']}"


@pytest.mark.parametrize("version", ["0.3.64", "0.26.0"])
def test_trap_08_a_prompt_taken_in_parts_says_which(
    start_server: StartServer, make_client: MakeClient, version: str
) -> None:
    recorded = next(e for e in exchanges(version, "partly_valid_prompt") if e["request"]["method"] == "POST")[
        "response"
    ]
    client = make_client(start_server(answering(replay(recorded))).host)
    assert client.queue_prompt({}, PROMPT_ID, "client-1", {})["node_errors"] == recorded["json"]["node_errors"] != {}


@pytest.mark.parametrize("version", ["0.3.64", "0.26.0"])
def test_recorded_queue_and_history(start_server: StartServer, make_client: MakeClient, version: str) -> None:
    recorded = exchanges(version, "deleted_while_queued")
    ids = [e["response"]["json"]["prompt_id"] for e in recorded if e["request"]["path"] == "/prompt"]
    queues = [e["response"] for e in recorded if e["request"]["path"] == "/queue" and e["request"]["method"] == "GET"]
    for response in queues:
        running, pending = make_client(start_server(answering(replay(response))).host).queue()
        assert set(running + pending) <= set(ids)
        assert len(running + pending) == sum(map(len, response["json"].values()))
    done = exchanges(version, "view_routes")
    response = next(e["response"] for e in done if e["request"]["path"].startswith("/history/"))
    (prompt_id,) = response["json"]
    client = make_client(start_server(answering(replay(response))).host)
    assert client.history(prompt_id) == response["json"][prompt_id]
    assert client.history("another") is None


def test_the_queue_is_told_in_the_order_in_which_it_runs(start_server: StartServer, make_client: MakeClient) -> None:
    # ComfyUI hands out its heap as it lies.
    pending = [[3, "c"], [-1, "front"], [10, "d"], [2, "b"]]
    body = {"queue_running": [[1, "a", {}, {}, []]], "queue_pending": pending}
    client = make_client(start_server(answering(lambda connection, _: connection.respond(200, body))).host)
    assert client.queue() == (["a"], ["front", "b", "c", "d"])


# --- on the wire


def test_one_connection_serves_all_requests(start_server: StartServer, make_client: MakeClient) -> None:
    asked: list[Request] = []

    def answer(connection: Connection, request: Request) -> None:
        asked.append(request)
        if request.path == "/queue" and request.method == "GET":
            connection.respond(200, {"queue_running": [], "queue_pending": []})
        elif request.path == "/upload/image":
            connection.respond(200, {"name": "a.png", "subfolder": "", "type": "input"})
        elif request.path.startswith("/view"):
            connection.respond(200, b"content")
        else:
            connection.respond(200, {} if request.method == "GET" or request.path == "/prompt" else b"")

    server = start_server(answering(answer))
    client = make_client(server.host)
    for _ in range(3):
        client.system_stats()
        client.upload("a.png", b"x", "image/png")
        client.queue_prompt({}, PROMPT_ID, "client-1", {})
        client.queue()
        client.history(PROMPT_ID)
        with client.view("a.png", "", "output") as (stream, _):
            assert stream.read() == b"content"
        client.discard(PROMPT_ID)
        client.forget(PROMPT_ID)
        client.free_memory()
    assert server.connections == 1
    assert json.loads(asked[6].body) == {"delete": [PROMPT_ID]}
    assert (asked[7].path, json.loads(asked[7].body)) == ("/interrupt", {"prompt_id": PROMPT_ID})


def test_a_connection_that_the_server_dropped_is_replaced(start_server: StartServer, make_client: MakeClient) -> None:
    dropped = threading.Semaphore(0)

    def serve(connection: Connection, _: int) -> None:
        connection.request()
        connection.respond(200, {"queue_running": [], "queue_pending": []})
        connection.close()
        dropped.release()

    server = start_server(serve)
    client = make_client(server.host)
    for _ in range(3):
        assert client.queue() == ([], [])
        assert dropped.acquire(timeout=PATIENCE_S)
    assert server.connections == 3


def test_no_proxy_of_the_environment(
    start_server: StartServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = start_server(lambda connection, _: None)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    client = make_client(start_server(answering(lambda connection, _: connection.respond(200, {}))).host)
    client.system_stats()
    assert proxy.connections == 0


# --- POST /prompt without a plain answer

UNANSWERED: dict[str, Answer] = {
    "reset": lambda connection, _: connection.reset(),
    "reset while answering": lambda connection, _: (
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"),
        connection.reset(),
    )[-1],
    "closed": lambda connection, _: connection.close(),
    "answer cut": lambda connection, _: (
        connection.respond(200, b'{"prompt_id": "8a3', Content_Length=90),
        connection.close(),
    )[-1],
    "no HTTP": lambda connection, _: (connection.send(b"garbage\r\n\r\n"), connection.close())[-1],
    "no JSON": lambda connection, _: connection.respond(200, b"<html>hello</html>"),
    "502 of a proxy": lambda connection, _: connection.respond(502, b"<html>bad gateway</html>"),
    "504 of a proxy": lambda connection, _: connection.respond(504),
    "nothing": lambda connection, _: connection.wait_closed(),
}


@pytest.mark.parametrize("answer", [pytest.param(answer, id=name) for name, answer in UNANSWERED.items()])
def test_trap_03_without_an_answer_the_prompt_may_run_all_the_same(
    start_server: StartServer, make_client: MakeClient, request: pytest.FixtureRequest, answer: Answer
) -> None:
    patience = 0.3 if "nothing" in request.node.callspec.id else PATIENCE_S
    client = make_client(start_server(answering(answer)).host, prompt_timeout_s=patience)
    with pytest.raises(PromptUnanswered) as caught:
        client.queue_prompt(workflow(), PROMPT_ID, "client-1", {})
    # It goes to the caller, who has no use for addresses of objects.
    assert "0x" not in str(caught.value)


def test_trap_03_a_slow_post_prompt_leaves_a_prompt_that_is_known_by_our_id(
    comfyui: LocalComfyUI, make_client: MakeClient, eventually: Eventually
) -> None:
    comfyui.faults.slow_prompt(2.0)
    client = make_client(comfyui.host, prompt_timeout_s=0.2)
    with pytest.raises(PromptUnanswered):
        client.queue_prompt(workflow(), PROMPT_ID, "client-1", {})
    eventually(lambda: client.history(PROMPT_ID))


def test_a_refused_connection_is_no_unanswered_prompt(make_client: MakeClient) -> None:
    port = free_port()
    with pytest.raises(ComfyUIUnavailable) as caught:
        make_client(f"127.0.0.1:{port}").queue_prompt(workflow(), PROMPT_ID, "client-1", {})
    assert str(caught.value) == f"ComfyUI server (127.0.0.1:{port}) not reachable after multiple retries"
    assert caught.value.details == ["POST /prompt: ConnectionError"]


# --- other requests that fail

BROKEN: dict[str, Answer] = {
    "500": lambda connection, _: connection.respond(500, b"Internal Server Error"),
    "503 with JSON": lambda connection, _: connection.respond(503, {"queue_running": [], "queue_pending": []}),
    "404": lambda connection, _: connection.respond(404, {"error": "not found"}),
    "login page": lambda connection, _: connection.respond(200, b"<html>log in</html>"),
    "no object": lambda connection, _: connection.respond(200, b"[]"),
    "cut": lambda connection, _: (connection.respond(200, b'{"a', Content_Length=50), connection.close())[-1],
    "reset": lambda connection, _: connection.reset(),
    "closed": lambda connection, _: connection.close(),
}


@pytest.mark.parametrize("answer", [pytest.param(answer, id=name) for name, answer in BROKEN.items()])
def test_no_answer_is_not_taken_for_an_empty_one(
    start_server: StartServer, make_client: MakeClient, answer: Answer
) -> None:
    client = make_client(start_server(answering(answer)).host)
    for ask in (client.queue, client.system_stats, lambda: client.history(PROMPT_ID)):
        with pytest.raises(ComfyUIUnavailable) as caught:
            ask()
        assert caught.value.details[0].startswith("GET /")
    # What cannot be asked is left out.
    assert client.choices({"KSampler"}) == {}


@pytest.mark.parametrize(
    "body",
    [{}, {"error": "no"}, {"queue_running": [], "queue_pending": None}, {"queue_running": [1], "queue_pending": []},
     {"queue_running": [], "queue_pending": [[1]]}],
)  # fmt: skip
def test_a_queue_of_another_shape_is_not_an_empty_one(
    start_server: StartServer, make_client: MakeClient, body: dict[str, Any]
) -> None:
    client = make_client(start_server(answering(lambda connection, _: connection.respond(200, body))).host)
    with pytest.raises(ComfyUIUnavailable):
        client.queue()


@pytest.mark.parametrize("name", ["500", "reset", "closed", "404"])
def test_a_post_that_fails_is_told(start_server: StartServer, make_client: MakeClient, name: str) -> None:
    client = make_client(start_server(answering(BROKEN[name])).host)
    posts: list[Callable[[], None]] = [
        lambda: client.discard(PROMPT_ID),
        lambda: client.forget(PROMPT_ID),
        client.free_memory,
    ]
    for post in posts:
        with pytest.raises(ComfyUIUnavailable) as caught:
            post()
        assert caught.value.details[0].startswith("POST /")


@pytest.mark.parametrize("name", ["reset", "closed"])
def test_an_upload_that_fails_half_way(start_server: StartServer, make_client: MakeClient, name: str) -> None:
    client = make_client(start_server(answering(BROKEN[name])).host)
    with pytest.raises(ComfyUIUnavailable) as caught:
        client.upload("a.png", bytes(1_000_000), "image/png")
    assert caught.value.details[0].startswith("POST /upload/image: ")


def test_odd_declarations_of_custom_nodes_are_no_error(start_server: StartServer, make_client: MakeClient) -> None:
    odd = {"Odd": {"input": {"required": None, "optional": {"a": None, "b": [["x", "y"]], "c": ["COMBO"]}}}}
    client = make_client(start_server(answering(lambda connection, _: connection.respond(200, odd))).host)
    assert client.choices({"Odd"}) == {("Odd", "a"): [], ("Odd", "b"): ["x", "y"], ("Odd", "c"): []}
    empty = make_client(start_server(answering(lambda connection, _: connection.respond(200, {"Odd": None}))).host)
    assert empty.choices({"Odd"}) == {}


# --- reading outputs


def test_an_output_is_asked_for_unpacked_and_with_its_whole_name(
    start_server: StartServer, make_client: MakeClient
) -> None:
    asked: list[Request] = []

    def answer(connection: Connection, request: Request) -> None:
        asked.append(request)
        connection.respond(200, b"content")

    client = make_client(start_server(answering(answer)).host)
    with client.view("ünï &1.png", "sub/ordner ä", "temp") as (stream, size):
        assert (stream.read(), size) == (b"content", 7)
    expected = "/view?filename=%C3%BCn%C3%AF+%261.png&subfolder=sub%2Fordner+%C3%A4&type=temp"
    assert (asked[0].path, asked[0].headers["accept-encoding"]) == (expected, "identity")


def test_an_output_of_unknown_size(start_server: StartServer, make_client: MakeClient) -> None:
    def answer(connection: Connection, request: Request) -> None:
        connection.respond(200, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked")

    client = make_client(start_server(answering(answer)).host)
    with client.view("a.png", "", "output") as (stream, size):
        assert size is None
        assert InlineStorage().store("job/a.png", "image/png", stream, size).data == "YWJjZGU="


@pytest.mark.parametrize(
    "script",
    [
        lambda connection: connection.respond(200, b"x" * 5000, Content_Length=9000) or connection.close(),
        lambda connection: connection.respond(200, b"x" * 5000, Content_Length=9000) or connection.reset(),
        lambda connection: (
            connection.respond(200, b"5\r\nab", Content_Length=None, Transfer_Encoding="chunked", Connection="close")
            or connection.close()
        ),
    ],
    ids=["cut", "reset", "cut chunk"],
)
def test_an_output_that_breaks_off(
    start_server: StartServer, make_client: MakeClient, script: Callable[[Connection], None]
) -> None:
    client = make_client(start_server(answering(lambda connection, _: script(connection))).host)
    with pytest.raises(OutputUnavailable), client.view("a.png", "", "output") as (stream, size):
        InlineStorage().store("job/a.png", "image/png", stream, size)


def test_what_goes_wrong_with_the_reader_is_not_put_on_comfyui(
    start_server: StartServer, make_client: MakeClient
) -> None:
    client = make_client(start_server(answering(lambda connection, _: connection.respond(200, b"content"))).host)
    for error in (StorageFailed("the bucket is full"), UnicodeError("a name"), OSError("the disk")):
        with pytest.raises(type(error)) as caught, client.view("a.png", "", "output"):
            raise error
        assert caught.value is error


def test_a_reader_that_stops_early_does_not_spoil_the_next_answer(
    start_server: StartServer, make_client: MakeClient
) -> None:
    server = start_server(answering(lambda connection, _: connection.respond(200, bytes(range(256)) * 40_000)))
    client = make_client(server.host)
    for _ in range(3):
        with client.view("a.png", "", "output") as (stream, _):
            assert stream.read(5) == b"\x00\x01\x02\x03\x04"
