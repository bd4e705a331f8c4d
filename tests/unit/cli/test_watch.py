"""Watching from outside: journals read on, states folded as they grow, and the table."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.commands import agent_of, look, run_once

from overwinter import Runtime
from overwinter.agents import journal_records as journal
from overwinter.agents.models.protocol import Message, ToolCall, Usage
from overwinter.agents.records import StateBody
from overwinter.agents.state import AgentState
from overwinter.agents.swarms import ConcurrentWorkflow
from overwinter.cli.boards import Row, board_lines
from overwinter.cli.watch.glance import Glance
from overwinter.cli.watch.tail import JournalTail
from overwinter.cli.watch.watched import Watchfulness
from overwinter.persistence import AgentFolder, Workspace
from overwinter.persistence.lines import journal_line

if TYPE_CHECKING:
    from pathlib import Path

AT = "2026-01-01T00:00:00+00:00"


def line(sequence: int, text: str = "x") -> bytes:
    return journal_line(sequence, json.dumps({"type": "user_said", "text": text}).encode())


def texts(records: list[bytes] | None) -> list[str] | None:
    return None if records is None else [json.loads(record)["text"] for record in records]


class Growing:
    """A journal that grows a few bytes at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.segment = 1

    def append(self, data: bytes) -> None:
        with (self.folder / f"{self.segment:06}.jsonl").open("ab") as file:
            file.write(data)


