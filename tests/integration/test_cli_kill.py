"""The command and kill -9: the demo that pulls its own plug, and runs that other processes finish."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import (
    PATIENCE,
    demo_with_files_of,
    environment,
    long_documents,
    run,
    started,
)

from overwinter.cli.demo.ledger import digest_of_reply
from overwinter.cli.inspection import inspect_workspace
from overwinter.persistence import Workspace

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")

PROGRAM = """
import asyncio, os, sys
from overwinter import Agent, Runtime, tool
from overwinter.agents.models.offline import OfflineModel
from overwinter.testing import ScriptedModel

call = ScriptedModel.call
FIRST = os.environ.get("FIRST")


def did(what):
    fd = os.open("did.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{what}\\n".encode())
    os.close(fd)


@tool
async def send(number: int) -> str:
    "Send, once."
    did(f"send {number}")
    if number == 2 and FIRST:
        print("in the air", flush=True)
        await asyncio.sleep(60)
    return "sent"


@tool(idempotent=True)
async def fetch(number: int) -> str:
    "Fetch, as often as need be."
    did(f"fetch {number}")
    if number == 9 and FIRST:
        print("in the air", flush=True)
        await asyncio.sleep(60)
    return "fetched"


def sender(name="sender"):
    first = [[call("send", {"number": 1})], [call("send", {"number": 2}), call("fetch", {"number": 9})]]
    model = ScriptedModel(first if FIRST else ["All is sent."])
    return Agent(name, model=model, tools=[send, fetch], autosave=True)


class Slow(OfflineModel):
    async def complete(self, request, *, on_text=None):
        await asyncio.sleep(60)


async def main():
    plain = Agent("plain", "offline", model=Slow(), autosave=True)
    async with Runtime() as runtime, asyncio.TaskGroup() as tasks:
        agent = sender()
        await runtime.spawn(agent)
        await runtime.spawn(plain)
        tasks.create_task(plain.run("Bees keep honey. They dance."))
        await plain.save()
        tasks.create_task(agent.run("Send."))


if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def killed(folder: Path) -> subprocess.CompletedProcess[str]:
    """One demo, which kills itself."""
    return run(folder, "demo")


def ledger_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / "agent_workspace" / "demo_ledger.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestTheDemoPullsItsOwnPlug:
    def test_it_is_killed_and_goes_on(self, killed: subprocess.CompletedProcess[str]) -> None:
        """T35: in the middle its process is killed with SIGKILL, another goes on, and the report is written."""
        assert (killed.returncode, killed.stderr) == (0, "")
        lines = killed.stdout.splitlines()
        kill = next(number for number, line in enumerate(lines) if line.startswith("⚡ kill -9 "))
        assert re.fullmatch(
            r"⚡ kill -9 \d+: note_finding of reader-\S+ was done and had not returned", lines[kill]
        )
        assert lines[kill + 1].startswith("▶ started again as process ")
        assert any(": goes on after " in line for line in lines[kill + 2 :])
        assert "The report is in " in killed.stdout

    def test_the_ledger_agrees(self, killed: subprocess.CompletedProcess[str]) -> None:
        """T36: at the end three lines say, by the ledger, that nothing recorded was lost or repeated."""
        shown = killed.stdout.partition("What the ledger says")[2].splitlines()
        found = re.match(
            r"  ✓ (\d+) model replies on record at the kill: none lost, none asked for again", shown[1]
        )
        assert found is not None
        assert int(found[1]) > 5
        assert re.match(r"  ✓ \d+ tool results on record at the kill: none lost, none done again", shown[2])
        assert re.match(r"  ✓ note_finding of reader-\S+( and \d+ more)?, in mid-air .*done once", shown[3])

    def test_the_ledger_itself_says_so(self, folder: Path, killed: subprocess.CompletedProcess[str]) -> None:
        """T36: every reply in the final states was answered once, by the ledger, and each note was written once."""
        entries = ledger_of(folder)
        assert {entry["part"] for entry in entries} == {1, 2}
        assert len({entry["pid"] for entry in entries}) == 2
        answers = Counter(
            (entry["agent"], entry["reply"]) for entry in entries if entry["what"] == "answered"
        )
        recorded: list[tuple[str, str]] = []
        for one in inspect_workspace(Workspace(folder / "agent_workspace")):
            assert one.state is not None
            said = [entry for entry in one.state[1].conversation if entry.role == "assistant"]
            recorded += [(one.folder.name, digest_of_reply(entry)) for entry in said]
        assert len(recorded) == len(set(recorded)) > 40
        assert set(recorded) <= answers.keys()
        # What was asked for again was never recorded: its first answer is in nobody's state.
        asked = Counter((entry["agent"], entry["request"]) for entry in entries if entry["what"] == "asked")
        twice = sum(count - 1 for count in asked.values())
        assert sum(answers.values()) - len(recorded) <= twice <= 6
        notes = Counter((e["agent"], e["call"]) for e in entries if e.get("tool") == "note_finding")
        assert set(notes.values()) == {1}
        # Its line in the file comes before that in the ledger, and the kill between the two.
        written = Counter(
            (path.parent.name.rpartition("-")[0], json.loads(line)["call"])
            for path in (folder / "agent_workspace" / "agents").glob("*/findings.jsonl")
            for line in path.read_text().splitlines()
        )
        assert set(written.values()) == {1}
        assert notes.keys() <= written.keys()

    def test_nothing_is_left_to_mend(self, folder: Path, killed: subprocess.CompletedProcess[str]) -> None:
        """T35: afterwards every file is sound, and no dead process's log is left."""
        assert run(folder, "verify").stdout.endswith(" records checked: sound\n")
        assert list((folder / "agent_workspace" / ".runtimes").iterdir()) == []

    def test_without_the_kill_the_report_is_the_same(
        self, folder: Path, tmp_path: Path, killed: subprocess.CompletedProcess[str]
    ) -> None:
        """T37: the report is the same, byte for byte, as without the kill."""
        quiet = run(tmp_path, "demo", "--no-kill")
        assert (quiet.returncode, quiet.stderr) == (0, "")
        assert "kill -9" not in quiet.stdout
        assert "What the ledger says" not in quiet.stdout
        report = "overwinter_report.md"
        assert (tmp_path / report).read_bytes() == (folder / report).read_bytes()

    def test_nothing_but_the_command_is_killed(self, tmp_path: Path) -> None:
        """T38: when the command itself is killed, the swarm's process saves and ends."""
        with started(tmp_path, "demo", *long_documents(tmp_path), "--no-kill") as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.endswith(": started\n"):
                    break
            process.kill()
            # The swarm's process holds the other end of stderr: it has ended when that is at its end.
            assert process.stderr is not None
            process.stderr.read()
        listed = json.loads(run(tmp_path, "ls", "--json").stdout)["agents"]
        assert {one["held_by"] for one in listed} == {None}
        assert "interrupted" in {one["status"] for one in listed}

    def test_a_disk_that_takes_nothing_ends_it(self, tmp_path: Path) -> None:
        """T39: where nothing can be saved the demo does not hang, and says why, with exit code 1."""
        done = demo_with_files_of(700, tmp_path)
        assert done.returncode == 1
        assert "error: nothing can be saved, and until it is no tool may start: " in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert "kill -9" not in done.stdout


