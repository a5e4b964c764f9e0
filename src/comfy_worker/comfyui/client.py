"""ComfyUI's HTTP API, over kept-alive connections. The one door to `requests` for it.

Shapes: recordings of ComfyUI 0.3.64 and 0.26.0. No exception of `requests` leaves this module: what cannot be reached
is ComfyUIUnavailable, what was refused is PromptRefused, what was not handed out is OutputUnavailable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, cast
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from comfy_worker.comfyui.prompt_errors import Choices, combo_values
from comfy_worker.errors import ComfyUIUnavailable, OutputUnavailable

CONNECT_S = 5.0
READ_S = 30.0
#: Validation loads what custom nodes load; the prompt's own time limits start later.
PROMPT_READ_S = 120.0
#: More than the files of one job that move side by side.
POOL_SIZE = 32
#: What a proxy says when ComfyUI did not answer it; ComfyUI itself never does.
GATEWAY_STATUSES = (502, 503, 504)


class PromptRefused(Exception):
    """ComfyUI answered POST /prompt with an error; `body` as in recording invalid_prompts.json."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"ComfyUI answered {status}")
        self.status = status
        self.body = body


class PromptUnanswered(Exception):
    """No answer came to POST /prompt: the prompt may be queued or not."""


class ComfyUIClient:
    """Safe to share between threads. `host` is "127.0.0.1:8188"."""

    def __init__(self, host: str, prompt_timeout_s: float = PROMPT_READ_S, timeout_s: float = READ_S) -> None:
        self.host = host
        self._timeout_s = timeout_s
        self._prompt_timeout_s = prompt_timeout_s
        self._url = f"http://{host}"
        self._session = requests.Session()
        # A proxy of the environment must not see loopback traffic.
        self._session.trust_env = False
        self._session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=POOL_SIZE))

    def close(self) -> None:
        self._session.close()

    def system_stats(self) -> dict[str, Any]:
        """{"system": {"comfyui_version", "argv", ...}, "devices": [...]}. Raises ComfyUIUnavailable."""
        return self._get("/system_stats")

    def upload(self, path: str, content: bytes, media_type: str) -> None:
        """Put one file below ComfyUI's input folder, over any of that name.

        Raises ValueError with ComfyUI's status when it refuses, ComfyUIUnavailable when it is not there.
        """
        subfolder, _, name = path.rpartition("/")
        form = {"overwrite": "true", "type": "input", **({"subfolder": subfolder} if subfolder else {})}
        with self._request("POST", "/upload/image", files={"image": (name, content, media_type)}, data=form) as answer:
            if answer.status_code != 200:
                raise ValueError(f"ComfyUI refused the upload with status {answer.status_code}")
            stored = (_parsed(answer) or {}).get("name", name)
            if stored != name:
                # A quotation mark, for one: LoadImage would not find the file.
                raise ValueError(f"ComfyUI keeps the file as '{stored}': give it a plainer name")

    def queue_prompt(
        self, prompt: Mapping[str, Any], prompt_id: str, client_id: str, extra_data: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Queue a prompt under our own id. Returns the answer; its `node_errors` name outputs that will not run.

        Raises PromptRefused, PromptUnanswered (the prompt may run all the same), ComfyUIUnavailable (it does not).
        """
        body: dict[str, Any] = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id}
        if extra_data:
            body["extra_data"] = extra_data
        try:
            answer = self._send("POST", "/prompt", self._prompt_timeout_s, json=body)
        except requests.RequestException as error:
            if _never_sent(error):
                raise ComfyUIUnavailable(self.host, [f"POST /prompt: {_cause(error)}"]) from error
            raise PromptUnanswered(_cause(error)) from error
        parsed = _parsed(answer)
        if answer.status_code in GATEWAY_STATUSES or (answer.status_code == 200 and parsed is None):
            raise PromptUnanswered(f"status {answer.status_code} without ComfyUI's answer")
        if answer.status_code != 200:
            raise PromptRefused(answer.status_code, parsed or _bare_refusal(answer))
        return parsed or {}

    def choices(self, class_types: set[str]) -> Choices:
        """The allowed values of the list inputs of these node types; what cannot be asked is left out."""
        found: dict[tuple[str, str], list[Any]] = {}
        for class_type in class_types:
            try:
                info = self._get(f"/object_info/{quote(class_type, safe='')}")
            except ComfyUIUnavailable:
                continue
            inputs = (info.get(class_type) or {}).get("input") or {}
            for section in ("required", "optional"):
                for name, config in (inputs.get(section) or {}).items():
                    found[class_type, name] = combo_values(config)
        return found

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """The history's entry of a prompt: {"outputs", "status", ...}; None as long as it has none."""
        entry = self._get(f"/history/{prompt_id}").get(prompt_id)
        return entry if isinstance(entry, dict) else None

    def queue(self) -> tuple[list[str], list[str]]:
        """-> (ids of running prompts, ids of pending ones in their order)."""
        answer = self._get("/queue")
        try:
            running, pending = answer["queue_running"], answer["queue_pending"]
            return [item[1] for item in running], [item[1] for item in sorted(pending, key=lambda item: item[0])]
        except (LookupError, TypeError) as error:
            # An empty queue would mean that the prompt is lost; this means that we do not know.
            raise ComfyUIUnavailable(self.host, ["GET /queue: not the answer of a ComfyUI"]) from error

    def discard(self, prompt_id: str) -> None:
        """See to it that a prompt does not run (on): out of the queue, and interrupted if it runs. Only this prompt."""
        self._post("/queue", {"delete": [prompt_id]})
        self._post("/interrupt", {"prompt_id": prompt_id})

    def forget(self, prompt_id: str) -> None:
        """Take a prompt out of the history."""
        self._post("/history", {"delete": [prompt_id]})

    def free_memory(self) -> None:
        """Unload all models and empty ComfyUI's caches."""
        self._post("/free", {"unload_models": True, "free_memory": True})

    @contextmanager
    def view(self, filename: str, subfolder: str, folder: str) -> Iterator[tuple[IO[bytes], int | None]]:
        """A file as (stream, size in bytes or None). Raises OutputUnavailable, ComfyUIUnavailable."""
        params = {"filename": filename, "subfolder": subfolder, "type": folder}
        # Media is packed already, and of an encoded answer the size would not be known.
        plain = {"Accept-Encoding": "identity"}
        with self._request("GET", "/view", params=params, headers=plain, stream=True) as answer:
            if answer.status_code != 200:
                raise OutputUnavailable(f"ComfyUI made '{filename}' but answers {answer.status_code} when asked for it")
            answer.raw.decode_content = True
            length = answer.headers.get("Content-Length", "")
            encoded = "Content-Encoding" in answer.headers
            yield cast(IO[bytes], answer.raw), int(length) if length.isdigit() and not encoded else None

    def _get(self, path: str) -> dict[str, Any]:
        with self._request("GET", path) as answer:
            parsed = _parsed(answer) if answer.status_code == 200 else None
            if parsed is None:
                raise ComfyUIUnavailable(self.host, [f"GET {path} answered {answer.status_code} without JSON"])
            return parsed

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        with self._request("POST", path, json=body) as answer:
            if answer.status_code != 200:
                raise ComfyUIUnavailable(self.host, [f"POST {path} answered {answer.status_code}"])

    @contextmanager
    def _request(self, method: str, path: str, **options: Any) -> Iterator[requests.Response]:
        try:
            answer = self._send(method, path, self._timeout_s, **options)
        except (requests.RequestException, UnicodeError) as error:
            raise ComfyUIUnavailable(self.host, [f"{method} {path}: {_cause(error)}"]) from error
        # Not in the try: what goes wrong while the answer is used is not about reaching ComfyUI.
        with answer:
            yield answer

    def _send(
        self, method: str, path: str, timeout_s: float, *, stream: bool = False, **options: Any
    ) -> requests.Response:
        """`Session.request` without what it merges anew each time (cookies, settings of the environment): a quarter of
        what a small request takes."""
        request = requests.Request(method, self._url + path, **options).prepare()
        return self._session.send(request, timeout=(CONNECT_S, timeout_s), stream=stream, allow_redirects=False)


def _parsed(answer: requests.Response) -> dict[str, Any] | None:
    """The JSON object of an answer; None when it is something else."""
    try:
        parsed = answer.json()
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _bare_refusal(answer: requests.Response) -> dict[str, Any]:
    """A refusal without JSON, such as the 500 for a workflow in the editor's format, in the form of one with it."""
    return {"error": {"message": f"ComfyUI answered {answer.status_code}", "details": answer.text[:200]}}


def _never_sent(error: requests.RequestException) -> bool:
    """Whether no connection came about, so that ComfyUI cannot have got the request."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError)


def _cause(error: BaseException) -> str:
    return type(error).__name__
