"""One job in, one response out. `Worker._work` is the whole way of a job; each of its steps lives in its own module."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from comfy_worker import inputs, response, submission, workflow
from comfy_worker.attempt import Attempt
from comfy_worker.bucket import Bucket
from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.comfyui.folders import Folders
from comfy_worker.comfyui.listener import Listener
from comfy_worker.comfyui.process import ComfyUIServer
from comfy_worker.conclusion import raise_unless_succeeded, undelivered
from comfy_worker.config import Settings, bucket_for_job
from comfy_worker.delivery import Delivery, OutputSource
from comfy_worker.download import download
from comfy_worker.errors import ComfyUIUnavailable, InvalidInput, WorkerError, WorkflowInvalid
from comfy_worker.execution import Execution
from comfy_worker.forgetting import Forgetting
from comfy_worker.job import Job, parse_job
from comfy_worker.logs import JobLog
from comfy_worker.outputs import OutputFile
from comfy_worker.recovery import Recovery
from comfy_worker.staging import Places, Staging, placed
from comfy_worker.storage import Storages
from comfy_worker.tracking import Tracker, raise_if_cancelled

#: Files of all jobs that move side by side, to and from ComfyUI.
TRANSFERS = 16
#: Input files of all jobs that are fetched and decoded side by side. Apart from the others: a fetch may take minutes.
INPUTS = 8
#: File systems keep times no finer than this.
CLOCK_GRAIN_S = 2.0
#: How often one job waits for a new ComfyUI; each of the deaths has cost another job.
MOST_DEATHS = 3
DYING_S = 2.0


class Worker:
    """Runs jobs, several side by side if asked to. `close` when done."""

    def __init__(
        self,
        settings: Settings,
        server: ComfyUIServer,
        client: ComfyUIClient,
        folders: Folders | None,
        on_prepared: Callable[[float], None] = lambda seconds: None,
        on_run: Callable[[str, float], None] = lambda job_id, seconds: None,
        explain_missing: submission.ExplainMissing = lambda models: [],
    ) -> None:
        """`folders` of the ComfyUI behind `client`, when they are on this machine: without them files go through HTTP
        and cannot be cleaned up, since ComfyUI's API deletes none. `on_prepared` is told how long each job took to get
        into ComfyUI's queue, `on_run` which job's prompt ran for how long. `explain_missing` says where
        models that ComfyUI does not have ought to be."""
        self._settings = settings
        self._server = server
        self._client = client
        self._folders = folders
        self._on_prepared = on_prepared
        self._on_run = on_run
        self._explain_missing = explain_missing
        self._transfers = ThreadPoolExecutor(TRANSFERS, "transfer")
        self._decoding = ThreadPoolExecutor(INPUTS, "input")
        self._forgetting = Forgetting(client, self._remove_output_folder)
        self._staging = Staging(self._client, self._folders, self._transfers)
        self._source = OutputSource(self._client, self._folders)
        self._storages = Storages(settings.bucket)
        self._fetch = partial(download, most_bytes=inputs.LARGEST, allow_private=settings.input_url_allow_private)
        #: Prompts that have a job behind them; what else runs is nobody's (of this worker).
        self._followed: set[str] = set()
        self._recovery = Recovery(client, server, self._followed)
        #: Node types seen to write files under names that are not the job's own.
        self._writers: set[str] = set()

    def close(self) -> None:
        self._decoding.shutdown()
        self._transfers.shutdown()
        self._forgetting.close()
        self._client.close()

    def run(
        self,
        raw: Any,
        stop: threading.Event | None = None,
        on_progress: Callable[[dict[str, Any]], None] = lambda progress: None,
    ) -> dict[str, Any]:
        """RunPod's job dict -> the response body, whatever happens. Setting `stop` cancels the job."""
        started = time.monotonic()
        attempt = Attempt(raw, stop or threading.Event(), on_progress)
        give_back = self._settings.refresh_worker
        try:
            self._work(attempt)
            body = response.success(attempt.delivered, attempt.warnings)
        except WorkerError as error:
            give_back |= not self._recovery.from_failure(error)
            body = response.failure(error, attempt.delivered, attempt.warnings)
        except Exception as error:
            # The last wall: the SDK would send traceback, host name and worker id to the caller.
            attempt.log.exception("failed unexpectedly")
            text = f"The worker failed unexpectedly ({type(error).__name__}); the details are in its log"
            body = response.failure(WorkerError(text), attempt.delivered, attempt.warnings)
        body = response.within_limit(body, response.limit_for(attempt.job_id))
        if give_back:
            body["refresh_worker"] = True
        outcome = f"failed: {body['error']}" if "error" in body else "completed"
        attempt.log.info("%s in %.2f s", outcome, time.monotonic() - started)
        return body

    def _work(self, attempt: Attempt) -> None:
        """The way of a job. Raises WorkerError; what was delivered before is in `attempt`."""
        job = parse_job(attempt.raw)
        attempt.warn(job.warnings)
        storage = self._storages.for_bucket(self._own_bucket(job))
        with attempt.log.step("accepted %d nodes and %d input files", len(job.workflow), len(job.images)):
            workflow.check(job.workflow)
        # They are being decoded from here on, and uploaded one by one as they are.
        fetch = partial(self._fetch, stopped=attempt.stop.is_set)
        decoded = inputs.decode_each(job.images, fetch, self._decoding.map)
        places = Places.of(job)
        with attempt.pause():
            self._server.wait_ready(attempt.stop.wait)
            self._staging.claim(places, attempt.stop)
        limit = response.limit_for(job.id)
        delivery = Delivery(attempt.prompt_id, job, self._source, storage, limit, self._transfers)
        started = time.time() - CLOCK_GRAIN_S
        staged: dict[str, str] = {}
        try:
            with attempt.log.step("uploaded the input files"):
                self._staging.upload((placed(file, job) for file in decoded), staged)
            self._execute(attempt, job, staged, delivery)
            delivery.finish()
        finally:
            try:
                with attempt.log.step("delivered what was left of %d files", len(delivery.files)):
                    attempt.delivered, failures = delivery.collect()
            finally:
                self._learn_writers(job, delivery.files, attempt.prompt_id)
                self._staging.release(staged.values(), places)
                self._clean_up(attempt.prompt_id, delivery.files, started)
        if failures:
            raise undelivered(failures, limit)

    def _execute(self, attempt: Attempt, job: Job, staged: Mapping[str, str], delivery: Delivery) -> None:
        """A prompt that had not begun when ComfyUI died did not kill it: it is queued again once there is a new one."""
        for _ in range(MOST_DEATHS):
            generation = self._server.generation
            try:
                return self._run(attempt, job, staged, delivery)
            except ComfyUIUnavailable:
                # Its connections are gone a moment before the process is.
                if attempt.had_begun or not self._server.how_it_died(generation, DYING_S):
                    raise
            attempt.log.warning("ComfyUI died before the prompt began; waiting for the next one")
            self._server.wait_ready(attempt.stop.wait)
            attempt.begin_again()
        return self._run(attempt, job, staged, delivery)

    def _run(self, attempt: Attempt, job: Job, staged: Mapping[str, str], delivery: Delivery) -> None:
        """Queue the workflow and follow it to a success. Whatever else happens, it does not go on running."""
        settings, prompt_id = self._settings, attempt.prompt_id
        if self._folders:
            self._folders.make_output_folder(prompt_id)
        prompt = workflow.prepare(job.workflow, prompt_id, staged, self._writers)
        execution = Execution(prompt_id, workflow.nodes_of_type(job.workflow, "SaveImageWebsocket"))
        listener = Listener(
            settings.comfy_host, uuid.uuid4().hex, settings.reconnect_attempts, settings.reconnect_delay_s,
            attempt.stop.wait,
        )  # fmt: skip
        tracker = Tracker(self._client, self._server, listener, attempt.stop, attempt.log, self._followed)
        limits = [limit for limit in (settings.execution_timeout_s, job.timeout_s) if limit]
        self._followed.add(prompt_id)
        try:
            raise_if_cancelled(attempt.stop)
            with attempt.log.step("queued"):
                _open(listener, execution, attempt.log)
                refused = submission.submit(
                    self._client, prompt, prompt_id, listener.client_id, self._extra_data(job), self._explain_missing
                )
            attempt.warn(refused)
            self._on_prepared(attempt.preparing_s)
            tracker.follow(
                execution, job.workflow, delivery.take, attempt.on_progress,
                limit_s=min(limits, default=None), stall_s=settings.stall_timeout_s,
            )  # fmt: skip
            attempt.log.info("%s after %.2f s", execution.state.value, tracker.ran_s)
            self._on_run(attempt.job_id, tracker.ran_s)
            raise_unless_succeeded(execution, job.workflow)
        except WorkflowInvalid:
            raise  # Nothing was queued.
        except BaseException:
            for output in tracker.stop(execution):
                delivery.take(output)
            raise
        finally:
            attempt.had_begun = tracker.began
            self._followed.discard(prompt_id)
            listener.close()

    def _extra_data(self, job: Job) -> dict[str, Any]:
        key = job.comfy_org_api_key or self._settings.comfy_org_api_key
        return {"api_key_comfy_org": key} if key else {}

    def _own_bucket(self, job: Job) -> Bucket | None:
        try:
            return bucket_for_job(job.bucket, self._settings) if job.bucket else None
        except ValueError as error:
            raise InvalidInput(f"s3Config.endpointUrl cannot be used: {error}") from error

    def _learn_writers(self, job: Job, made: Sequence[OutputFile], prompt_id: str) -> None:
        for file in made:
            node = job.workflow.get(file.node_id)
            if node and not (file.subfolder + "/").startswith(prompt_id + "/"):
                self._writers.add(node["class_type"])

    def _clean_up(self, prompt_id: str, made: Sequence[OutputFile], newer_than: float) -> None:
        """Nothing of the job stays behind: no output and no history for the next client's workflow to read."""
        self._remove_output_folder(prompt_id)
        for file in made:
            if self._folders and file.folder in ("output", "temp"):
                self._folders.remove(file.folder, file.subfolder, file.filename, newer_than)
        self._forgetting.add(prompt_id)

    def _remove_output_folder(self, prompt_id: str) -> None:
        if self._folders:
            self._folders.remove_output_folder(prompt_id)


def _open(listener: Listener, execution: Execution, log: JobLog) -> None:
    """The socket is only an accelerator: without it the prompt is followed by looking, while the socket is retried."""
    try:
        listener.open()
    except ComfyUIUnavailable as error:
        log.warning("no websocket yet (%s); asking the history meanwhile", "; ".join(error.details))
        execution.connection_lost()
