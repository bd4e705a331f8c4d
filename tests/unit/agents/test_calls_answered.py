"""A conversation never carries a tool call without an answer, whatever happened."""

from __future__ import annotations

import itertools
import json
import shutil
import warnings
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import CancelScope
from tests.support.disk import UnsyncedDisk

from overwinter import (
    Agent,
    Message,
    ModelReply,
    ModelRequest,
    OverwinterError,
    RetryPolicy,
    Runtime,
    Tool,
    ToolCall,
    Usage,
    ask_human,
    tool,
)
from overwinter.errors import NothingToResume, OutcomeUnknown, OverwinterWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from overwinter.agents.records import Pending
    from overwinter.events import Event

pytestmark = [pytest.mark.anyio, pytest.mark.allow_blocking]

_SCENARIOS = 40
_LIVES = 6
_NAMES = ("plain", "plain", "plain", "idem", "guarded", "gone", "ask_human", "never_was", "broken")


class Refused(AssertionError):
    """What a provider would answer with HTTP 400."""


def check(messages: Sequence[Message]) -> None:
    """Raise unless each call is answered right behind it, once, and nothing else is."""
    expected: list[str] = []
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id not in expected:
                raise Refused(f"an answer to {message.tool_call_id}, for which nobody asked")
            expected.remove(message.tool_call_id)
        elif expected:
            raise Refused(f"no answer to {expected}")
        else:
            expected = [call.id for call in message.tool_calls]
            if len(set(expected)) < len(expected):
                raise Refused(f"one id for two calls: {expected}")
    if expected:
        raise Refused(f"no answer to {expected}")


class StrictModel:
    """Refuses what a provider would refuse, and otherwise calls tools at random."""

    name = "strict"
    price = None

    def __init__(self, random: Random, world: World) -> None:
        self._random = random
        self._world = world

    async def prepare(self) -> None:
        pass

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        check(request.messages)
        await anyio.lowlevel.checkpoint()
        if on_text is not None:
            on_text("Hm. ")
        await anyio.lowlevel.checkpoint()
        calls: tuple[ToolCall, ...] = ()
        if self._random.random() < 0.7:
            calls = tuple(self._call() for _ in range(self._random.randint(1, 3)))
        return ModelReply(message=Message("assistant", "Hm. ", calls), usage=Usage(calls=1), model=self.name)

    def _call(self) -> ToolCall:
        name = self._random.choice(_NAMES)
        number = next(self._world.numbers)
        # Few ids, so that they come again, in one reply and in later ones.
        id_ = f"call_{self._random.randint(1, 3)}"
        arguments = f'{{"question": "{number}?"}}' if name == "ask_human" else f'{{"number": {number}}}'
        return ToolCall(id_, name, "{" if name == "broken" else arguments)


@tool(idempotent=True)
async def idem(number: int) -> str:
    await anyio.lowlevel.checkpoint()
    return str(number)


