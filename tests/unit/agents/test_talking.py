"""Agents that talk: by name, through topics, and over a board."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.support.disk import UnsyncedDisk, off_loop

from overwinter import Agent, Memory, Runtime, VersionConflict, colleagues
from overwinter.errors import AgentInUse, AskDeadlock
from overwinter.testing import FakeClock, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

call = ScriptedModel.call


class News(msgspec.Struct):
    headline: str


def runtime_in(where: Path, **settings: Any) -> Runtime:
    return Runtime(where, files=UnsyncedDisk(), idle_timeout=None, **settings)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def told(agent: Any) -> list[str]:
    """What the tools have told the agent."""
    return [entry.content for entry in agent.state.conversation if entry.role == "tool"]


def scripted(name: str, *replies: Any, tools: Any = (), session: str = "", **settings: Any) -> Agent[Any]:
    model = ScriptedModel(replies, loop=True)
    return Agent(name, model=model, tools=tools, session=session, autosave=True, **settings)


async def test_an_agent_asks_and_tells_another_by_its_name(workspace_dir: Path) -> None:
    """N22: `ask_colleague` runs the other agent and has its answer; `tell_colleague` leaves it a task and goes on."""
    async with runtime_in(workspace_dir) as runtime:
        runtime.define("editor", lambda name, session: scripted(name, "Shorter!"))
        runtime.define("archive", lambda name, session: scripted(name, "Kept."))
        writer = scripted(
            "writer",
            [
                call("ask_colleague", {"name": "editor", "question": "Is it good?"}),
                call("tell_colleague", {"name": "archive", "message": "A draft."}),
                call("ask_colleague", {"name": "boss", "question": "May I?"}),
            ],
            "Done.",
            tools=colleagues(runtime, "editor", about={"archive": "keeps what it is told"}),
        )
        await runtime.spawn(writer)
        await writer.run("Write.")
        answer, left, unknown = told(writer)
        assert (answer, left) == ("Shorter!", "archive has it.")
        assert "no colleague 'boss'; there are: editor, archive" in unknown
        assert "- archive: keeps what it is told" in writer._profile.toolbox.specs[0].description
        async with runtime.agent("archive").awake() as archive:
            await until(lambda: archive.state.status == "finished")
            assert archive.state.task == "A draft."


async def test_a_call_that_is_repeated_asks_only_once(workspace_dir: Path) -> None:
    """N23: asking and telling is done once for each call of the tool, however often a resumed run repeats it."""
    from overwinter.agents.tools import ToolContext

    asked: list[str] = []

    def reply(request: Any) -> str:
        asked.append(request.messages[-1].content)
        return f"answer {len(asked)}"

    def make(name: str, session: str) -> Agent[Any]:
        return Agent(name, session=session, model=ScriptedModel(reply, loop=True), autosave=True)

    def context(loop: int) -> ToolContext:
        return ToolContext(
            agent_name="writer",
            run_id="r",
            call_id="c",
            loop=loop,
            workspace_dir=workspace_dir,
            memory=Memory(),
        )

    for _ in range(2):
        async with runtime_in(workspace_dir, agents=make) as runtime:
            ask, tell = colleagues(runtime, session="s")
            assert ask.idempotent
            assert tell.idempotent
            assert [await ask("editor", "What?", context(1)) for _ in range(2)] == ["answer 1"] * 2
            for _ in range(2):
                await tell("editor", "Do.", context(2))
            async with runtime.agent("editor", "s").awake() as editor:
                await until(lambda: editor.state.status == "finished")
    assert asked == ["What?", "Do."]


async def test_agents_that_would_wait_for_each_other_are_told(workspace_dir: Path) -> None:
    """N24: agents that ask each other in a circle, in one chain of calls or in two, are told and do not hang."""
    async with runtime_in(workspace_dir) as runtime:
        both = colleagues(runtime, "a", "b")
        gates = {name: ScriptedModel.gate() for name in "ab"}

        def make(name: str, session: str) -> Agent[Any]:
            other = "b" if name == "a" else "a"
            asking = call("ask_colleague", {"name": other, "question": "And you?"})

            def reply(request: Any) -> Any:
                if request.messages[-1].role == "tool":
                    return f"{name} heard: {request.messages[-1].content}"
                if request.messages[-1].content == "Meet.":
                    return [gates[name], asking]
                return asking if request.messages[-1].content != "Stop." else "Stopped."

            return scripted(name, reply, tools=both)

        runtime.define("[ab]", make)
        one = await runtime.agent("a").ask("Begin.")
        assert "would wait for itself" in one
        # Each in a run of its own, at the same moment.
        meeting = [asyncio.create_task(runtime.agent(name).ask("Meet.")) for name in "ab"]
        for gate in gates.values():
            await gate.reached.wait()
        for gate in gates.values():
            gate.open()
        heard = await asyncio.gather(*meeting)
        assert sum("would wait for itself" in text for text in heard) >= 1
        assert runtime.directory.waits._waiting == {}


async def test_an_agent_that_asks_itself(workspace_dir: Path) -> None:
    async with runtime_in(workspace_dir) as runtime:
        errors: list[BaseException] = []

        async def ask_me() -> str:
            """Ask myself."""
            for method in (runtime.agent("a").run, runtime.agent("a").ask):
                try:
                    await method("x")
                except AskDeadlock as error:
                    errors.append(error)
            return await runtime.agent("a").tell("Later.")

        runtime.define("a", lambda name, _: scripted(name, call("ask_me"), "Done.", tools=[ask_me]))
        await runtime.agent("a").run("go")
        assert len(errors) == 2
        async with runtime.agent("a").awake() as agent:
            await until(lambda: agent.state.task == "Later." and agent.status == "finished")


async def test_a_colleague_that_takes_too_long(workspace_dir: Path) -> None:
    clock = FakeClock()
    gate = ScriptedModel.gate()
    async with runtime_in(workspace_dir, clock=clock) as runtime:
        runtime.define("slow", lambda name, session: scripted(name, [gate, "late"]))
        tools = colleagues(runtime, timeout=3.0)
        writer = scripted(
            "writer", call("ask_colleague", {"name": "slow", "question": "?"}), "Done.", tools=tools
        )
        await runtime.spawn(writer)
        running = asyncio.create_task(writer.run("go"))
        await gate.reached.wait()
        await clock.advance(3.0)
        await running
        assert "not answered within 3 s" in told(writer)[0]


async def test_agents_subscribe_to_a_topic(workspace_dir: Path) -> None:
    """N25: an agent that is subscribed to a topic is told each message as a task, asleep or awake."""
    async with runtime_in(workspace_dir, agents=lambda name, _: scripted(name, "Read.")) as runtime:
        spawned = scripted("spawned", "Read.")
        await runtime.spawn(spawned)
        topic = runtime.topic("news")
        await topic.subscribe(runtime.agent("reader"))
        await topic.subscribe(spawned)
        await topic.publish("It snows.")
        await topic.publish(News("It thaws."))
        for name in ("reader", "spawned"):
            async with runtime.agent(name).awake() as agent:
                await until(lambda agent=agent: len(agent.state.runs) == 2)  # type: ignore[misc]
                assert [run.task for run in agent.state.runs] == ["It snows.", '{"headline":"It thaws."}']


async def test_an_agent_that_is_subscribed_twice_is_told_once(workspace_dir: Path) -> None:
    async with runtime_in(workspace_dir) as runtime:
        runtime.define("archive", lambda name, session: scripted(name, "Kept."))
        topic = runtime.topic("news")
        first = await topic.subscribe(runtime.agent("archive"))
        assert await topic.subscribe(runtime.agent("archive")) is first
        other = await topic.subscribe(runtime.agent("archive", session="other"))
        assert other is not first
        await other.cancel()
        assert await topic.publish("Frost!") == 1
        await first.cancel()
        async with runtime.agent("archive").awake() as agent:
            await until(lambda: agent.status == "finished")
            assert [run.task for run in agent.state.runs] == ["Frost!"]


async def test_a_board_is_one_for_all_of_a_runtime_and_no_other(workspace_dir: Path) -> None:
    """N45: a board is opened once in a runtime, and refused to any other as long as that holds it."""
    async with runtime_in(workspace_dir) as runtime:
        first, second = await asyncio.gather(runtime.board("plan"), runtime.board("plan"))
        assert first is second
        await runtime.snapshot("plan", type=int, default=0)
        await first.set("goal", "x")
        async with runtime_in(workspace_dir) as other:
            with pytest.raises(
                AgentInUse, match=r"^board 'plan' is in use by process \d+ .* of another name\.$"
            ):
                await other.board("plan")
            with pytest.raises(AgentInUse, match=r"^snapshot 'plan' is in use by process"):
                await other.snapshot("plan", type=int, default=0)
        assert await off_loop((workspace_dir / "actors").is_dir)
    async with runtime_in(workspace_dir) as other:
        board = await other.board("plan")
        assert board.keys() == ("goal",)


async def test_a_model_reads_and_writes_a_board(workspace_dir: Path) -> None:
    """N46: the tools of a board read and write it; a conflict of versions is told to the model."""
    async with runtime_in(workspace_dir) as runtime:
        board = await runtime.board("plan")
        await board.set("old", {"a": 1})
        writer = scripted(
            "writer",
            call("read_board"),
            call("read_board", {"key": "old"}),
            call("read_board", {"key": "none"}),
            call("write_board", {"key": "new", "value": "x", "expect": 0}),
            call("write_board", {"key": "new", "value": "y", "expect": 0}),
            call("read_board", {"key": "new"}),
            "Done.",
            tools=board.tools(),
        )
        await runtime.spawn(writer)
        await writer.run("go")
        told_it = told(writer)
        assert told_it[0] == "old (version 1)"
        assert told_it[1] == 'version 1\n{"a":1}'
        assert "is not on the board" in told_it[2]
        assert told_it[3] == "version 2"
        assert "has version 2, and none was expected" in told_it[4]
        assert told_it[5] == "version 2\nx"
        await board.delete("new")
        await board.delete("old")
        read, _ = board.tools()
        assert await read() == "Empty."
        with pytest.raises(VersionConflict):
            await board.set("new", 1, expect=2)
