"""What a hostile but fair user did, and what has survived it since."""

from __future__ import annotations

import asyncio
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from anyio import to_thread

from overwinter import Agent, AgentPaused, Retention, RunInterrupted, Runtime, tool
from overwinter.agents.saving import Saving
from overwinter.errors import StaleState, UnfinishedRun
from overwinter.persistence.files import FileOperations
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

call, gate = ScriptedModel.call, ScriptedModel.gate


def keeper(workspace_dir: Path, *replies: Any, **options: Any) -> Agent[Any]:
    model = ScriptedModel(replies, name="scripted")
    return Agent("keeper", model=model, workspace_dir=workspace_dir, **{"autosave": True, **options})


async def died(workspace_dir: Path) -> Path:
    """The workspace as it is now, of a process that was killed at this moment."""
    copy = workspace_dir.with_name("died")
    skip = shutil.ignore_patterns("*.tmp")
    await to_thread.run_sync(lambda: shutil.copytree(workspace_dir, copy, ignore=skip))
    return copy


async def killed_within(workspace_dir: Path, run_id: str, *replies: Any, **options: Any) -> Path:
    """The workspace of a process that was killed while its agent's model was asked for the last time."""
    stop = gate("late")
    agent = keeper(workspace_dir, *replies, [stop], **options)
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        running = asyncio.create_task(agent.run("count", run_id=run_id))
        await stop.reached.wait()
        assert runtime.statistics().persistence.records
        await agent._member.saving.certain()  # type: ignore[union-attr]
        left = await died(workspace_dir)
        stop.open()
        await running
    return left


async def test_a_run_that_died_is_known_after_another_one(workspace_dir: Path) -> None:
    """V1: a run whose process died stays known when the agent is loaded and runs something else first."""
    left = await killed_within(workspace_dir, "first")
    agent = keeper(left, "second", "first, late")
    await agent.load()
    await agent.run("another")
    assert (agent.state.runs[0].run_id, agent.state.runs[0].status) == ("first", "interrupted")

    later = keeper(left, "first, late")
    await later.load()
    assert [run.run_id for run in later.state.runs] == [run.run_id for run in agent.state.runs]
    assert str(await later.resume("first")) == "first, late"
    assert str(await later.run("count", run_id="first")) == "first, late"


async def test_a_cancelled_resume_leaves_an_accepted_task_accepted(workspace_dir: Path) -> None:
    """V2: cancelling the resume that was about to begin an accepted task leaves the task accepted, or begun."""
    for turns in range(6):
        root = workspace_dir / str(turns)
        stop = gate("one")
        agent = keeper(root, [stop], "two")
        async with Runtime(root, run_grace=0.0) as runtime:
            await runtime.spawn(agent)
            first = asyncio.create_task(agent.run("first"))
            await stop.reached.wait()
            second = asyncio.create_task(agent.run("second", run_id="second"))
            while not agent._state.accepted:
                await asyncio.sleep(0)
            await runtime.stop(agent)
            await asyncio.gather(first, second, return_exceptions=True)
        again = keeper(root, "one", "two")
        async with Runtime(root) as runtime:
            await runtime.spawn(again)
            await again.load()
            await again.resume()
            resuming = asyncio.create_task(again.resume())
            for _ in range(turns):
                await asyncio.sleep(0)
            resuming.cancel()
            await asyncio.gather(resuming, return_exceptions=True)
            known = {task.run_id for task in again._state.accepted} | {run.run_id for run in again.state.runs}
            assert "second" in known, turns


async def test_pause_and_cancel_reach_a_run_that_is_about_to_begin(workspace_dir: Path) -> None:
    """V3: pause and cancel hold for a run that was accepted and has not quite begun."""
    async with Runtime(workspace_dir) as runtime:
        paused = keeper(workspace_dir, *["more"] * 5, max_loops=5)
        await runtime.spawn(paused)
        running = asyncio.create_task(paused.run("count"))
        await asyncio.sleep(0)
        await paused.pause()
        assert (await running).stop_reason == "pause"
        cancelled = keeper(workspace_dir, *["more"] * 5, max_loops=5, session="two")
        await runtime.spawn(cancelled)
        running = asyncio.create_task(cancelled.run("count"))
        await asyncio.sleep(0)
        await cancelled.cancel()
        assert cancelled.status == "interrupted"
        with pytest.raises(RunInterrupted):
            await running


