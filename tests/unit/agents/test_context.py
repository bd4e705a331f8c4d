"""What of a long conversation a request carries, and that nothing of it is lost."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.processes import assert_well_formed

from overwinter import (
    Agent,
    Budget,
    ConfigurationError,
    DropToolResults,
    KeepLast,
    Message,
    ModelError,
    ModelReply,
    ModelRequest,
    ModelUnavailable,
    Summarize,
    ToolCall,
    Usage,
    events,
    tool,
)
from overwinter.agents import journal_records as journal
from overwinter.agents.context import ContextPolicy, start_of_last, start_of_results
from overwinter.agents.context_window import ContextWindow
from overwinter.agents.models.retry import RetryPolicy
from overwinter.agents.records import Entry, Reduction, ToolOutcome
from overwinter.agents.request_view import DROPPED, MessageView
from overwinter.agents.state import AgentState
from overwinter.agents.summary import summary_messages
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

call = ScriptedModel.call
LONG = "result " * 40


@tool(idempotent=True)
async def look(at: int) -> str:
    """Look at something."""
    return f"{at}: {LONG}"


def contents(messages: Sequence[Message]) -> list[str]:
    return [message.content or ",".join(one.id for one in message.tool_calls) for message in messages]


def looks(count: int, *, last: str = "done") -> list[Any]:
    return [*(call("look", {"at": number}, call_id=f"c{number}") for number in range(count)), last]


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Conversations as runs leave them: a user speaks, then steps of a model with their tools."""
    said: list[Message] = []
    for run in range(draw(st.integers(1, 4))):
        said.append(Message("user", f"task {run}"))
        for step in range(draw(st.integers(0, 4))):
            ids = [f"{run}-{step}-{number}" for number in range(draw(st.integers(0, 4)))]
            said.append(Message("assistant", "so", tuple(ToolCall(one, "look") for one in ids)))
            said.extend(Message("tool", LONG, tool_call_id=one, name="look") for one in ids)
            if not ids and draw(st.booleans()):
                said.append(Message("user", "Continue."))
    return said


@given(conversations(), st.integers(1, 30))
def test_a_window_parts_no_call_from_its_answer_and_holds_what_it_may(
    conversation: list[Message], messages: int
) -> None:
    start = start_of_last(conversation, messages)
    window = conversation[start:]
    assert_well_formed(window)
    assert window
    calls = next((len(one.tool_calls) for one in reversed(conversation) if one.role == "assistant"), 0)
    assert len(window) <= max(messages, calls + 1)
    if len(conversation) <= messages:
        assert start == 0


@given(conversations(), st.integers(1, 30), st.integers(0, 12))
def test_old_results_end_where_a_looking_from_the_front_says(
    conversation: list[Message], keep: int, since: int
) -> None:
    results = [at for at, one in enumerate(conversation) if one.role == "tool"]
    replies = [at for at, one in enumerate(conversation) if one.role == "assistant"]
    kept = {*results[-keep:], *(at for at in results if at > max(replies, default=0))}
    start = start_of_results(conversation, keep)
    assert {at for at in results if at >= start} == kept
    if since <= start:
        again = start_of_results(conversation, keep, since=since)
        assert {at for at in results if since <= at < again} == {at for at in results if since <= at < start}


@given(conversations(), st.integers(0, 40), st.integers(0, 40), st.integers(0, 2))
def test_a_view_is_the_list_that_it_stands_for(
    conversation: list[Message], start: int, dropped: int, heads: int
) -> None:
    start, head = min(start, len(conversation)), [Message("system", "x")] * heads
    expected = [
        *head,
        *(
            msgspec.structs.replace(one, content=DROPPED) if one.role == "tool" and at < dropped else one
            for at, one in enumerate(conversation)
            if at >= start
        ),
    ]
    view = MessageView(head, conversation, start, dropped_before=dropped)
    conversation.append(Message("user", "said later"))
    assert list(view) == expected == [view[at] for at in range(len(view))]
    assert view == expected
    assert (len(view), view[1:], view[::-2]) == (len(expected), expected[1:], expected[::-2])
    assert [view[at - len(view)] for at in range(len(view))] == expected
    with pytest.raises(IndexError):
        view[len(view)]
    assert view != "something else"
    assert not hasattr(view, "append")
    assert not hasattr(view, "__setitem__")


