"""What can happen to an agent, made up: records in an order in which they could be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from hypothesis import strategies as st

from overwinter.agents import journal_records as journal
from overwinter.agents.copying import copy_of
from overwinter.agents.models.protocol import Message, ToolCall, Usage
from overwinter.agents.state import AgentState

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.journal_records import JournalRecord

__all__ = ["histories", "next_records"]

texts = st.text(st.characters(codec="utf-8"), max_size=12)
times = st.integers(0, 59).map(lambda second: f"2026-11-23T08:00:{second:02}+00:00")
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
usages = st.builds(
    Usage,
    input_tokens=st.integers(0, 999),
    output_tokens=st.integers(0, 999),
    cost=st.none() | st.sampled_from([0.0, 0.25, 1.5]),
    calls=st.just(1),
)


def _reply(draw: Callable[..., object], at: str) -> JournalRecord:
    ids = draw(st.lists(st.sampled_from(["c1", "c2", "c3"]), unique=True, max_size=3))
    assert isinstance(ids, list)
    calls = tuple(ToolCall(id=each, name=f"tool_{each}", arguments="{}") for each in ids)
    message = Message(role="assistant", content=str(draw(texts)), tool_calls=calls)
    usage = draw(usages)
    assert isinstance(usage, Usage)
    return journal.ModelReplied(at=at, message=message, usage=usage, model="m", seconds=1.5)


def next_records(state: AgentState, draw: Callable[..., object]) -> list[Callable[[str], JournalRecord]]:
    """What may happen next to an agent that knows *state*; each is called with the time."""

    number = len(state.run_ids) + len(state.runs)
    now_and_then = draw(st.integers(0, 5)) == 5
    accept: list[Callable[[str], JournalRecord]] = [
        lambda at: journal.TaskAccepted(at=at, run_id=f"run-{number}", task=str(draw(texts)))
    ]
    if not (state.accepted or state.status == "running"):
        return accept
    may: list[Callable[[str], JournalRecord]] = []
    if not now_and_then:
        return _in_a_run(state, draw) if state.status == "running" else _between_runs(state, draw)
    may += [
        *accept,
        lambda at: journal.MemorySet(
            at=at, key=_one(draw, ["a", "b"]), value=msgspec.Raw(msgspec.json.encode(draw(values)))
        ),
        lambda at: journal.MemoryDeleted(at=at, key=_one(draw, ["a", "b"])),
    ]
    if state.accepted:
        may.append(lambda at: journal.TaskWithdrawn(at=at, run_id=state.accepted[0].run_id))
    if state.status != "running":
        may.append(lambda at: journal.StartedAnew(at=at))
        may.append(lambda at: journal.StateReplaced(at=at, body=copy_of(state).body(), source="x.json"))
        return may
    may.append(
        lambda at: journal.RunEnded(
            at=at,
            status=_one(draw, ["paused", "failed", "interrupted", "finished"]),  # type: ignore[arg-type]
            stop_reason="answered",
            error=str(draw(texts)),
            partial_text=str(draw(texts)),
            seconds=2.5,
        )
    )
    return may


def _between_runs(state: AgentState, draw: Callable[..., object]) -> list[Callable[[str], JournalRecord]]:
    may: list[Callable[[str], JournalRecord]] = [
        lambda at: journal.RunBegan(at=at, run_id=state.accepted[0].run_id)
    ]
    cut_off = [run.run_id for run in (*state.runs, state.run) if run and run.status != "finished"]
    if cut_off:
        may.append(lambda at: journal.RunResumed(at=at, run_id=_one(draw, cut_off)))
    return may


def _in_a_run(state: AgentState, draw: Callable[..., object]) -> list[Callable[[str], JournalRecord]]:
    may: list[Callable[[str], JournalRecord]] = []
    open_calls = [call.id for call in state.unfinished_calls]
    if not state.open_calls:
        may += [
            lambda at: _reply(draw, at),
            lambda at: _reply(draw, at),
            lambda at: _reply(draw, at),
            lambda at: journal.UserSaid(at=at, text="Continue."),
            lambda at: journal.AskedAgain(at=at, problem=str(draw(texts))),
            lambda at: journal.ContextReduced(
                at=at,
                policy=_one(draw, ["keep_last", "summarize"]),
                upto=len(state.conversation),
                summary="s",
            ),
        ]
        if now := draw(st.integers(0, 3)):
            may += _of_a_swarm(state, draw) if now == 1 else []
    if state.open_calls:
        may.append(lambda at: journal.CallsClosed(at=at))
    if open_calls:
        may += [
            lambda at: journal.ToolsStarted(at=at, call_ids=tuple(open_calls)),
            lambda at: journal.ToolsWithdrawn(at=at, call_ids=(_one(draw, open_calls),)),
            lambda at: journal.ToolFinished(
                at=at, call_id=_one(draw, open_calls), output=str(draw(texts)), ok=bool(draw(st.booleans()))
            ),
            lambda at: journal.PersonAsked(
                at=at,
                call_id=_one(draw, open_calls),
                kind=_one(draw, ["approval", "question", "unknown"]),  # type: ignore[arg-type]
                question=str(draw(texts)),
            ),
            lambda at: journal.PersonAnswered(
                at=at,
                call_id=_one(draw, open_calls),
                decision=_one(draw, ["approved", "denied", "answered"]),  # type: ignore[arg-type]
                text=str(draw(texts)),
            ),
            lambda at: journal.SleepBegan(at=at, call_id=_one(draw, open_calls), number=1, until=at, key="k"),
        ]
    return may


def _of_a_swarm(state: AgentState, draw: Callable[..., object]) -> list[Callable[[str], JournalRecord]]:
    key = f"{len(state.works)}-{_one(draw, ['a', 'b'])}"
    usage = draw(usages)
    assert isinstance(usage, Usage)
    return [
        lambda at: journal.MemberStarted(at=at, key=key, member="a", task=str(draw(texts))),
        lambda at: journal.MemberFinished(
            at=at,
            key=key,
            member="a",
            text=str(draw(texts)),
            stop_reason="answered",
            usage=usage,
            seconds=0.5,
        ),
        lambda at: journal.MemberFailed(
            at=at, key=key, member="a", error=str(draw(texts)), skipped=bool(draw(st.booleans())), usage=usage
        ),
        lambda at: journal.WorkReopened(at=at, keys=tuple(state.works_of(state.run_id))[:1]),
        lambda at: journal.Decided(at=at, key=key, value=msgspec.Raw(msgspec.json.encode(draw(values)))),
        lambda at: journal.SwarmAnswered(at=at, text=str(draw(texts))),
    ]


def _one(draw: Callable[..., object], of: list[str]) -> str:
    return str(draw(st.sampled_from(of)))


@st.composite
def histories(draw: st.DrawFn, *, max_size: int = 40) -> list[JournalRecord]:
    """Some records, each of which could follow upon those before it."""
    state = AgentState()
    records: list[JournalRecord] = []
    for _ in range(draw(st.integers(0, max_size))):
        may = next_records(state, draw)
        record = may[draw(st.integers(0, len(may) - 1))](draw(times))
        state.apply(record)
        records.append(record)
    return records