async def test_what_only_a_dead_log_tells_is_found(workspace_dir: Path) -> None:
    """V4: load() without autosave, and interrupted() of a runtime that was open already, know what a process that
    died had only in its log."""

    @tool(idempotent=True)
    async def add(number: int) -> str:
        return f"added {number}"

    replies = ["an answer " * 20_000, *(call("add", {"number": number}) for number in range(4))]
    talk = keeper(workspace_dir, replies[0], tools=[add])
    await talk.run("say much")
    steps = replies[1:]
    stop = gate("late")
    agent = keeper(workspace_dir, *steps, [stop], tools=[add])
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        await agent.load()
        running = asyncio.create_task(agent.run("count", run_id="count"))
        await stop.reached.wait()
        await agent._member.saving.certain()  # type: ignore[union-attr]
        left = await died(workspace_dir)
        stop.open()
        await running

    unsaved = keeper(
        await to_thread.run_sync(shutil.copytree, left, left.with_name("other")),
        "x",
        tools=[add],
        autosave=False,
    )
    await unsaved.load()
    assert len(unsaved.state.tool_results) == len(steps)

    runtimes, hidden = left / ".runtimes", left.with_name("hidden")
    await to_thread.run_sync(runtimes.rename, hidden)
    async with Runtime(left) as late:
        assert not await late.interrupted()
        await to_thread.run_sync(lambda: [each.rename(runtimes / each.name) for each in hidden.iterdir()])
        assert [found.run_id for found in await late.interrupted()] == ["count"]


async def test_an_unsaved_agent_does_not_overwrite_what_others_wrote(workspace_dir: Path) -> None:
    """V5: save() of an agent that was loaded without autosave raises StaleState when somebody wrote since."""
    await keeper(workspace_dir, "one").run("first")
    reader = keeper(workspace_dir, "x", autosave=False)
    await reader.load()
    writer = keeper(workspace_dir, "two")
    await writer.load()
    await writer.run("second")
    with pytest.raises(StaleState, match="load"):
        await reader.save()
    await reader.load()
    await reader.save()
    last = keeper(workspace_dir)
    await last.load()
    assert [entry.content for entry in last.state.conversation] == ["first", "one", "second", "two"]


async def test_a_foreign_state_takes_nobodys_conversation_away(workspace_dir: Path) -> None:
    """V6: load(path) of another state keeps the conversation that stands in the agent's files, whoever wrote it."""
    other = Agent("other", model=ScriptedModel(["x"]), autosave=True, workspace_dir=workspace_dir)
    await other.run("something else")
    await other.save()
    await keeper(workspace_dir, "one").run("first", run_id="first")
    agent = keeper(workspace_dir, "new", "never")
    await agent.load()
    writer = keeper(workspace_dir, "two")
    await writer.load()
    await writer.run("second", run_id="second")
    await agent.load(other.state_path)
    await agent.run("go on")
    await agent.load()
    assert str(await agent.run("second", run_id="second")) == "two"

    alone = keeper(workspace_dir, "last", "never", session="alone")
    await alone.run("mine", run_id="mine")
    await alone.load()
    await alone.load(other.state_path)
    assert str(await alone.run("mine", run_id="mine")) == "last"


def remove_states(workspace_dir: Path) -> None:
    for path in workspace_dir.rglob("keeper_state.json*"):
        path.unlink()