async def test_a_window_of_messages_carries_the_last_ones_and_the_task() -> None:
    """X1: the request is smaller, the conversation is whole."""
    model = ScriptedModel(looks(6))
    agent = Agent("keeper", model=model, tools=[look], system_prompt="Be brief.", context=KeepLast(4))
    await agent.run("Look around.")
    assert contents(model.requests[-1].messages) == [
        "Be brief.",
        "Look around.",
        "c4",
        f"4: {LONG}",
        "c5",
        f"5: {LONG}",
    ]
    assert len(agent.state.conversation) == 14
    for request in model.requests:
        assert_well_formed(request.messages)


async def test_a_window_never_parts_a_step_however_small_it_is() -> None:
    """X2: a call and its answers stay together."""
    calls = [call("look", {"at": number}, call_id=f"c{number}") for number in range(5)]
    model = ScriptedModel([calls, "done"])
    agent = Agent("keeper", model=model, tools=[look], context=KeepLast(2))
    await agent.run("Look around.")
    assert [message.role for message in model.requests[1].messages] == ["user", "assistant", *["tool"] * 5]
    assert_well_formed(model.requests[1].messages)


async def test_a_window_reaches_into_earlier_runs_with_the_task_that_it_begins_in() -> None:
    model = ScriptedModel([*looks(3, last="seen"), "second", "third"])
    agent = Agent("keeper", model=model, tools=[look], context=KeepLast(4))
    await agent.run("First.")
    await agent.run("Second.")
    assert contents(model.requests[4].messages) == ["First.", "c2", f"2: {LONG}", "seen", "Second."]
    await agent.run("Third.")
    assert contents(model.requests[5].messages) == ["First.", "seen", "Second.", "second", "Third."]


async def test_a_model_that_is_told_to_go_on_counts_that_as_well() -> None:
    model = ScriptedModel(["one", "two", "three", "four"])
    agent = Agent("keeper", model=model, max_loops=4, context=KeepLast(3))
    await agent.run("Count.")
    assert contents(model.requests[3].messages) == ["Count.", "Continue.", "three", "Continue."]


async def test_above_a_number_of_tokens_the_window_is_cut_back_at_once() -> None:
    """X3: a threshold holds off until the request has so many tokens; the prefix stays the same meanwhile."""
    model = ScriptedModel(looks(12))
    agent = Agent("keeper", model=model, tools=[look], context=KeepLast(4, above=300))
    await agent.run("Look around.")
    sizes = [len(request.messages) for request in model.requests]
    assert sizes[:3] == [1, 3, 5]
    assert max(sizes) > 9
    cuts = [size for before, size in pairwise(sizes) if size < before]
    assert cuts
    assert set(cuts) == {5}


async def test_a_window_that_is_made_larger_carries_more_again() -> None:
    agent = Agent("keeper", model=ScriptedModel(looks(6)), tools=[look], context=KeepLast(2))
    await agent.run("Look around.")
    other = ScriptedModel(["fine"])
    wider = Agent("keeper", model=other, tools=[look], context=KeepLast(100))
    wider._state.become(agent._state)
    await wider.run("And?")
    assert len(other.requests[0].messages) == 15


async def test_old_results_of_tools_are_replaced_by_a_note() -> None:
    """X4: the calls stay, their old results do not; a result that was not read yet always does."""
    model = ScriptedModel([*looks(4)[:-1], [call("look", {"at": n}) for n in range(7, 10)], "done"])
    agent = Agent("dropper", model=model, tools=[look], context=DropToolResults(keep=2))
    await agent.run("Look around.")
    results = [message.content for message in model.requests[4].messages if message.role == "tool"]
    assert results == [DROPPED, DROPPED, f"2: {LONG}", f"3: {LONG}"]
    results = [message.content for message in model.requests[5].messages if message.role == "tool"]
    assert results == [DROPPED] * 4 + [f"{n}: {LONG}" for n in range(7, 10)]
    assert agent.state.conversation[2].content == f"0: {LONG}"


