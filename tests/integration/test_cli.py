"""The command in processes of its own, as a person runs it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.support.commands import (
    PATIENCE,
    demo_with_files_of,
    directly,
    environment,
    long_documents,
    on_a_terminal,
    run,
    started,
)
from tests.support.openai_server import Answer, Hold, OpenAIServer, Status, ToolUse

from overwinter.agents.models.planning import next_message
from overwinter.agents.models.prose import sentences_of
from overwinter.agents.models.protocol import Message, ModelRequest, ToolCall, ToolSpec
from overwinter.cli.demo.texts import shipped_documents
from overwinter.persistence import read_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

READERS = 6

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX systems")


def agents_of(cwd: Path) -> dict[str, dict[str, Any]]:
    """The state files of the workspace, each of which must be what was written."""
    found: dict[str, dict[str, Any]] = {}
    for path in (cwd / "agent_workspace" / "agents").glob("*/*_state.json"):
        metadata, body = read_document(path.read_bytes(), path, checksum_required=True)
        found[metadata.agent_name] = body
    return found


def calls_of(body: Mapping[str, Any]) -> list[str]:
    """The tools that the model called, in its order; what was in the air at the kill has no result."""
    return [call["name"] for entry in body["conversation"] for call in entry.get("tool_calls", ())]


def sections_of(report: str) -> dict[str, str]:
    """What the report says under each heading."""
    parts = re.split(r"^## (.+)$", report, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    """One run without files and without a key."""
    return run(folder, "demo")


class TestTheMainJob:
    def test_a_report_has_a_summary_of_each_document(
        self, folder: Path, done: subprocess.CompletedProcess[str]
    ) -> None:
        """C1: without files and without a key, the swarm reads the shipped essays and writes the report."""
        assert (done.returncode, done.stderr) == (0, "")
        report = (folder / "overwinter_report.md").read_text(encoding="utf-8")
        sections = sections_of(report)
        assert list(sections) == [
            *(document.title for document in shipped_documents()),
            "What they have in common",
        ]
        for document in shipped_documents():
            summary = sections[document.title].split("*\n", 1)[1]
            plain = " ".join(document.text.replace("*", "").split())
            assert 2 <= len(sentences_of(summary)) <= 7
            assert all(sentence.text in plain for sentence in sentences_of(summary))
        assert "of 6)" in sections["What they have in common"]

    def test_the_offline_model_says_what_it_is(self, done: subprocess.CompletedProcess[str]) -> None:
        """C2: without --model one line says that the model is offline and extractive."""
        assert done.stdout.splitlines()[1] == "offline model: extractive, no network"

    def test_everyone_is_saved(self, folder: Path, done: subprocess.CompletedProcess[str]) -> None:
        """C4: the readers and the editor are saved, whole, each with its conversation, and nothing is left over."""
        saved = agents_of(folder)
        assert len(saved) == READERS + 1
        assert {body["status"] for body in saved.values()} == {"finished"}
        for path in (folder / "agent_workspace" / "agents").glob("*/config.json"):
            metadata, _ = read_document(path.read_bytes(), path, checksum_required=False)
            assert metadata.status == "finished"
        assert list(folder.rglob("*.tmp")) == []
        assert list((folder / "agent_workspace" / ".runtimes").iterdir()) == []

    def test_the_agents_worked_with_their_tools(
        self, folder: Path, done: subprocess.CompletedProcess[str]
    ) -> None:
        """C9: every reader measured, read every part, noted and wrote; the editor listed, read each and wrote."""
        saved = agents_of(folder)
        assert sorted(calls_of(saved.pop("editor"))) == [
            "count_shared_words",
            "list_summaries",
            *["read_summary"] * READERS,
            "write_report",
        ]
        for name, body in saved.items():
            tools = calls_of(body)
            parts = tools.count("read_document")
            assert parts >= 2
            assert sorted(tools) == [
                "measure_document",
                *["note_finding"] * parts,
                *["read_document"] * parts,
                "write_summary",
            ]
            assert all(outcome["ok"] for outcome in body["tool_results"])
            assert body["memory"]["document"]["parts"] == parts
            (summary,) = (folder / "agent_workspace" / "agents").glob(f"{name}-*/summary.json")
            # One that had begun at the kill and not yet written anything is not begun again: nobody knows that.
            assert len(json.loads(summary.read_bytes())["findings"]) in (parts - 1, parts)

    def test_a_table_tells_what_each_did(self, folder: Path, done: subprocess.CompletedProcess[str]) -> None:
        """C15: at the end a table tells what each agent did and saved, and then where everything is."""
        lines = done.stdout.splitlines()
        head = next(number for number, line in enumerate(lines) if line.split()[:2] == ["agent", "status"])
        assert lines[head].split() == [
            "agent",
            "status",
            "loops",
            "tools",
            "tokens",
            "cost",
            "saves",
            "state",
        ]
        rows = [line.split() for line in lines[head + 1 : head + 2 + READERS]]
        assert [row[0] for row in rows] == [*sorted(agents_of(folder).keys() - {"editor"}), "editor"]
        for row in rows:
            assert row[1] == "finished"
            assert all(int(number.replace(",", "")) > 0 for number in row[2:5])
            assert row[5] == "$0.00"
            assert int(row[6]) >= 2
        assert f"7 agents saved in {folder.resolve() / 'agent_workspace' / 'agents'}" in done.stdout
        assert "Look with:  overwinter ls\n            overwinter show editor\n" in done.stdout

    def test_the_report_is_shown_from_its_beginning(
        self, folder: Path, done: subprocess.CompletedProcess[str]
    ) -> None:
        """C16: at the very end comes where the report is, and how it begins."""
        report = (folder / "overwinter_report.md").read_text(encoding="utf-8")
        shown = done.stdout.partition("The report is in ")[2].splitlines()
        assert shown[0] == str(folder.resolve() / "overwinter_report.md")
        assert shown[2:7] == report.splitlines()[:5]

    def test_a_pipe_hears_plain_lines(self, done: subprocess.CompletedProcess[str]) -> None:
        """C12: elsewhere than on a terminal there are a few plain lines, without control characters."""
        assert "\x1b" not in done.stdout
        assert "\r" not in done.stdout
        assert done.stdout.count(": started") == READERS + 1
        assert done.stdout.count(": done, ") == READERS + 1
        assert not any(line.endswith(" ") for line in done.stdout.splitlines())

    def test_it_can_be_looked_at(self, folder: Path, done: subprocess.CompletedProcess[str]) -> None:
        """C17: ls lists the swarm, and show shows one of it."""
        listed = json.loads(run(folder, "ls", "--json").stdout)["agents"]
        assert len(listed) == READERS + 1
        assert {one["status"] for one in listed} == {"finished"}
        assert "write_report" in run(folder, "show", "editor").stdout

    def test_a_second_run_keeps_the_first(self, folder: Path, done: subprocess.CompletedProcess[str]) -> None:
        """C5: a second run finds the same agents, keeps their earlier conversations, and has no reason to complain."""
        report = (folder / "overwinter_report.md").read_bytes()
        before = agents_of(folder)
        again = run(folder, "demo")
        assert (again.returncode, again.stderr) == (0, "")
        assert "note:" not in again.stdout
        assert (folder / "overwinter_report.md").read_bytes() == report
        assert agents_of(folder).keys() == before.keys()
        for name, body in before.items():
            (kept,) = (folder / "agent_workspace" / "agents").glob(f"{name}-*/history/*.json")
            assert read_document(kept.read_bytes(), kept, checksum_required=True)[1] == body


class TestOwnFiles:
    def test_own_files_are_read(self, tmp_path: Path) -> None:
        """C3: with files it is these that are read, in their order, and the report goes where --out says."""
        (tmp_path / "wax.txt").write_text(
            "Bees make wax. They are young bees in a warm summer, says Dr. Vogel."
        )
        (tmp_path / "smoke.md").write_text("# On smoke\n\nA keeper calms the bees with smoke.\n")
        done = run(tmp_path, "demo", "wax.txt", "smoke.md", "--out", "mine.md", "--workspace", "ws")
        assert (done.returncode, done.stderr) == (0, "")
        sections = sections_of((tmp_path / "mine.md").read_text(encoding="utf-8"))
        assert list(sections) == ["wax.txt", "On smoke", "What they have in common"]
        assert "A keeper calms the bees with smoke." in sections["On smoke"]
        assert "“bees” (in 2 of 2)" in sections["What they have in common"]
        assert {path.name for path in tmp_path.iterdir()} == {"wax.txt", "smoke.md", "mine.md", "ws"}

    def test_any_text_is_read(self, tmp_path: Path) -> None:
        """C7: an empty file, one of a megabyte, one without a blank, and old encodings are all read and reported."""
        files = {
            "empty.txt": b"",
            "large.md": b"\n\n".join(document.text.encode() for document in shipped_documents()) * 45,
            "blank.txt": b"a" * 200_000,
            "latin.txt": "Die Bienen überwintern. Sie wärmen sich in der Traube.".encode("latin-1"),
            "utf16.txt": "Bees keep honey in the winter.".encode("utf-16"),
            "ansi.txt": b"\x1b[31mBees\x1b[0m keep honey in the hive all winter.\n",
        }
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        done = run(tmp_path, "demo", *files)
        assert (done.returncode, done.stderr) == (0, "")
        report = (tmp_path / "overwinter_report.md").read_text(encoding="utf-8")
        assert len(sections_of(report)) == len(files) + 1
        assert "There is nothing in it to summarise." in sections_of(report)["empty.txt"]
        assert "wärmen sich" in report
        assert "\x1b" not in report + done.stdout

    def test_one_document_has_nothing_to_be_compared_with(self, tmp_path: Path) -> None:
        """C3: one file is enough."""
        (tmp_path / "wax.txt").write_text("Bees make wax.")
        assert run(tmp_path, "demo", "wax.txt").returncode == 0
        assert "only one document" in (tmp_path / "overwinter_report.md").read_text(encoding="utf-8")


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["missing.txt"], "error: missing.txt: no such file or directory\n"),
            (["."], "error: .: it is a folder; "),
            (["junk.bin"], "error: junk.bin: it is not a text file; "),
            (
                ["good.txt", "--out", "nowhere/report.md"],
                "error: --out nowhere/report.md: there is no folder ",
            ),
            (["good.txt", "--out", "."], "error: --out .: it is a folder; "),
            (["good.txt", "--model", ""], "error: --model is empty; "),
            (["good.txt", "--workspace", "good.txt"], "good.txt"),
        ],
    )
    def test_bad_input_is_refused_before_any_work(
        self, tmp_path: Path, arguments: list[str], told: str
    ) -> None:
        """C6: what cannot work is refused in one clear line on stderr with exit code 2, before any work is done."""
        (tmp_path / "good.txt").write_text("Bees keep honey.")
        (tmp_path / "junk.bin").write_bytes(bytes(range(256)) * 4)
        done = run(tmp_path, "demo", *arguments)
        assert done.returncode == 2
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr
        assert {path.name for path in tmp_path.iterdir()} == {"good.txt", "junk.bin"}

    @posix
    def test_a_document_is_never_overwritten(self, tmp_path: Path) -> None:
        """C14: a report that would go over a document is refused, under another name of that document too."""
        (tmp_path / "good.txt").write_text("Bees keep honey.")
        (tmp_path / "alias.txt").symlink_to(tmp_path / "good.txt")
        for out in ("good.txt", "./alias.txt"):
            done = run(tmp_path, "demo", "good.txt", "--out", out)
            assert done.returncode == 2
            assert "it is one of the documents to read, and would be overwritten" in done.stderr
        assert (tmp_path / "good.txt").read_text() == "Bees keep honey."

    def test_each_bad_file_has_a_line(self, tmp_path: Path) -> None:
        """C6: of several bad files each is named in a line of its own."""
        done = run(tmp_path, "demo", "one.txt", "two.txt")
        assert [line.split(":")[1] for line in done.stderr.splitlines()] == [" one.txt", " two.txt"]


class TestInterruption:
    @posix
    @pytest.mark.parametrize(
        ("number", "code", "told"),
        [(signal.SIGINT, 130, "Interrupted; "), (getattr(signal, "SIGTERM", 15), 143, "Told to stop; ")],
    )
    def test_a_signal_saves_and_then_ends_it(self, tmp_path: Path, number: int, code: int, told: str) -> None:
        """C10: Ctrl-C ends the demo with 130 and SIGTERM with 143 when all is saved; it says where, and how to look."""
        with started(tmp_path, "demo", *long_documents(tmp_path), "--concurrency", "2") as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.endswith(": started\n"):
                    break
            process.send_signal(number)
            said, complained = process.communicate(timeout=PATIENCE)
        assert (process.returncode, complained) == (code, "")
        assert told in said
        assert "overwinter ls" in said
        saved = agents_of(tmp_path)
        assert "interrupted" in {body["status"] for body in saved.values()}
        assert not (tmp_path / "overwinter_report.md").exists()
        listed = json.loads(run(tmp_path, "ls", "--json").stdout)["agents"]
        assert "running" not in {one["status"] for one in listed}
        assert {one["held_by"] for one in listed} == {None}

    @posix
    def test_a_model_call_is_interrupted_too(self, tmp_path: Path) -> None:
        """C10: a signal in the middle of a model call ends it; the next run says that one was cut off, and works."""
        hold = Hold(then=Answer("too late"))
        with OpenAIServer(responder=lambda _: hold) as server:
            (tmp_path / "wax.txt").write_text("Bees make wax.")
            arguments = ["demo", "wax.txt", "--model", "gpt-4o-mini"]
            with started(tmp_path, *arguments, env=directly(server)) as process:
                assert hold.reached.wait(PATIENCE)
                process.send_signal(signal.SIGINT)
                _, complained = process.communicate(timeout=PATIENCE)
            assert (process.returncode, complained) == (130, "")
        assert agents_of(tmp_path)["reader-wax"]["status"] == "interrupted"
        again = run(tmp_path, "demo", "wax.txt")
        assert (again.returncode, again.stderr) == (0, "")
        assert again.stdout.count("note: an earlier demo was cut off here") == 1

    @posix
    def test_whoever_stops_reading_does_not_stop_the_work(self, tmp_path: Path) -> None:
        """C12: when the other end of the pipe goes away the work goes on, and the report is written."""
        with started(tmp_path, "demo") as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("overwinter demo")
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == ""
            assert process.wait(PATIENCE) == 0
        assert (tmp_path / "overwinter_report.md").exists()


class TestModels:
    def test_the_same_swarm_runs_on_any_model(self, tmp_path: Path) -> None:
        """C9: with --model the same agents, prompts and tools run on a model that litellm reaches over HTTP."""
        (tmp_path / "wax.txt").write_text("Bees make wax. They are young bees in a warm summer.")
        with OpenAIServer(responder=_answer) as server:
            done = run(tmp_path, "demo", "wax.txt", "--model", "gpt-4o-mini", env=server.environment())
            requests = [request.body for request in server.requests]
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[1] == "model: gpt-4o-mini"
        assert "Bees make wax." in (tmp_path / "overwinter_report.md").read_text(encoding="utf-8")
        assert {request["model"] for request in requests} == {"gpt-4o-mini"}
        assert requests[0]["messages"][0]["role"] == "system"
        assert {body["status"] for body in agents_of(tmp_path).values()} == {"finished"}
        assert "offline" not in json.dumps(agents_of(tmp_path))

    def test_a_model_without_a_key_is_told_and_saved(self, tmp_path: Path) -> None:
        """C8: without a key the states are saved, one line names what to do, no reader begins any more, exit code 1."""
        with OpenAIServer(responder=lambda _: Status(401, "Incorrect API key")) as server:
            env = {**directly(server), "OPENAI_API_KEY": "sk-0123456789abcdef"}
            done = run(tmp_path, "demo", "--model", "gpt-4o-mini", "--concurrency", "1", env=env)
        assert done.returncode == 1
        assert "error: reader-actors: gpt-4o-mini: the key was refused (401)" in done.stderr
        assert "Check the key in the environment" in done.stderr
        assert "leave out --model" in done.stderr
        assert "Traceback" not in done.stderr
        assert agents_of(tmp_path)["reader-actors"]["status"] == "failed"
        assert done.stdout.count(": started") == 1
        assert not (tmp_path / "overwinter_report.md").exists()
        for path in (tmp_path / "agent_workspace").rglob("*"):
            assert path.is_dir() or b"sk-0123456789abcdef" not in path.read_bytes()

    def test_a_second_demo_at_the_same_time_is_refused(self, tmp_path: Path) -> None:
        """C11: while one demo is at work, another in the same workspace is refused, and told which process it is."""
        hold = Hold(then=Answer("Done."))
        (tmp_path / "wax.txt").write_text("Bees make wax.")
        with OpenAIServer(responder=lambda _: hold) as server:
            arguments = ["demo", "wax.txt", "--model", "gpt-4o-mini"]
            with started(tmp_path, *arguments, env=directly(server)) as process:
                assert hold.reached.wait(PATIENCE)
                second = run(tmp_path, "demo", "wax.txt")
                listed = json.loads(run(tmp_path, "ls", "--json").stdout)["agents"]
        (swarm,) = {one["held_by"]["pid"] for one in listed}
        assert swarm != process.pid
        assert second.returncode == 1
        assert f"error: agent 'reader-wax' is at work in process {swarm} on " in second.stderr
        assert "--workspace" in second.stderr


class TestAFailingDisk:
    @posix
    def test_what_could_not_be_saved_ends_it_with_1(self, tmp_path: Path) -> None:
        """C38: where the states cannot be saved the report is written nevertheless, it is said why, exit code 1."""
        done = demo_with_files_of(7000, tmp_path, "--no-kill")
        assert done.returncode == 1
        assert "not everything of reader-bees could be saved" in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
        assert "Bees keep honey" in (tmp_path / "overwinter_report.md").read_text(encoding="utf-8")


class TestTheCommand:
    def test_the_help_is_quick(self, tmp_path: Path) -> None:
        """C27: --help imports neither litellm nor anything else that takes long."""
        script = (
            "import sys; from overwinter.cli import main; sys.argv = ['overwinter', '--help']\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "sys.stderr.write(' '.join(sorted(sys.modules)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        imported = set(done.stderr.split())
        assert "Usage" in done.stdout
        assert imported.isdisjoint({"litellm", "openai", "httpx", "pydantic", "aiohttp", "rich.progress"})

    def test_any_encoding_will_do(self, tmp_path: Path) -> None:
        """C24: where the output's encoding lacks a character, it is written out; the command does not fail."""
        (tmp_path / "wax.txt").write_text("Bees make wax — at 14 °C.", encoding="utf-8")
        done = run(tmp_path, "demo", "wax.txt", env={"PYTHONIOENCODING": "ascii"})
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()

    @posix
    def test_a_terminal_shows_bars(self, tmp_path: Path) -> None:
        """C12: on a terminal of 80 columns there are bars, no line is wider, and the cursor is there afterwards."""
        code, shown = on_a_terminal(tmp_path, "demo")
        assert code == 0
        assert "━" in shown
        assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        assert all(len(line) <= 80 for line in plain.replace("\r", "\n").splitlines())
        assert "9 steps, 9 tools" in plain


def _answer(body: Mapping[str, Any]) -> Answer:
    """The offline model's wit behind a real model's interface."""
    messages = [
        Message(
            message["role"],
            message.get("content") or "",
            tuple(
                ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
                for call in message.get("tool_calls") or ()
            ),
            tool_call_id=message.get("tool_call_id", ""),
        )
        for message in body["messages"]
    ]
    tools = tuple(
        ToolSpec(
            tool["function"]["name"], tool["function"].get("description", ""), tool["function"]["parameters"]
        )
        for tool in body.get("tools", ())
    )
    said = next_message(ModelRequest(messages, tools))
    calls = [ToolUse(call.name, msgspec.json.decode(call.arguments)) for call in said.tool_calls]
    return Answer(said.content, calls)