async def test_a_load_that_is_cancelled_beside_a_run_forgets_nothing(workspace_dir: Path) -> None:
    """V9: when a fresh agent's load is cancelled and a run goes on, what stood in its files is kept all the same."""
    for turns in range(40):
        root = workspace_dir / str(turns)
        await keeper(root, "one").run("first", run_id="first")
        agent = keeper(root, "two", "never")
        loading = asyncio.create_task(agent.load())
        await asyncio.sleep(0)
        running = asyncio.create_task(agent.run("second"))
        for _ in range(turns // 2):
            await (asyncio.sleep(0) if turns % 2 else to_thread.run_sync(int))
        loading.cancel()
        await asyncio.gather(loading, running, return_exceptions=True)
        assert str(running.result()) == "two"
        assert str(await agent.run("first", run_id="first")) == "one", turns


class SlowHistory(FileOperations):
    """Waits before it makes the folder of earlier conversations."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()

    def mkdir(self, path: Path) -> None:
        if path.name == "history":
            self.reached.set()
            assert self.go_on.wait(30)
        super().mkdir(path)


@pytest.mark.parametrize("taken_up_by", ["run", "load"])
async def test_the_journal_alone_tells_what_was_taken_up_beside_a_save(
    workspace_dir: Path, taken_up_by: str
) -> None:
    """V7: when an earlier conversation is taken up while a save keeps it, the journal alone still tells everything."""
    left = await killed_within(workspace_dir, "first")
    files = SlowHistory()
    agent = keeper(left, "late", "later")
    async with Runtime(left, files=files) as runtime:
        await runtime.spawn(agent)
        saving = asyncio.create_task(agent.save())
        await to_thread.run_sync(files.reached.wait)
        taking = asyncio.create_task(
            agent.run("count", run_id="first") if taken_up_by == "run" else agent.load()
        )
        for _ in range(20):
            await asyncio.sleep(0)
        files.go_on.set()
        await asyncio.gather(saving, taking)
        await agent.run("again")
    await to_thread.run_sync(remove_states, left)
    later = keeper(left)
    await later.load()
    told, known = later.state.conversation, agent.state.conversation
    assert [entry.content for entry in told] == [entry.content for entry in known]
    assert known[0].content == "count"


async def test_a_thread_may_remember_while_its_agent_is_stopped(
    workspace_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V8: what a tool's thread remembers while its agent is stopped is recorded on the event loop."""
    threads: set[int] = set()
    agent = keeper(workspace_dir, "one")
    close = Saving.aclose

    async def slowly(saving: Saving) -> None:
        keep = agent._state.keep
        assert keep is not None

        def seen(record: Any) -> None:
            threads.add(threading.get_ident())
            keep(record)

        agent._state.keep = seen
        await to_thread.run_sync(agent.memory.set, "place", "thread")
        await close(saving)

    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        await agent.run("begin")
        monkeypatch.setattr(Saving, "aclose", slowly)
    assert threads == {threading.get_ident()}
    later = keeper(workspace_dir)
    await later.load()
    assert later.memory.get("place") == "thread"


async def test_an_older_run_that_was_resumed_and_cut_off_is_the_one_to_resume(workspace_dir: Path) -> None:
    """V11: what is unfinished names the run that was under way last, also if it had been resumed behind others."""
    stop = gate("late")
    agent = keeper(workspace_dir, gate("never"), "second", [stop])
    async with Runtime(workspace_dir, run_grace=0.0) as runtime:
        await runtime.spawn(agent)
        first = asyncio.create_task(agent.run("first", run_id="first"))
        while agent.status != "running":
            await asyncio.sleep(0)
        await agent.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await agent.run("second", run_id="second")
        resuming = asyncio.create_task(agent.resume("first"))
        await stop.reached.wait()
        await agent._member.saving.certain()  # type: ignore[union-attr]
        left = await died(workspace_dir)
        stop.open()
        await resuming
    async with Runtime(left) as later:
        assert [(found.run_id, found.status) for found in await later.interrupted()] == [
            ("first", "interrupted")
        ]


async def test_whoever_only_reads_makes_nobody_stale(workspace_dir: Path) -> None:
    """V12: an agent that took over another state is not stale because somebody loaded what stands in its files."""
    other = Agent("other", model=ScriptedModel(["x"] * 3), autosave=True, workspace_dir=workspace_dir)
    for _ in range(3):
        await other.run("something else")
    await other.save()
    agent = keeper(workspace_dir, "mine", "never")
    await agent.run("my task", run_id="mine")
    await agent.load(other.state_path)
    await keeper(workspace_dir).load()
    assert str(await agent.run("my task", run_id="mine")) == "mine"
    await agent.save()


async def test_what_retention_drops_does_not_come_back(workspace_dir: Path) -> None:
    """V10: retention drops only what is in the journal for good, so that it is not missed, and not written again."""
    answer = "an answer " * 10_000
    agent = keeper(workspace_dir, *[answer] * 60, retention=Retention(bytes=1))
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        for number in range(60):
            await agent.run(f"task {number}")
            await agent._member.saving.gather()  # type: ignore[union-attr]
        await runtime.stop(agent)
        assert not runtime.statistics().persistence.failures
    sizes = await to_thread.run_sync(segment_sizes, agent.workspace_dir)
    assert len(sizes) < 5
    assert max(sizes) < 2 << 20


def segment_sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in (folder / "journal").glob("*.jsonl")]


async def test_a_fresh_agent_says_what_it_leaves_behind(workspace_dir: Path) -> None:
    """V1: a fresh agent that runs something else leaves the run that died in history, where its id is found."""
    left = await killed_within(workspace_dir, "first")
    agent = keeper(left, "another", "first, late")
    with pytest.warns(UnfinishedRun):
        await agent.run("another")
    assert str(await agent.run("count", run_id="first")) == "first, late"


async def test_a_run_that_waits_for_a_person_is_not_left_for_an_older_one(workspace_dir: Path) -> None:
    """V13: an older run is not resumed over one that waits for a person, whose question would be answered unasked."""
    paid: list[str] = []

    @tool(requires_approval=True)
    async def pay() -> str:
        paid.append("paid")
        return "paid"

    stop = gate("late")
    agent = keeper(workspace_dir, [stop], call("pay"), "paid, done", "older, done", tools=[pay])
    running = asyncio.create_task(agent.run("old", run_id="old"))
    await stop.reached.wait()
    running.cancel()
    await asyncio.wait([running])
    assert (await agent.run("new", run_id="new")).status == "paused"
    with pytest.raises(AgentPaused):
        await agent.resume("old")
    with pytest.raises(AgentPaused):
        await agent.run("old", run_id="old")
    assert [waiting.tool for waiting in agent.pending()] == ["pay"]
    await agent.approve()
    assert str(await agent.resume()) == "paid, done"
    assert str(await agent.resume("old")) == "older, done"
    assert paid == ["paid"]


async def test_a_fork_does_not_do_what_was_accepted_by_the_other_a_second_time(workspace_dir: Path) -> None:
    """V14: tasks that an agent accepted and has not begun are its own; a fork of it does not do them too."""
    stop = gate("late")
    agent = keeper(workspace_dir, [stop], "two")
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        first = asyncio.create_task(agent.run("1"))
        await stop.reached.wait()
        second = asyncio.create_task(agent.run("2", run_id="second"))
        while not agent.state.accepted:
            await asyncio.sleep(0)
        fork = await agent.fork(agent_name="fork")
        assert fork.state.accepted == ()
        stop.open()
        await asyncio.gather(first, second)