async def test_a_short_result_is_not_replaced_by_a_longer_note() -> None:
    @tool
    async def tick() -> str:
        """Tick."""
        return "tock"

    model = ScriptedModel([call("tick"), call("tick"), call("tick"), "done"])
    agent = Agent("dropper", model=model, tools=[tick], context=DropToolResults(keep=1, above=None))
    await agent.run("Tick.")
    results = [message.content for message in model.requests[3].messages if message.role == "tool"]
    assert results == ["tock"] * 3


async def test_a_summary_takes_the_place_of_what_is_left_out() -> None:
    """X5: it is asked for once, paid for once, and stands behind the task."""
    said: list[events.Event] = []
    asked: list[ModelRequest] = []
    replies = iter(looks(5))

    def answer(request: ModelRequest) -> Any:
        if "sum up" in request.messages[0].content:
            asked.append(request)
            return f"summary {len(asked)}"
        return next(replies)

    model = ScriptedModel(answer, loop=True, cost=1.0)
    agent = Agent("teller", model=model, tools=[look], context=Summarize(above=150, keep=3))
    agent._member.hub.watch(said.append)
    result = await agent.run("Look around.")
    last = model.requests[-1].messages
    assert contents(last)[0] == "Look around."
    assert contents(last)[1].endswith(f"summary {len(asked)}")
    assert_well_formed(last)
    assert len(asked) >= 2
    assert "summary 1" in asked[1].messages[1].content
    assert all(not request.tools for request in asked)
    assert result.usage.calls == 6 + len(asked)
    assert result.usage.cost == result.usage.calls
    assert result.loop_count == 6
    assert len(agent.state.conversation) == 12
    reduced = [event for event in said if isinstance(event, events.ContextReduced)]
    assert [event.summary for event in reduced] == [f"summary {n + 1}" for n in range(len(asked))]
    assert [event.upto for event in reduced] == sorted(event.upto for event in reduced)
    assert all(event.saved > 0 for event in reduced)


async def test_a_conversation_too_long_for_one_summary_is_summed_up_piece_by_piece() -> None:
    agent = Agent("teller", model=ScriptedModel(looks(9)), tools=[look], max_loops="auto")
    await agent.run("Look around.")
    sizes: list[int] = []

    def answer(request: ModelRequest) -> str:
        if "sum up" in request.messages[0].content:
            sizes.append(len(request.messages[1].content))
            return "short"
        return "done"

    teller = Agent(
        "teller", model=ScriptedModel(answer, loop=True), context=Summarize(above=400, keep=2), tools=[look]
    )
    teller._state.become(agent._state)
    teller._state.context_tokens = 5000
    await teller.run("And now?")
    assert len(sizes) >= 2
    assert max(sizes) < 400 * 4 * 1.5


async def test_an_empty_summary_reduces_nothing_and_is_not_asked_for_at_once_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = 0
    replies = iter(looks(4))

    def answer(request: ModelRequest) -> Any:
        nonlocal asked
        if "sum up" in request.messages[0].content:
            asked += 1
            return "  "
        return next(replies)

    model = ScriptedModel(answer, loop=True)
    agent = Agent("teller", model=model, tools=[look], context=Summarize(above=120, keep=6))
    result = await agent.run("Look around.")
    assert asked == 1
    assert result.usage.calls == 5 + 1
    assert len(model.requests[-1].messages) == 9
    assert "empty summary" in caplog.text


async def test_a_summary_that_cannot_be_had_fails_the_run_and_a_resume_goes_on() -> None:
    broken = True
    replies = iter(looks(4))

    def answer(request: ModelRequest) -> Any:
        if "sum up" in request.messages[0].content:
            return ModelError("away") if broken else "summary"
        return next(replies)

    model = ScriptedModel(answer, loop=True)
    agent = Agent(
        "teller",
        model=model,
        tools=[look],
        context=Summarize(above=120, keep=2),
        retry=RetryPolicy(max_attempts=1),
    )
    with pytest.raises(ModelUnavailable):
        await agent.run("Look around.")
    broken = False
    assert str(await agent.resume()) == "done"


