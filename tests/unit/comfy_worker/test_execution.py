"""The state of one prompt: the table walked, every recording replayed, and the rule that success is never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from worker_recordings import DROPS, Recording, heard, load, load_all

from comfy_worker.comfyui import events
from comfy_worker.execution import (
    LOST_AFTER_LOOKS,
    LOST_AFTER_LOOKS_AT_END,
    TRANSITIONS,
    Execution,
    NodeOutput,
    PictureOutput,
    State,
)

P = "4be0643f-1d98-573b-97cd-ca98a65347dd"
OUTPUT = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}
ENDS = (State.SUCCEEDED, State.FAILED, State.INTERRUPTED, State.LOST)

#: One event of each type, for our prompt where it names one.
EVENTS: dict[type[Any], events.Event] = {
    events.Started: events.Started(P),
    events.Cached: events.Cached(P, ("1",)),
    events.Executing: events.Executing(P, "2"),
    events.Progress: events.Progress(P, "2", 1, 20),
    events.ProgressState: events.ProgressState(P, (), 0),
    events.Executed: events.Executed(P, "9", OUTPUT),
    events.Succeeded: events.Succeeded(P),
    events.Failed: events.Failed(P, "3", "KSampler", "boom", "ValueError"),
    events.Interrupted: events.Interrupted(P, "3", "KSampler"),
    events.Picture: events.Picture("image/png", b"png", P, "8"),
    events.Status: events.Status(1),
    events.Unknown: events.Unknown("crystools.monitor"),
}
SUCCESS = {"outputs": {"9": OUTPUT}, "status": {"status_str": "success", "completed": True, "messages": []}}


def failure(kind: str, **data: Any) -> dict[str, Any]:
    return {
        "outputs": {},
        "status": {"status_str": "error", "completed": False, "messages": [[kind, {"prompt_id": P, **data}]]},
    }


def in_state(state: State) -> Execution:
    """An execution brought there by events, or by looks for LOST."""
    execution = Execution(P)
    if state is State.LOST:
        execution.connection_lost()
        for _ in range(LOST_AFTER_LOOKS):
            execution.reconcile(None, queued=False)
    elif state is not State.QUEUED:
        ways = {State.RUNNING: events.Started, State.SUCCEEDED: events.Succeeded}
        ways |= {State.FAILED: events.Failed, State.INTERRUPTED: events.Interrupted}
        execution.receive(EVENTS[ways[state]])
    assert execution.state is state
    return execution


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", State)
def test_the_table_of_transitions(state: State, event: events.Event) -> None:
    execution = in_state(state)
    execution.receive(event)
    assert execution.state is TRANSITIONS[state].get(type(event), state)


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", State)
def test_another_prompts_events_change_nothing(state: State, event: events.Event) -> None:
    execution = in_state(state)
    before = vars(execution).copy()
    other = event.__class__(**{**vars(event), "prompt_id": "another"}) if hasattr(event, "prompt_id") else event
    assert execution.receive(other) is None
    assert vars(execution) == before


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", ENDS)
def test_after_the_end_our_own_events_change_nothing(state: State, event: events.Event) -> None:
    execution = in_state(state)
    before = vars(execution).copy()
    assert execution.receive(event) is None
    assert vars(execution) == before


def test_the_table_is_complete() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {state for state in State if not TRANSITIONS[state]} == set(ENDS)
    assert set(EVENTS) == set(events.Event.__args__)


@pytest.mark.parametrize("state", State)
def test_ended(state: State) -> None:
    assert in_state(state).ended is (state in ENDS)


def test_an_unbroken_success_needs_no_history() -> None:
    execution = Execution(P)
    assert execution.receive(EVENTS[events.Executed]) == NodeOutput("9", OUTPUT)
    assert not execution.settled
    execution.receive(EVENTS[events.Succeeded])
    assert execution.settled
    assert not execution.wants_look


def test_trap_01_after_a_gap_an_end_counts_only_with_the_history() -> None:
    execution = Execution(P)
    execution.receive(EVENTS[events.Started])
    execution.connection_lost()
    assert not execution.wants_look
    execution.receive(EVENTS[events.Succeeded])
    assert (execution.state, execution.settled, execution.wants_look) == (State.SUCCEEDED, False, True)
    assert execution.reconcile(None, queued=True) == []
    assert not execution.settled
    assert execution.reconcile(SUCCESS, queued=False) == [NodeOutput("9", OUTPUT)]
    assert (execution.state, execution.settled, execution.wants_look) == (State.SUCCEEDED, True, False)


def test_trap_01_a_prompt_that_ended_in_the_gap_is_found_in_the_history() -> None:
    execution = Execution(P)
    execution.connection_lost()
    assert execution.reconcile(SUCCESS, queued=False) == [NodeOutput("9", OUTPUT)]
    assert (execution.state, execution.settled) == (State.SUCCEEDED, True)


def test_trap_01_success_that_the_history_never_confirms_is_lost() -> None:
    execution = Execution(P)
    execution.connection_lost()
    execution.receive(EVENTS[events.Succeeded])
    for _ in range(LOST_AFTER_LOOKS_AT_END):
        assert not execution.settled
        execution.reconcile(None, queued=False)
    assert (execution.state, execution.settled) == (State.LOST, True)


def test_trap_01_a_server_that_never_says_success_is_asked_when_the_run_is_over() -> None:
    execution = Execution(P)
    execution.receive(events.Executing(P, None))
    assert (execution.state, execution.wants_look) == (State.RUNNING, True)
    execution.reconcile(SUCCESS, queued=False)
    assert execution.settled


def test_a_drop_after_an_unbroken_end_changes_nothing() -> None:
    execution = in_state(State.SUCCEEDED)
    execution.connection_lost()
    assert execution.settled
    assert execution.lost_pictures == []


@pytest.mark.parametrize("state", [State.FAILED, State.INTERRUPTED])
def test_an_end_that_was_told_stays_when_the_history_is_gone(state: State) -> None:
    execution = Execution(P)
    execution.connection_lost()
    execution.receive(EVENTS[events.Failed if state is State.FAILED else events.Interrupted])
    for _ in range(LOST_AFTER_LOOKS_AT_END):
        execution.reconcile(None, queued=False)
    assert (execution.state, execution.settled) == (state, True)


def test_a_look_that_finds_it_queued_starts_the_count_anew() -> None:
    execution = Execution(P)
    execution.connection_lost()
    for _ in range(5):
        execution.reconcile(None, queued=False)
        execution.reconcile(None, queued=True)
    assert execution.state is State.QUEUED
    execution.reconcile(None, queued=False)
    execution.reconcile(None, queued=False)
    assert execution.state is State.LOST


@pytest.mark.parametrize(
    ("history", "state"),
    [
        (SUCCESS, State.SUCCEEDED),
        (failure("execution_error", node_id="3"), State.FAILED),
        (failure("execution_interrupted", node_id="3"), State.INTERRUPTED),
        (failure("execution_start"), State.FAILED),
        ({"status": {"status_str": "success"}}, State.SUCCEEDED),
        ({"status": {"status_str": "error"}}, State.FAILED),
        ({"status": None, "outputs": None}, State.FAILED),
        ({"status": "success", "outputs": []}, State.FAILED),
        ({}, State.FAILED),
        ({"status": {"status_str": "success", "messages": 7}}, State.SUCCEEDED),
        ({"status": {"status_str": "success", "messages": [7, [], ["a"], [[], {}], ["b", None]]}}, State.SUCCEEDED),
        ({"status": {"messages": [["execution_error", {}]]}}, State.FAILED),
    ],
)
@pytest.mark.parametrize("before", [None, events.Succeeded])
def test_what_the_history_says(history: Mapping[str, Any], state: State, before: type[Any] | None) -> None:
    execution = Execution(P)
    execution.connection_lost()
    if before:
        execution.receive(EVENTS[before])
    execution.reconcile(history, queued=False)
    assert (execution.state, execution.settled) == (state, True)


def test_the_history_names_the_node_that_failed() -> None:
    execution = Execution(P)
    execution.reconcile(
        failure("execution_error", node_id="31", node_type="KSampler", exception_message="boom\n", exception_type="E"),
        queued=False,
    )
    assert execution.failure == events.Failed(P, "31", "KSampler", "boom", "E")
    execution = Execution(P)
    execution.reconcile(failure("execution_interrupted", node_id="31", node_type="KSampler"), queued=False)
    assert execution.interruption == events.Interrupted(P, "31", "KSampler")


def test_trap_07_an_error_after_a_first_output_is_an_error() -> None:
    execution = Execution(P)
    assert execution.receive(EVENTS[events.Executed]) is not None
    execution.receive(EVENTS[events.Failed])
    assert (execution.state, execution.settled, execution.failure) == (State.FAILED, True, EVENTS[events.Failed])


def test_trap_07_an_interrupt_after_a_first_output_is_an_interrupt() -> None:
    execution = Execution(P)
    assert execution.receive(EVENTS[events.Executed]) is not None
    execution.receive(EVENTS[events.Interrupted])
    assert (execution.state, execution.settled) == (State.INTERRUPTED, True)
    assert execution.interruption == EVENTS[events.Interrupted]


def test_it_knows_where_it_is() -> None:
    execution = Execution(P)
    execution.receive(EVENTS[events.Cached])
    execution.receive(events.Executing(P, "2"))
    execution.receive(events.Progress(P, "2", 5, 20))
    assert (execution.cached, execution.node_id, execution.progress) == ({"1"}, "2", events.Progress(P, "2", 5, 20))
    execution.receive(events.Executing(P, "3"))
    assert (execution.node_id, execution.progress, execution.ran) == ("3", None, {"2"})
    execution.receive(events.Succeeded(P))
    assert (execution.node_id, execution.ran) == (None, {"2", "3"})


def test_a_hint_after_a_reconnect_is_a_place_and_nothing_more() -> None:
    execution = Execution(P)
    execution.connection_lost()
    execution.receive(events.Executing(None, "5"))
    assert (execution.node_id, execution.state) == ("5", State.QUEUED)
    execution.receive(events.Executing(None, None))
    assert (execution.node_id, execution.wants_look) == ("5", False)
    done = in_state(State.SUCCEEDED)
    done.receive(events.Executing(None, "5"))
    assert done.node_id is None


def test_its_repr_tells_what_an_operator_needs() -> None:
    execution = Execution("p-1")
    execution.receive(events.Executing("p-1", "3"))
    execution.connection_lost()
    assert repr(execution) == "<Execution p-1 running node=3 gap=True>"
    assert "a.png" not in repr(NodeOutput("9", OUTPUT))
    assert "content" not in repr(PictureOutput("8", 1, "image/png", b"content"))


def picture(node_id: str | None = None, prompt_id: str | None = None) -> events.Picture:
    return events.Picture("image/png", b"png", prompt_id, node_id)


def test_trap_06_pictures_of_save_image_websocket_are_outputs() -> None:
    execution = Execution(P, ["8"])
    execution.receive(events.Executing(P, "8"))
    assert execution.receive(picture()) == PictureOutput("8", 1, "image/png", b"png")
    assert execution.receive(picture("8", P)) == PictureOutput("8", 2, "image/png", b"png")
    execution.receive(events.Succeeded(P))
    assert execution.lost_pictures == []


@pytest.mark.parametrize(
    "frame", [picture(), picture("3", P), picture("8", "another"), picture("9", None)], ids=["bare", "3", "other", "9"]
)
def test_previews_are_not_outputs(frame: events.Picture) -> None:
    execution = Execution(P, ["8"])
    execution.receive(events.Executing(P, "3"))
    assert execution.receive(frame) is None


@pytest.mark.parametrize("hinted", [True, False])
def test_pictures_lost_in_a_gap_are_known(hinted: bool) -> None:
    execution = Execution(P, ["7", "8"])
    execution.receive(events.Executing(P, "7"))
    execution.receive(picture())
    execution.receive(events.Executing(P, "8"))
    execution.connection_lost()
    if hinted:
        execution.receive(events.Executing(None, "8"))
    execution.receive(picture())
    execution.receive(events.Succeeded(P))
    assert execution.lost_pictures == ["8"]


def test_pictures_of_a_run_whose_end_nobody_told_are_lost() -> None:
    """The connection was dead without a drop."""
    execution = Execution(P, ["8"])
    execution.reconcile(SUCCESS, queued=False)
    assert execution.settled
    assert execution.lost_pictures == ["8"]


def test_a_look_after_an_end_that_was_told_loses_no_pictures() -> None:
    execution = Execution(P, ["8"])
    execution.receive(events.Executing(P, "8"))
    execution.receive(picture())
    execution.receive(events.Succeeded(P))
    execution.reconcile(SUCCESS, queued=False)
    assert execution.lost_pictures == []


def test_pictures_of_a_node_that_begins_after_the_gap_are_whole() -> None:
    execution = Execution(P, ["8"])
    execution.connection_lost()
    assert execution.lost_pictures == ["8"]
    execution.receive(events.Executing(P, "8"))
    execution.receive(picture())
    execution.receive(events.Succeeded(P))
    assert execution.lost_pictures == []


# --- Recordings ----------------------------------------------------------------------------------------------------

RUNS = [
    pytest.param(recording, prompt_id, id=f"{recording.name}-{index}")
    for recording in load_all()
    for index, prompt_id in enumerate(recording.prompts)
]
IN_HISTORY = [param for param in RUNS if param.values[1] in param.values[0].histories]
WITHOUT_HISTORY = {
    # Deleted before it ran, or accepted without a socket.
    ("deleted_while_queued", 1): State.QUEUED,
    ("invalid_prompts", 0): State.QUEUED,
    ("server_killed_while_running", 0): State.RUNNING,
    # The recording did not ask for these.
    ("deleted_while_queued", 0): State.SUCCEEDED,
    ("two_prompts_one_socket", 0): State.SUCCEEDED,
    ("two_prompts_one_socket", 1): State.SUCCEEDED,
    ("two_sockets_same_client_id", 0): State.SUCCEEDED,
}


Story = list[events.Event | None]


def story(recording: Recording) -> Story:
    """What was heard, in its order; None where the socket dropped."""
    kept = [frame for frame in recording.events if frame["kind"] in (*DROPS, "ws_text", "ws_binary")]
    return [heard(frame) for frame in kept]


def replay(execution: Execution, heard_events: Story) -> list[NodeOutput | PictureOutput]:
    handed_on = []
    for event in heard_events:
        if event is None:
            execution.connection_lost()
        elif output := execution.receive(event):
            handed_on.append(output)
    return handed_on


def websocket_nodes(recording: Recording, prompt_id: str) -> list[str]:
    nodes = recording.prompts[prompt_id].items()
    return [node_id for node_id, node in nodes if node["class_type"] == "SaveImageWebsocket"]


def told_by(history: Mapping[str, Any]) -> tuple[State, Mapping[str, Any]]:
    """What a history entry says, read here a second time and independently: state, and the message of the end."""
    messages = dict(history["status"]["messages"])
    if history["status"]["status_str"] == "success":
        return State.SUCCEEDED, {}
    kind = "execution_interrupted" if "execution_interrupted" in messages else "execution_error"
    return (State.INTERRUPTED if kind == "execution_interrupted" else State.FAILED), messages[kind]


def assert_end(execution: Execution, history: Mapping[str, Any]) -> None:
    state, message = told_by(history)
    assert execution.state is state
    if state is State.FAILED:
        assert execution.failure is not None
        assert execution.failure.node_id == message["node_id"]
        assert execution.failure.node_type == message["node_type"]
        assert execution.failure.message == message["exception_message"].strip()
        assert execution.failure.exception_type == message["exception_type"]
    if state is State.INTERRUPTED:
        assert execution.interruption is not None
        assert execution.interruption.node_id == message["node_id"]
        assert execution.interruption.node_type == message["node_type"]


def by_node(outputs: list[NodeOutput | PictureOutput]) -> dict[str, Any]:
    return {output.node_id: output.output for output in outputs if isinstance(output, NodeOutput)}


@pytest.mark.parametrize(("recording", "prompt_id"), IN_HISTORY)
def test_a_recorded_run_ends_as_its_history_says(recording: Recording, prompt_id: str) -> None:
    history = recording.histories[prompt_id]
    execution = Execution(prompt_id, websocket_nodes(recording, prompt_id))
    handed_on = replay(execution, story(recording))
    if recording.unbroken:
        assert execution.settled
        assert_end(execution, history)
        assert by_node(handed_on) == history["outputs"]
    else:
        assert not execution.settled
    seen = execution.reconcile(history, queued=False)
    assert execution.settled
    assert_end(execution, history)
    assert by_node(seen) == history["outputs"]


@pytest.mark.parametrize(("recording", "prompt_id"), IN_HISTORY)
def test_trap_01_a_recorded_run_cut_anywhere_ends_as_its_history_says(recording: Recording, prompt_id: str) -> None:
    """The socket drops after each frame in turn; what follows is heard no more, or from some frame on again."""
    history = recording.histories[prompt_id]
    frames = [event for event in story(recording) if event is not None]
    for cut in range(len(frames)):
        for again in {cut, cut + 1, cut + 4, len(frames)}:
            execution = Execution(prompt_id)
            handed_on = replay(execution, frames[:cut])
            settled_before = execution.settled
            execution.connection_lost()
            handed_on += replay(execution, frames[again:])
            assert execution.settled is settled_before
            handed_on += execution.reconcile(history, queued=False)
            assert execution.settled
            assert_end(execution, history)
            assert by_node(handed_on) == history["outputs"]


@pytest.mark.parametrize(("recording", "prompt_id"), [param for param in RUNS if param not in IN_HISTORY])
def test_a_recorded_run_without_history(recording: Recording, prompt_id: str) -> None:
    scenario = recording.name.partition("-")[2]
    index = list(recording.prompts).index(prompt_id)
    execution = Execution(prompt_id)
    replay(execution, story(recording))
    assert execution.state is WITHOUT_HISTORY[scenario, index]
    assert execution.settled is (execution.state is State.SUCCEEDED)
    if not execution.settled:
        for _ in range(LOST_AFTER_LOOKS):
            execution.reconcile(recording.histories.get(prompt_id), queued=False)
        assert (execution.state, execution.settled) == (State.LOST, True)


@pytest.mark.parametrize("version", ["0.3.64", "0.26.0"])
def test_recorded_pictures_of_save_image_websocket(version: str) -> None:
    recording = load(version, "save_image_websocket")
    ((prompt_id, _),) = recording.prompts.items()
    execution = Execution(prompt_id, websocket_nodes(recording, prompt_id))
    handed_on = replay(execution, story(recording))
    assert [(output.node_id, output.number, output.media_type) for output in handed_on] == [  # type: ignore[union-attr]
        ("save_ws", 1, "image/png"),
        ("save_ws", 2, "image/png"),
    ]
    assert execution.lost_pictures == []


def test_every_recording_with_a_prompt_is_replayed() -> None:
    # 36 scenarios less free_and_bad_calls, probes and upload_routes; four queue two prompts.
    assert len(RUNS) == 2 * (36 - 3 + 4)
    assert len(IN_HISTORY) == len(RUNS) - 2 * len(WITHOUT_HISTORY)


# --- Any order -----------------------------------------------------------------------------------------------------


class Server(RuleBasedStateMachine):
    """A ComfyUI that runs one prompt, a socket that drops, and a client that looks: any order of these.

    The worker sees only what a real one would. Whatever happens, it is never told success that the server did not
    have, and it always comes to an end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.execution = Execution(P, ["8"])
        self.outputs: dict[str, dict[str, Any]] = {}
        self.handed_on: list[NodeOutput] = []
        self.end: State | None = None
        self.history: dict[str, Any] | None = None
        self.forgotten = False
        self.connected = True
        self.told_whole_story = True
        self.was_settled = False
        self.looked_at_success = False

    def send(self, event: events.Event) -> None:
        if not self.connected:
            self.told_whole_story &= self.execution.settled
            return
        output = self.execution.receive(event)
        if isinstance(output, NodeOutput):
            self.handed_on.append(output)

    def look(self) -> None:
        history = None if self.forgotten else self.history
        queued = not self.forgotten and self.history is None
        self.looked_at_success |= history is not None and self.end is State.SUCCEEDED
        self.handed_on += self.execution.reconcile(history, queued=queued)

    running = precondition(lambda self: self.end is None and not self.forgotten)

    @running
    @rule(node=st.sampled_from("1238"))
    def a_node_starts(self, node: str) -> None:
        self.send(events.Executing(P, node))

    @running
    @rule(node=st.sampled_from("1238"))
    def a_node_makes_progress(self, node: str) -> None:
        self.send(events.Progress(P, node, 1, 2))
        self.send(picture())

    @running
    @rule(node=st.sampled_from("9ab"))
    def a_node_hands_out_files(self, node: str) -> None:
        self.outputs[node] = {"images": [{"filename": f"{node}.png"}]}
        self.send(events.Executed(P, node, self.outputs[node]))

    @running
    @rule(end=st.sampled_from([State.SUCCEEDED, State.FAILED, State.INTERRUPTED]))
    def it_ends(self, end: State) -> None:
        self.end = end
        ways = {State.SUCCEEDED: events.Succeeded, State.FAILED: events.Failed, State.INTERRUPTED: events.Interrupted}
        self.send(EVENTS[ways[end]])

    @precondition(lambda self: self.end is not None and self.history is None)
    @rule()
    def the_history_is_written(self) -> None:
        kinds = {State.FAILED: "execution_error", State.INTERRUPTED: "execution_interrupted"}
        status = SUCCESS["status"] if self.end is State.SUCCEEDED else failure(kinds[self.end])["status"]  # type: ignore[index]
        self.history = {"outputs": dict(self.outputs), "status": status}
        self.send(events.Executing(P, None))

    @rule()
    def comfyui_restarts_and_knows_nothing(self) -> None:
        self.forgotten = True
        self.the_socket_drops()

    @rule()
    def the_socket_drops(self) -> None:
        if self.connected:
            self.connected = False
            self.execution.connection_lost()

    @precondition(lambda self: not self.connected)
    @rule(hint=st.sampled_from([None, "1", "8"]))
    def the_socket_is_open_again(self, hint: str | None) -> None:
        self.connected = True
        self.send(events.Executing(None, hint))

    @rule(event=st.sampled_from(list(EVENTS.values())))
    def another_prompt_tells_something(self, event: events.Event) -> None:
        if hasattr(event, "prompt_id") and not isinstance(event, events.Picture):
            self.send(event.__class__(**{**vars(event), "prompt_id": "another"}))

    @rule()
    def the_client_looks(self) -> None:
        self.look()

    @invariant()
    def success_is_never_guessed(self) -> None:
        if self.execution.settled and self.execution.state is State.SUCCEEDED:
            assert self.end is State.SUCCEEDED
            assert self.told_whole_story or self.looked_at_success

    @invariant()
    def a_settled_success_has_handed_on_everything(self) -> None:
        if self.execution.settled and self.execution.state is State.SUCCEEDED:
            assert by_node(list(self.handed_on)) == self.outputs

    @invariant()
    def settled_is_settled(self) -> None:
        assert self.execution.settled or not self.was_settled
        self.was_settled = self.execution.settled

    @invariant()
    def a_look_is_wanted_only_where_it_helps(self) -> None:
        assert not (self.execution.wants_look and self.execution.settled)
        if self.execution.ended and not self.execution.settled:
            assert self.execution.wants_look

    def teardown(self) -> None:
        """Whatever was, looks bring it to its end: the server is through, or gone."""
        if self.end is None:
            self.forgotten = True
        elif self.history is None and not self.forgotten:
            self.the_history_is_written()
        if not self.execution.settled:
            self.the_socket_drops()
        for _ in range(LOST_AFTER_LOOKS_AT_END):
            if not self.execution.settled:
                self.look()
        assert self.execution.settled
        self.success_is_never_guessed()
        self.a_settled_success_has_handed_on_everything()
        if self.end and not self.forgotten:
            assert self.execution.state is self.end