class World:
    """What the tools did, over all lives; what a dead process does no longer counts."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.numbers = itertools.count(1)
        self.done: dict[int, int] = {}
        self.life = 0

    def tools(self, *, all_of_them: bool) -> list[Tool[..., Any]]:
        life = self.life

        async def act(number: int) -> str:
            if life == self.life:
                self.done[number] = self.done.get(number, 0) + 1
            for _ in range(self.random.randint(0, 3)):
                await anyio.lowlevel.checkpoint()
            return str(number)

        tools: list[Tool[..., Any]] = [
            Tool(act, name="plain"),
            Tool(act, name="guarded", requires_approval=True),
            Tool(act, name="broken"),
            ask_human,
        ]
        if all_of_them:
            tools.append(Tool(act, name="gone"))
        return [*tools, idem]


class Lives:
    """One agent that is cut off in every way there is, again and again."""

    def __init__(self, seed: int, path: Path) -> None:
        self.random = Random(seed)
        self.world = World(self.random)
        self.path = path / "workspace-0"
        self.copies = itertools.count(1)
        self.died = False

    def agent(self) -> Agent[str]:
        self.world.life += 1
        return Agent(
            "a",
            model=StrictModel(self.random, self.world),
            tools=self.world.tools(all_of_them=self.random.random() < 0.7),
            autosave=True,
            max_loops=self.random.choice((2, 5, "auto")),
            durability=self.random.choice(("async", "sync")),
            on_unknown=self.random.choice(("tell_model", "ask", "raise")),
            retry=RetryPolicy(max_attempts=1),
        )

    async def live(self) -> None:
        self.died = False
        agent = self.agent()
        async with Runtime(self.path, files=UnsyncedDisk(), run_grace=0.0) as runtime:
            await runtime.spawn(agent)
            if self.random.random() < 0.8:
                await self._tolerant(agent.load)
            for _ in range(self.random.randint(2, 5)):
                at = self.random.randint(1, 9)
                how = self.random.choice(("cancel", "cancel()", "die", "pause", "nothing"))
                with CancelScope() as scope:
                    await self._act(runtime, agent, scope, at, how)
                if self.died:
                    return

    async def _act(self, runtime: Runtime, agent: Agent[str], scope: CancelScope, at: int, how: str) -> None:
        """One call of the agent that is disturbed at its ``at``-th event."""
        events = itertools.count(1)

        def on_event(_: Event) -> None:
            if next(events) != at:
                return
            if how == "cancel":
                scope.cancel()
            elif how == "cancel()":
                tasks.start_soon(self._tolerant, agent.cancel)
            elif how == "pause":
                tasks.start_soon(self._tolerant, agent.pause)
            elif how == "die":
                self.path = copied(self.path, self.path.with_name(f"workspace-{next(self.copies)}"))
                self.world.life += 1
                self.died = True
                scope.cancel()

        async with anyio.create_task_group() as tasks:
            unwatch = runtime.watch(on_event)
            try:
                await self._tolerant(partial(self._one_of, agent))
            finally:
                unwatch()

    async def _one_of(self, agent: Agent[str]) -> None:
        unfinished = agent.state.status in ("paused", "interrupted", "failed")
        action = self.random.choice(
            ("resume", "resume", "decide", "leave", "foreign") if unfinished else ("run",)
        )
        if action == "run":
            await agent.run("go")
        elif action == "resume":
            await agent.resume(max_loops=agent.state.loop_count + 2)
        elif action == "decide":
            for one in agent.pending():
                await self._tolerant(partial(self._decide, agent, one))
            await agent.resume()
        elif action == "leave":
            await agent.cancel()
            await agent.run("another")
        else:
            other = Agent("b", model=StrictModel(self.random, self.world), tools=[ask_human])
            await other.load(await agent.save())
            check_or_open(other)
            await other.run("go on", queue=True) if other.state.status != "paused" else await other.resume()

    async def _decide(self, agent: Agent[str], one: Pending) -> None:
        decision = self.random.choice(("approve", "approve", "deny", "answer"))
        if decision == "approve":
            if one.kind == "unknown" and one.tool != "broken":
                # Whoever approves of it says that it did not happen.
                self.world.done.pop(json.loads(one.arguments)["number"], None)
            await agent.approve(one.call_id)
        elif decision == "deny":
            await agent.deny("no", one.call_id)
        else:
            await agent.answer("so", one.call_id)

    @staticmethod
    async def _tolerant(what: Callable[[], Any]) -> None:
        with suppress(OverwinterError), warnings.catch_warnings():
            warnings.simplefilter("ignore", OverwinterWarning)
            await what()


def check_or_open(agent: Agent[str]) -> None:
    """What is open stands at the end."""
    conversation = agent.state.conversation
    last = max((at for at, entry in enumerate(conversation) if entry.role != "tool"), default=0)
    check(conversation[:last])


def copied(workspace: Path, copy: Path) -> Path:
    """The workspace as it would be if the process died now: documents, then logs, then journals, as records move."""
    ignore = shutil.ignore_patterns
    if not workspace.exists():
        return copy
    shutil.copytree(workspace, copy, ignore=ignore(".runtimes", "journal", "*.tmp"))
    if (workspace / ".runtimes").exists():
        shutil.copytree(workspace / ".runtimes", copy / ".runtimes")
    for journal in workspace.glob("agents/*/journal"):
        shutil.copytree(journal, copy / journal.relative_to(workspace), dirs_exist_ok=True)
    return copy


@pytest.mark.parametrize("seed", range(_SCENARIOS))
async def test_no_request_carries_a_call_without_an_answer(seed: int, tmp_path: Path) -> None:
    """Q19: no request carries a call without an answer, or an answer without its call, whatever happened before."""
    lives = Lives(seed, tmp_path)
    for _ in range(_LIVES):
        await lives.live()
    agent = lives.agent()
    async with Runtime(lives.path, files=UnsyncedDisk()) as runtime:
        await runtime.spawn(agent)
        with suppress(OverwinterError):
            await agent.load()
        check_or_open(agent)
        while agent.status not in ("idle", "finished"):
            for one in agent.pending():
                await agent.deny("enough", one.call_id)
            with suppress(NothingToResume, OutcomeUnknown):
                await agent.resume(max_loops=1000)
        check(agent.state.conversation)
    assert not {number: times for number, times in lives.world.done.items() if times > 1}