async def test_a_summary_counts_towards_the_budget() -> None:
    replies = iter(looks(9))

    def answer(request: ModelRequest) -> Any:
        if "sum up" in request.messages[0].content:
            return ModelReply(Message("assistant", "short"), usage=Usage(900, 100, cost=0.0, calls=1))
        return next(replies)

    agent = Agent(
        "teller",
        model=ScriptedModel(answer, loop=True),
        tools=[look],
        context=Summarize(above=150, keep=2),
        budget=Budget(tokens=1500),
        max_loops="auto",
    )
    result = await agent.run("Look around.")
    assert (result.status, result.stop_reason) == ("paused", "tokens")
    assert agent.state.usage.total_tokens >= 1000


async def test_a_summary_is_written_by_the_model_that_the_policy_names() -> None:
    writer = ScriptedModel(["written elsewhere"], name="small")
    model = ScriptedModel(looks(3))
    agent = Agent(
        "teller",
        model=model,
        tools=[look],
        context=Summarize(above=120, keep=2, model="small"),
        model_args={"api_key": "sk-of-the-agents-provider", "top_p": 0.5},
    )
    agent._profile._other_models["small"] = writer
    await agent.run("Look around.")
    (request,) = writer.requests
    assert request.args == {"top_p": 0.5}
    assert "written elsewhere" in contents(model.requests[-1].messages)[1]


@pytest.mark.parametrize(
    "context",
    [
        KeepLast(4),
        DropToolResults(keep=1),
        Summarize(above=150, keep=3),
        (DropToolResults(keep=2, above=100), Summarize(above=200, keep=3)),
    ],
)
async def test_a_resumed_run_sends_exactly_what_it_would_have_sent(
    context: ContextPolicy | tuple[ContextPolicy, ...], workspace_dir: Path
) -> None:
    """X6: the reduced context follows from what is recorded; no summary is asked for twice."""

    def script() -> Callable[[ModelRequest], Any]:
        def answer(request: ModelRequest) -> Any:
            if "sum up" in request.messages[0].content:
                return f"summary of {len(request.messages[1].content)}"
            seen = sum(one.role == "assistant" for one in everything[0].state.conversation)
            return looks(9)[seen]

        return answer

    everything: list[Agent[Any]] = []
    whole = ScriptedModel(script(), loop=True)
    everything.append(Agent("whole", model=whole, tools=[look], context=context))
    await everything[0].run("Look around.")

    sent: list[ModelRequest] = []
    for limit in (2, 4, 5, 7, 20):
        model = ScriptedModel(script(), loop=True)
        # A fresh object each time, which says nothing of the context after the first.
        first = not sent
        agent = Agent(
            "cut",
            model=model,
            tools=[look],
            autosave=True,
            workspace_dir=workspace_dir,
            max_loops=limit,
            context=context if first else None,
        )
        everything[0] = agent
        await (agent.run("Look around.") if first else agent.resume(max_loops=limit))
        sent += model.requests
    assert [list(map(_bare, one.messages)) for one in sent] == [
        list(map(_bare, one.messages)) for one in whole.requests
    ]
    assert agent.state.usage.calls == len(whole.requests)


def _bare(message: Message) -> tuple[str, str, list[str]]:
    return message.role, message.content, [one.id for one in message.tool_calls]


async def test_policies_stand_in_the_configuration(workspace_dir: Path) -> None:
    """X7: plain data, taken over by a load where the constructor says nothing."""
    context = (DropToolResults(keep=2), Summarize(above=100_000, model="small"))
    agent = Agent("a", model=ScriptedModel("hi"), context=context, autosave=True, workspace_dir=workspace_dir)
    await agent.run("Hello")
    saved = msgspec.json.decode(await anyio.Path(agent.config_path).read_bytes())
    assert saved["context"] == [
        {"policy": "drop_tool_results", "keep": 2, "above": None},
        {"policy": "summarize", "above": 100_000, "keep": 20, "model": "small"},
    ]
    silent = Agent("a", model=ScriptedModel("hi"), workspace_dir=workspace_dir)
    await silent.load()
    assert silent._profile.settings.context == context
    none = Agent("a", model=ScriptedModel("hi"), workspace_dir=workspace_dir, context=())
    await none.load()
    assert none._profile.settings.context == ()
    assert none._profile.adopt(saved)["context"] == (saved["context"], [])
    unknown = [{"policy": "of a later version"}]
    fresh = Agent("b", model=ScriptedModel("hi"))
    assert fresh._profile.adopt({"context": unknown}) == {"context": (unknown, None)}
    assert fresh._profile.settings.context is None