TestAnyOrder = Server.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=25, print_blob=False)

HISTORIES = st.sampled_from(
    [None, None, SUCCESS, failure("execution_error"), failure("execution_interrupted"), {}, {"status": []}]
)
STEPS = st.one_of(
    st.sampled_from(list(EVENTS.values())),
    st.sampled_from(
        [events.Executing(P, None), events.Executing(None, "8"), events.Executing(P, "8"), picture(), "drop"]
    ),
    st.tuples(HISTORIES, st.booleans()),
)


@given(st.lists(STEPS, max_size=30))
@settings(max_examples=250, suppress_health_check=list(HealthCheck))
def test_even_what_no_server_does_raises_nothing_and_ends(steps: list[Any]) -> None:
    """Events in impossible orders, histories that contradict them: success still has a source, looks still end it."""
    execution = Execution(P, ["8"])
    gap = told_success = seen_success = False
    for step in steps:
        if step == "drop":
            execution.connection_lost()
            gap = gap or not told_success
        elif isinstance(step, tuple):
            history, queued = step
            execution.reconcile(history, queued=queued)
            seen_success = seen_success or history is SUCCESS
        else:
            told_success = told_success or (isinstance(step, events.Succeeded) and not gap)
            execution.receive(step)
        assert repr(execution)
        if execution.settled and execution.state is State.SUCCEEDED:
            assert told_success or seen_success
    for _ in range(LOST_AFTER_LOOKS_AT_END):
        execution.reconcile(None, queued=False)
    assert execution.settled