@pytest.fixture
def cut_off(tmp_path: Path) -> Path:
    """A folder with a program that was killed with kill -9 while one of its tools was in the air."""
    (tmp_path / "program.py").write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**environment(tmp_path), "FIRST": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["in the air\n"] * 2
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    return tmp_path


class TestAfterAKill:
    def test_what_the_dead_process_logged_is_looked_at(self, cut_off: Path) -> None:
        """T40: ls, show and history tell of what a killed process had only logged, and the workspace is sound."""
        found = {one["agent_name"]: one for one in json.loads(run(cut_off, "ls", "--json").stdout)["agents"]}
        assert {name: one["status"] for name, one in found.items()} == {
            "plain": "interrupted",
            "sender": "interrupted",
        }
        assert {one["held_by"] for one in found.values()} == {None}
        shown = json.loads(run(cut_off, "show", "sender", "--json").stdout)
        assert [outcome["tool"] for outcome in shown["tool_results"]] == ["send"]
        told = run(cut_off, "history", "sender").stdout
        assert "tools started" in told
        assert run(cut_off, "verify").returncode == 0

    def test_resume_finishes_what_was_cut_off(self, cut_off: Path) -> None:
        """T41: after kill -9 `resume --all` finishes everything, and no tool that may not be repeated runs twice."""
        refused = run(cut_off, "resume", "--all")
        assert refused.returncode == 1
        assert "name the program that makes it with --from module:attribute" in refused.stderr
        assert {
            one["agent_name"]: one["status"]
            for one in json.loads(run(cut_off, "ls", "--json").stdout)["agents"]
        } == {"plain": "finished", "sender": "interrupted"}
        done = run(cut_off, "resume", "sender", "--from", "program:sender")
        assert (done.returncode, done.stdout) == (0, "All is sent.\n")
        did = Counter((cut_off / "did.txt").read_text().splitlines())
        assert did == {"send 1": 1, "send 2": 1, "fetch 9": 2}
        shown = json.loads(run(cut_off, "show", "sender", "--json").stdout)
        answers = [entry["content"] for entry in shown["conversation"] if entry["role"] == "tool"]
        assert answers[0] == "sent"
        assert any("its outcome is unknown" in answer for answer in answers[1:])

    def test_ctrl_c_saves_what_goes_on(self, cut_off: Path) -> None:
        """T42: Ctrl-C ends resume with 130 when all is saved, and the same command goes on."""
        slow = (cut_off / "program.py").read_text() + (
            "\n\nclass Told(Slow):\n"
            "    async def complete(self, request, *, on_text=None):\n"
            "        print('asked', flush=True)\n"
            "        await asyncio.sleep(60)\n\n\n"
            "slow = Agent('plain', 'offline', model=Told(), autosave=True)\n"
        )
        (cut_off / "program.py").write_text(slow)
        with started(cut_off, "resume", "plain", "--from", "program:slow") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "asked\n"
            process.send_signal(signal.SIGINT)
            _, complained = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert complained == "error: interrupted; everything is saved, and the same command goes on\n"
        assert "Bees keep honey." in run(cut_off, "resume", "plain").stdout