@pytest.mark.parametrize(
    "context",
    [
        lambda: KeepLast(0),
        lambda: DropToolResults(keep=0),
        lambda: Summarize(above=0),
        lambda: Summarize(above=10, keep=-1),
        lambda: Agent("a", model=ScriptedModel("x"), context=(KeepLast(1), KeepLast(2))),
        lambda: Agent("a", model=ScriptedModel("x"), context=["keep_last"]),  # type: ignore[list-item]
    ],
)
def test_a_policy_that_cannot_work_is_refused_where_it_is_written(context: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        context()


class Watched(list[Any]):
    """A list that counts how many of its items are looked at."""

    looked_at = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.looked_at += len(found) if isinstance(index, slice) else 1
        return found

    def __iter__(self) -> Any:
        self.looked_at += len(self)
        return super().__iter__()

    def __reversed__(self) -> Any:
        for index in range(len(self) - 1, -1, -1):
            yield self[index]


class Blind:
    """A model that asks for three looks without reading anything."""

    name = "blind"

    def __init__(self) -> None:
        self.asked = 0

    async def prepare(self) -> None: ...

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        self.asked += 1
        if not request.tools:
            return ModelReply(Message("assistant", "a summary"), Usage(10, 1, calls=1))
        calls = () if self.asked > 3 else (ToolCall(f"c{self.asked}", "look", '{"at":1}'),)
        return ModelReply(Message("assistant", "so", calls), Usage(500, 1, calls=1))


@pytest.mark.parametrize(
    "context",
    [
        None,
        KeepLast(8),
        KeepLast(8, above=450),
        DropToolResults(keep=2),
        Summarize(above=450, keep=8),
    ],
)
async def test_a_step_looks_at_as_much_of_a_long_conversation_as_of_a_short_one(
    context: ContextPolicy | None,
) -> None:
    """X8: the messages of a request are a view, and policies look at what is new and at what they leave out."""
    looked_at: dict[int, int] = {}
    for length in (40, 10_000):
        agent = Agent("a", model=Blind(), tools=[look], context=context)
        state = agent._state
        state.conversation = Watched()
        for run in range(length // 4):
            run_id, call_id = f"run {run}", f"old {run}"
            state.conversation += [
                Entry(role="user", content="Look.", run_id=run_id),
                Entry(role="assistant", tool_calls=(ToolCall(call_id, "look"),), run_id=run_id),
                Entry(role="tool", content=LONG, tool_call_id=call_id, name="look", run_id=run_id),
                Entry(role="assistant", content="Seen.", run_id=run_id),
            ]
            state.tool_results.append(ToolOutcome(call_id, "look", "", LONG, True, 0.0, run_id, 1, ""))
        # As it was left by a run under the same policy.
        for policy in (KeepLast, DropToolResults, Summarize):
            name = str(policy.__struct_config__.tag)
            state.reductions[name] = Reduction(name, length - 8, "before")
        state.context_tokens, state.context_upto = 500, length - 1
        await agent.run("Look three times.")
        looked_at[length] = state.conversation.looked_at
    assert looked_at[10_000] <= looked_at[40] < 400


PROMPT = Message("system", "Be brief.")


class FakeStage:
    """What a context window needs to know of the stage."""

    def __init__(self, context: tuple[ContextPolicy, ...], state: AgentState) -> None:
        self.state = state
        self.profile = SimpleNamespace(prompt=(PROMPT,), settings=SimpleNamespace(context=context))

    def now(self) -> str:
        return ""

    def emit(self, event: type[events.Event], **fields: Any) -> None:
        pass


class FakeSummarizer:
    """Writes summaries that tell how often it was asked, and sometimes nothing."""

    def __init__(self, empty: frozenset[int]) -> None:
        self.asked = 0
        self._empty = empty

    async def ask(self, model: str | None, summary: str, messages: Sequence[Message]) -> ModelReply:
        self.asked += 1
        assert messages
        assert messages[0].role != "tool"
        text = "" if self.asked in self._empty else f"summary {self.asked}"
        return ModelReply(Message("assistant", text), Usage(7, 3, calls=1))


def done(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


_limits = st.one_of(st.none(), st.integers(1, 400))
_policies = st.tuples(
    st.one_of(st.none(), st.builds(KeepLast, st.integers(1, 12), _limits)),
    st.one_of(st.none(), st.builds(DropToolResults, st.integers(1, 4), _limits)),
    st.one_of(st.none(), st.builds(Summarize, st.integers(1, 400), st.integers(1, 12))),
).flatmap(lambda some: st.permutations([one for one in some if one is not None]).map(tuple))


@given(
    _policies,
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 400)), max_size=8), min_size=1, max_size=4),
    st.frozensets(st.integers(1, 6)),
)
def test_whatever_is_left_out_a_request_is_one_that_a_provider_takes(
    context: tuple[ContextPolicy, ...], runs: list[list[tuple[int, int]]], empty: frozenset[int]
) -> None:
    """X2, X6: with every policy, at every step, and the same after a load."""
    state, summarizer = AgentState(), FakeSummarizer(empty)
    for run, steps in enumerate(runs):
        run_id = f"run {run}"
        state.apply(journal.TaskAccepted(run_id=run_id, task=f"task {run}"))
        state.apply(journal.RunBegan(run_id=run_id))
        window = ContextWindow(FakeStage(context, state), summarizer)  # type: ignore[arg-type]
        for step, (calls, tokens) in enumerate(steps):
            if state.conversation[-1].role == "assistant":
                state.apply(journal.UserSaid(text="Continue."))
            whole = list(state.conversation)
            done(window.reduce())
            view = window.messages()
            carried = list(view)
            assert_well_formed(carried)
            assert [one.role for one in carried[:2]] == ["system", "user"]
            assert [one.content for one in carried].count(f"task {run}") == 1
            assert carried[-1] == whole[-1]
            assert state.conversation == whole
            loaded = AgentState()
            loaded.restore(
                msgspec.json.decode(msgspec.json.encode(state.body()), type=type(state.body())),
            )
            before = summarizer.asked
            again = ContextWindow(FakeStage(context, loaded), summarizer)  # type: ignore[arg-type]
            if not empty:
                done(again.reduce())
            assert summarizer.asked == before
            assert again.messages() == carried
            ids = [f"{run}-{step}-{number}" for number in range(calls)]
            said = Message("assistant", "so", tuple(ToolCall(one, "look") for one in ids))
            state.apply(journal.ModelReplied(message=said, usage=Usage(tokens, 1, calls=1)))
            for one in ids:
                state.apply(journal.ToolFinished(call_id=one, output=LONG))
            assert view == carried
        state.apply(journal.RunEnded(status="finished"))
    assert state.usage.output_tokens == 3 * summarizer.asked + sum(map(len, runs))


def test_a_model_that_sums_up_is_given_texts_and_of_long_results_their_ends() -> None:
    long = f"begin {'x' * 9000} end"
    asked = summary_messages(
        "before",
        [
            Message("user", "Look."),
            Message("assistant", "I look.", (ToolCall("c", "look", '{"at":1}'),)),
            Message("tool", long, tool_call_id="c", name="look"),
        ],
    )
    assert [message.role for message in asked] == ["system", "user"]
    text = asked[1].content
    assert text.startswith("[summary of what was before]\nbefore\n\n[user]\nLook.\n\n[assistant]\nI look.")
    assert '[assistant calls look]\n{"at":1}' in text
    assert "[result of look]\nbegin x" in text
    assert text.endswith("x end")
    assert len(text) < 4500
