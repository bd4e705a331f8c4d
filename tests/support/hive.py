"""Twenty agents to be killed: models and tools that write all they do into a ledger, and lives that a test can end.

A life is a process that loads what stands in a workspace, resumes what was cut off and goes on to new tasks, for
ever or until all is finished. It says through its pipe what was acknowledged to it::

    ["born", pid]  ["up", None]                     the process is there; all agents are claimed
    ["saw", [agent, [nonce, ...]]]                  a model was shown these replies and tool results
    ["returned", [agent, run_id, nonce]]            a run ended with this reply
    ["saved", [agent, [nonce, ...]]]                save() returned, and these had been said before it was called
    ["hit", point]                                  the process dies at this point, by itself
    ["trouble", text]                               something came up that must not
    ["died", code]                                  the process is gone
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import itertools
import os
import random
import re
import time
import traceback
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio
import msgspec
from tests.support import deadly, sabotage
from tests.support.ledger import Entry, Ledger
from tests.support.processes import assert_well_formed, hear, say, temporaries

from overwinter import Agent, Message, ModelReply, Runtime, ToolCall, ToolContext, Usage, events, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from overwinter import ModelRequest
    from overwinter.persistence import FileOperations

__all__ = ["AGENTS", "NONCES", "LeftOut", "Level", "Life", "lives", "nonces_in"]

AGENTS = 20
#: A reply says ``reply:{key}:{nonce}``, a tool's result ``result:{call_id}:{nonce}``.
NONCES = re.compile(r"\b(?:reply|result):[\w.-]+:(\w+)")

Level: TypeAlias = Literal["exit", "async", "sync"]
LeftOut: TypeAlias = Literal["", "start records", "waiting for the disk"]

_SHOWN = 24  # nonces in one word, which has to fit into one write to a pipe

#: The ledger of this process.
_ledger: Ledger


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """One process, from its birth to its death.

    :ivar finish: end in good order, when all that was begun and one task more has ended and is saved.
    :ivar stream: stream the new tasks.
    :ivar only_come_up: end, with no good order at all, when all agents are claimed.
    :ivar die_at_event: die when the so-many-th event is published; ``die_at_operation`` when so many operations that
        change something on the disk are done, or half done; where ``of_kind`` is given, so many of that kind.
    :ivar without: what is to be left out of overwinter, so that a check is seen to fail.
    """

    workspace: str
    ledger: str
    durability: Level
    seed: int
    finish: bool = False
    stream: bool = False
    only_come_up: bool = False
    die_at_event: int = 0
    die_at_operation: int = 0
    of_kind: str = ""
    agents: int = AGENTS
    without: LeftOut = ""


def nonces_in(messages: Sequence[Message]) -> list[str]:
    """The nonces of all replies and results among the messages."""
    return [nonce for message in messages for nonce in NONCES.findall(message.content)]


def nonce() -> str:
    return os.urandom(6).hex()


class LedgerModel:
    """A model that decides by what was said so far alone, so that it can be asked by any process at any step.

    A task ``task 7`` takes two to four steps, each but the last with one to three tool calls.
    """

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.name = "ledger"

    async def prepare(self) -> None:
        pass

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        messages = list(request.messages)
        key = hashlib.sha1(msgspec.json.encode([self.agent, messages])).hexdigest()[:16]
        mine = nonce()
        try:
            assert_well_formed(messages)
        except AssertionError as error:
            _ledger.write(Entry("wrong", self.agent, str(error), mine))
        begin = max(index for index, message in enumerate(messages) if message.content.startswith("task "))
        say("saw", [self.agent, nonces_in(messages[begin:])[-_SHOWN:]])
        _ledger.write(Entry("asked", self.agent, key, mine))
        for piece in ("Thinking", " aloud.") if on_text is not None else ():
            on_text(piece)  # type: ignore[misc]
            await asyncio.sleep(0)
        await asyncio.sleep(random.random() * 0.004)
        _ledger.write(Entry("answered", self.agent, key, mine))
        step = sum(message.role == "assistant" for message in messages[begin:])
        calls = _calls(self.agent, messages[begin].content.removeprefix("task "), step, mine)
        message = Message(role="assistant", content=f"reply:{key}:{mine}", tool_calls=calls)
        return ModelReply(message, Usage(calls=1, input_tokens=len(messages), output_tokens=1, cost=0.0))


def _calls(agent: str, task: str, step: int, mine: str) -> tuple[ToolCall, ...]:
    chance = random.Random(f"{agent} {task} {step}")
    if step >= random.Random(f"{agent} {task}").randrange(1, 4):
        return ()
    names = chance.choices(
        ["charge", "charge_in_a_thread", "look", "look_in_a_thread"], k=chance.randrange(1, 4)
    )
    return tuple(
        ToolCall(
            f"{mine}-{slot}", name, msgspec.json.encode({"what": f"{agent}.{task}.{step}.{slot}"}).decode()
        )
        for slot, name in enumerate(names)
    )


def _effect(what: str, context: ToolContext, *, repeatable: bool) -> Entry:
    entry = Entry("began", context.agent_name, what, nonce(), context.call_id, repeatable)
    _ledger.write(entry)
    return entry


def _end(entry: Entry) -> str:
    _ledger.write(msgspec.structs.replace(entry, kind="ended"))
    return f"result:{entry.id}:{entry.nonce}"


async def _acts(what: str, context: ToolContext, *, repeatable: bool) -> str:
    entry = _effect(what, context, repeatable=repeatable)
    await asyncio.sleep(random.random() * 0.006)
    return _end(entry)


def _acts_in_a_thread(what: str, context: ToolContext, *, repeatable: bool) -> str:
    entry = _effect(what, context, repeatable=repeatable)
    time.sleep(random.random() * 0.006)
    return _end(entry)


@tool
async def charge(what: str, context: ToolContext) -> str:
    """Do what must not be done twice."""
    return await _acts(what, context, repeatable=False)


@tool
def charge_in_a_thread(what: str, context: ToolContext) -> str:
    """Do what must not be done twice."""
    return _acts_in_a_thread(what, context, repeatable=False)


@tool(idempotent=True)
async def look(what: str, context: ToolContext) -> str:
    """Do what may be repeated."""
    return await _acts(what, context, repeatable=True)


@tool(idempotent=True)
def look_in_a_thread(what: str, context: ToolContext) -> str:
    """Do what may be repeated."""
    return _acts_in_a_thread(what, context, repeatable=True)


def lives() -> None:
    """A program: for each life that it hears of, a process that lives it."""
    # Collected memory is written to by no child, so that a fork stays cheap.
    gc.freeze()
    while word := hear():
        life = msgspec.json.decode(word, type=Life)
        pid = os.fork()
        if pid == 0:
            _live(life)
        _, status = os.waitpid(pid, 0)
        say("died", os.waitstatus_to_exitcode(status))


def _live(life: Life) -> None:
    global _ledger
    say("born", os.getpid())
    code = 1
    try:
        random.seed(life.seed)
        _ledger = Ledger(Path(life.ledger))
        asyncio.run(_swarm(life))
        code = 0
    except BaseException:
        say("trouble", traceback.format_exc()[-3000:])
    finally:
        os._exit(code)


async def _swarm(life: Life) -> None:
    async with Runtime(life.workspace, files=_disk(life)) as runtime:
        if life.die_at_event:
            runtime.watch(deadly.Watcher(life.die_at_event))
        agents = [_agent(number, life) for number in range(life.agents)]
        for agent in agents:
            await runtime.spawn(agent)
        if left := temporaries(Path(life.workspace)):
            say("trouble", f"left behind, although every agent is open: {left}")
        say("up")
        if life.only_come_up:
            os._exit(0)
        async with anyio.create_task_group() as tasks:
            if not life.finish:
                for agent in agents[::4]:
                    tasks.start_soon(_save_now_and_then, agent)
            await _resume(runtime)
            for agent in agents:
                tasks.start_soon(_work, agent, life)
    say("done")


def _agent(number: int, life: Life) -> Agent[str]:
    name = f"bee-{number}"
    return Agent(
        name,
        model=LedgerModel(name),
        tools=[charge, charge_in_a_thread, look, look_in_a_thread],
        max_loops="auto",
        autosave=True,
        durability=life.durability,
    )


async def _work(agent: Agent[str], life: Life) -> None:
    finished = {run.run_id for run in agent.state.runs if run.status == "finished"}
    if agent.state.status not in ("idle", "finished") or agent.state.accepted:
        say("trouble", f"resume_all() left {agent.agent_name} {agent.state.status}, {agent.state.accepted}")
    for number in itertools.count():
        run_id = f"{agent.agent_name}.{number}"
        if run_id in finished:
            continue
        say("returned", [agent.agent_name, run_id, await _do(agent, f"task {number}", run_id, life)])
        if life.finish:
            await _save(agent)
            return


async def _do(agent: Agent[str], task: str, run_id: str, life: Life) -> str:
    """Run it; the nonce of the reply with which it ended."""
    if not life.stream:
        return str(NONCES.findall((await agent.run(task, run_id=run_id)).text)[-1])
    async with aclosing(agent.stream(task, run_id=run_id)) as told:
        async for event in told:
            if isinstance(event, events.RunEnded):
                return str(NONCES.findall(event.result.text)[-1])
    raise AssertionError("a stream ended without RunEnded")


async def _resume(runtime: Runtime) -> None:
    for agent_id, outcome in (await runtime.resume_all()).items():
        if isinstance(outcome, Exception):
            say("trouble", f"resuming {agent_id}: {outcome!r}")
        else:
            say("returned", [outcome.agent_name, outcome.run_id, NONCES.findall(outcome.text)[-1]])


async def _save(agent: Agent[str]) -> None:
    said = nonces_in(agent.state.conversation)[-_SHOWN:]
    await agent.save()
    say("saved", [agent.agent_name, said])


async def _save_now_and_then(agent: Agent[str]) -> None:
    while True:
        # It has to be loaded first: a save of a fresh object would begin a new conversation.
        if agent.state.conversation:
            await _save(agent)
        await asyncio.sleep(random.random() * 0.02)


def _disk(life: Life) -> FileOperations | None:
    if life.die_at_operation:
        return deadly.DeadlyDisk(life.die_at_operation, life.of_kind)
    return sabotage.leave_out(life.without) if life.without else None