class TestTheTail:
    @given(st.data())
    def test_every_record_is_read_once_however_the_file_grows(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        """Y25: a journal that grows under the watcher's eyes, in any pieces and segments, is read once and in order."""
        count = data.draw(st.integers(1, 8))
        at_rest = data.draw(st.integers(0, count))
        journal_dir = Growing(tmp_path_factory.mktemp("tail") / "journal")
        for sequence in range(1, at_rest + 1):
            journal_dir.append(line(sequence, str(sequence)))
        tail = JournalTail(journal_dir.folder, 0)
        found = texts(tail.new_records()) or []
        assert found == [str(sequence) for sequence in range(1, at_rest + 1)]
        for sequence in range(at_rest + 1, count + 1):
            if data.draw(st.booleans()):
                journal_dir.segment += 1
            whole = line(sequence, str(sequence))
            cut = data.draw(st.integers(0, len(whole)))
            journal_dir.append(whole[:cut])
            if data.draw(st.booleans()):
                found += texts(tail.new_records()) or []
            journal_dir.append(whole[cut:])
            if data.draw(st.booleans()):
                found += texts(tail.new_records()) or []
        found += texts(tail.new_records()) or []
        assert found == [str(sequence) for sequence in range(1, count + 1)]

    def test_what_is_written_again_is_passed_over(self, tmp_path: Path) -> None:
        journal_dir = Growing(tmp_path / "journal")
        journal_dir.append(line(1, "a") + line(2, "b"))
        tail = JournalTail(journal_dir.folder, 1)
        assert texts(tail.new_records()) == ["b"]
        journal_dir.segment = 2
        journal_dir.append(line(2, "b") + b"damaged\n" + line(3, "c"))
        assert texts(tail.new_records()) == ["c"]

    def test_a_journal_that_became_shorter_is_begun_anew(self, tmp_path: Path) -> None:
        journal_dir = Growing(tmp_path / "journal")
        journal_dir.append(line(1) + line(2))
        tail = JournalTail(journal_dir.folder, 0)
        tail.new_records()
        (journal_dir.folder / "000001.jsonl").write_bytes(line(1))
        assert tail.new_records() is None
        (journal_dir.folder / "000001.jsonl").unlink()
        assert tail.new_records() is None

    def test_one_that_is_not_there_yet_is_empty(self, tmp_path: Path) -> None:
        tail = JournalTail(tmp_path / "journal", 0)
        assert tail.new_records() == []
        Growing(tmp_path / "journal").append(line(1, "first"))
        assert texts(tail.new_records()) == ["first"]


USAGE = Usage(input_tokens=5, output_tokens=2, cost=0.25, calls=1)
RECORDS: list[journal.JournalRecord] = [
    journal.TaskAccepted(at=AT, run_id="r1", task="t"),
    journal.RunBegan(at=AT, run_id="r1"),
    journal.ModelReplied(
        at=AT,
        message=Message(role="assistant", content="", tool_calls=(ToolCall("c", "look", "{}"),)),
        usage=USAGE,
    ),
    journal.ToolsStarted(at=AT, call_ids=("c",)),
    journal.ToolFinished(at=AT, call_id="c", output="seen"),
    journal.TaskAccepted(at=AT, run_id="r2", task="u"),
    journal.ModelReplied(at=AT, message=Message(role="assistant", content="done"), usage=USAGE),
    journal.RunEnded(at=AT, status="finished", stop_reason="answered"),
    journal.RunBegan(at=AT, run_id="r2"),
    journal.MemberStarted(at=AT, key="1-a", member="a", task="t"),
    journal.MemberStarted(at=AT, key="2-b", member="b", task="t"),
    journal.MemberFinished(at=AT, key="1-a", member="a", text="x", usage=USAGE),
    journal.MemberFailed(at=AT, key="2-b", member="b", error="no"),
    journal.MemberFailed(at=AT, key="2-b", member="b", error="no", skipped=True, usage=USAGE),
    journal.RunEnded(at=AT, status="paused", stop_reason="cost"),
    journal.RunResumed(at=AT, run_id="r2"),
    journal.StartedAnew(at=AT),
]


class TestAGlance:
    def glance(self, tmp_path: Path, kind: str = "agents") -> Glance:
        return Glance(AgentFolder(tmp_path / kind / "a-0123", "a", "id"))

    @pytest.mark.parametrize("count", range(len(RECORDS) + 1))
    def test_it_tells_what_the_fold_of_all_records_does(self, tmp_path: Path, count: int) -> None:
        """Y26: status, run, tokens and cost that are watched are those of the state that the same records fold to."""
        state, glance = AgentState(), self.glance(tmp_path)
        for number, record in enumerate(RECORDS[:count], 1):
            state.apply(record)
            state.sequence = number
        glance.take([journal.encode_record(record) for record in RECORDS[:count]])
        assert (glance.status, glance.run_id) == (state.status, state.run_id)
        assert glance.usage == state.usage
        assert glance.waiting == len(state.accepted)

    def test_it_says_what_is_being_done(self, tmp_path: Path) -> None:
        glance, told = self.glance(tmp_path), []
        for record in RECORDS:
            glance.take([journal.encode_record(record)])
            told.append(glance.doing)
        assert told == [
            "",
            "asks the model",
            "look",
            "look",
            "asks the model",
            "asks the model",
            "asks the model",
            "",
            "asks the model",
            "1-a",
            "2 at work",
            "2-b",
            "2-b",
            "asks the model",
            "cost",
            "asks the model",
            "",
        ]

    def test_it_goes_on_from_a_state(self, tmp_path: Path) -> None:
        """Y26: and so they are when the watcher comes later, and begins with a saved state."""
        state = AgentState()
        for number, record in enumerate(RECORDS[:11], 1):
            state.apply(record)
            state.sequence = number
        glance = self.glance(tmp_path)
        replaced = journal.StateReplaced(
            at=AT, body=msgspec.json.decode(msgspec.json.encode(state.body()), type=StateBody)
        )
        glance.take([journal.encode_record(replaced)])
        assert (glance.status, glance.run_id, glance.usage) == (state.status, state.run_id, state.usage)
        assert glance.doing == "2 at work"
        glance.take([journal.encode_record(RECORDS[11])])
        assert (glance.doing, glance.steps) == ("2-b", 1)

    def test_what_a_later_version_records_is_passed_over(self, tmp_path: Path) -> None:
        glance = self.glance(tmp_path)
        glance.take([b'{"type":"flew_away"}', b"no json", journal.encode_record(RECORDS[1])])
        assert glance.status == "running"


class TestTheWatch:
    def test_a_swarm_is_seen_at_work(self, workspace_dir: Path) -> None:
        """Y27: `watch` shows, of a swarm at work in another process, who does what, and its mailboxes and saves."""
        swarm = ConcurrentWorkflow("pair", [agent_of("left"), agent_of("right")], autosave=True)
        seen: list[dict[str, Any]] = []

        async def story() -> None:
            async with Runtime(workspace_dir) as runtime:
                await runtime.spawn(swarm)
                await swarm.run("Do it.")
                await swarm.save()
                runtime._status._pause = 0.0
                runtime._status._write()
                assert runtime._status._writing is not None
                await runtime._status._writing
                told = await asyncio.to_thread(
                    look, "watch", "pair", "--json", "--workspace", str(workspace_dir)
                )
                seen.extend(json.loads(told.stdout)["rows"])

        asyncio.run(story())
        (row,) = seen
        assert (row["name"], row["pattern"], row["status"]) == ("pair", "ConcurrentWorkflow", "finished")
        assert row["held_by"]["pid"] == os.getpid()
        assert (row["mailbox"], row["steps"]) == (0, 2)
        assert row["saves"] >= 1
        assert [member["name"] for member in row["members"]] == ["left", "right"]

    def test_what_changes_is_seen_at_the_next_look(self, workspace_dir: Path) -> None:
        """Y28: who comes, works and goes while a workspace is watched is there at the next look."""
        watchfulness = Watchfulness(Workspace(workspace_dir))
        assert watchfulness.look() == []
        asyncio.run(run_once(workspace_dir, agent_of("ann")))
        (ann,) = watchfulness.look()
        assert (ann.folder.name, ann.status, ann.glance.steps) == ("ann", "finished", 1)
        asyncio.run(run_once(workspace_dir, agent_of("ann", "x", "y"), agent_of("ben")))
        ann, ben = watchfulness.look()
        assert ben.folder.name == "ben"
        assert ann.glance.run_id
        assert ann.held_by is None

    def test_nobody_is_watched_who_is_not_there(self, workspace_dir: Path) -> None:
        asyncio.run(run_once(workspace_dir, agent_of("ann")))
        told = look("watch", "nobody", "--workspace", str(workspace_dir), code=2).stderr
        assert "there is no agent 'nobody'" in told

    def test_a_reader_that_finds_nothing_half_there_waits(self, workspace_dir: Path) -> None:
        """Y29: a folder that is being made, or that went away, breaks no watch."""
        (workspace_dir / "swarms" / "made-0123").mkdir(parents=True)
        watchfulness = Watchfulness(Workspace(workspace_dir))
        assert watchfulness.look() == []
        (workspace_dir / "swarms" / "made-0123").rmdir()
        assert watchfulness.look() == []


class TestTheTable:
    def rows(self, count: int) -> list[Row]:
        return [
            Row(
                name="press",
                is_swarm=True,
                pattern="SequentialWorkflow",
                status="running",
                doing="1-a",
                steps=1,
            ),
            *(
                Row(
                    name=f"member-{number}",
                    lead="├── ",
                    status="running" if number == 17 else "finished",
                    tokens=12,
                    cost=None,
                )
                for number in range(count)
            ),
        ]

    @pytest.mark.parametrize("width", [30, 50, 80, 120])
    def test_no_line_is_wider_than_the_terminal(self, width: int) -> None:
        """Y30: the table fits the terminal: columns that can be spared go first, and names are cut last."""
        lines = [text.plain for text in board_lines(self.rows(3), width, 40)]
        assert max(map(len, lines)) <= width
        assert lines[0].split()[0] == "name"
        assert ("mailbox" in lines[0]) is (width >= 80)

    def test_those_at_work_come_first_where_there_is_no_room(self) -> None:
        """Y31: where there are more rows than lines, those at work are shown, and how many more there are is said."""
        lines = [text.plain for text in board_lines(self.rows(30), 100, 8)]
        assert len(lines) <= 8
        assert any("member-17" in each for each in lines)
        assert lines[-1] == "and 25 more, 25 of them finished"

    def test_control_characters_are_written_out(self) -> None:
        (_, shown) = board_lines([Row(name="\x1b[2J", doing="\x07")], 80, 10)
        assert "\x1b" not in shown.plain
        assert "\x07" not in shown.plain
