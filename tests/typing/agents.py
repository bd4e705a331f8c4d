"""What mypy and pyright must know of agents; read by them and never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import assert_type

import msgspec
import pydantic

from overwinter import Agent, ModelReply, ModelRequest, Retention, RunResult, Runtime, Usage
from overwinter.agents import AgentMessage, HistoryStep, StateDiff, StateView
from overwinter.events import Event, TextDelta
from overwinter.runtime import ActorRef
from overwinter.testing import ScriptedModel


class Report(msgspec.Struct):
    """An answer with a shape."""

    title: str
    pages: int


@dataclass
class Plain:
    """An answer with a shape, by dataclass."""

    title: str


class Validated(pydantic.BaseModel):
    """An answer with a shape, by pydantic."""

    title: str


async def an_agent_answers_with_text() -> None:
    agent = Agent("a", "gpt-4o-mini")
    assert_type(agent, Agent[str])
    result = await agent.run("task")
    assert_type(result, RunResult[str])
    assert_type(result.output, str)
    assert_type(result.text, str)
    assert_type(result.usage, Usage)
    assert_type(result.loop_count, int)
    assert_type(str(result), str)
    assert_type(agent.run_sync("task"), RunResult[str])
    assert_type(await agent.resume(max_loops=3), RunResult[str])


async def an_agent_answers_in_the_type_asked_for() -> None:
    agent = Agent("a", "gpt-4o-mini", output_type=Report)
    assert_type(agent, Agent[Report])
    result = await agent.run("task")
    assert_type(result, RunResult[Report])
    assert_type(result.output, Report)
    assert_type(result.output.pages, int)
    assert_type((await agent.resume()).output, Report)
    assert_type(await Agent("a", "gpt-4o-mini", output_type=Plain).run("task"), RunResult[Plain])
    assert_type(await Agent("a", "gpt-4o-mini", output_type=Validated).run("task"), RunResult[Validated])
    assert_type(Agent("a", "gpt-4o-mini", output_type=list[Report]), Agent[list[Report]])


async def a_stream_is_one_of_events() -> None:
    events = Agent("a", "gpt-4o-mini").stream("task")
    assert_type(events, AsyncGenerator[Event, None])
    async for event in events:
        if isinstance(event, TextDelta):
            assert_type(event.text, str)


async def its_paths_are_paths() -> None:
    agent = Agent("a", "gpt-4o-mini", workspace_dir=Path("here"), max_loops="auto", autosave=True)
    assert_type(agent.workspace_dir, Path)
    assert_type(agent.config_path, Path)
    assert_type(agent.state_path, Path)
    assert_type(await agent.save(), Path)


async def what_was_is_told_in_types() -> None:
    agent = Agent("a", "gpt-4o-mini", output_type=Report, retention=Retention(days=30))
    assert_type(await agent.history(), list[HistoryStep])
    assert_type(await agent.state_at(3), StateView)
    assert_type(await agent.diff(1, 3), StateDiff)
    assert_type(await agent.fork(at=3, agent_name="b", temperature=0.5), Agent[Report])


async def a_spawned_agent_is_a_reference() -> None:
    async with Runtime() as runtime:
        assert_type(runtime, Runtime)
        assert_type(await runtime.spawn(Agent("a", "gpt-4o-mini")), ActorRef[AgentMessage])


class Mine:
    """A model of the user's own needs no base class."""

    @property
    def name(self) -> str:
        return "mine"

    async def prepare(self) -> None: ...

    async def complete(self, request: ModelRequest, *, on_text: object = None) -> ModelReply:
        raise NotImplementedError


class Half:
    """No model: it cannot be asked."""

    @property
    def name(self) -> str:
        return "half"


def a_model_is_what_behaves_like_one() -> None:
    Agent("a", model=Mine(), fallback_models=["gpt-4o-mini", ScriptedModel("x")])
    Agent("a", model=Half())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


def what_cannot_work_is_seen_before_it_runs() -> None:
    Agent("a", "gpt-4o-mini", max_loops="many")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    Agent("a", "gpt-4o-mini", durability="eventually")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    Agent("a", "gpt-4o-mini", no_such_setting=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    Agent("a", "gpt-4o-mini").agent_name = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
