"""``overwinter demo``, from its arguments to its exit code."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from overwinter.cli.demo.closing import how_to_look, print_report, print_saved, print_tallies
from overwinter.cli.demo.ledger import read_ledger
from overwinter.cli.demo.process import SwarmProcess, signals_stop
from overwinter.cli.demo.proof import account_of, print_proof, prove
from overwinter.cli.demo.swarm import rows_of
from overwinter.cli.demo.texts import load_documents, shipped_documents
from overwinter.cli.demo.views import view_for
from overwinter.cli.demo.wire import AtThePlug, Ended, Failure, Moved, Note, Refused, Setup
from overwinter.cli.inspection import inspect_workspace
from overwinter.cli.refusal import FAILED, INTERRUPTED, Refusal, os_reason
from overwinter.cli.rendering import complain, console, plural, say, visible
from overwinter.persistence import Workspace, create_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from overwinter.cli.demo.process import Stopping
    from overwinter.cli.demo.progress import View
    from overwinter.cli.demo.proof import Account
    from overwinter.cli.demo.texts import Document

__all__ = ["run_demo"]

_LEDGER = "demo_ledger.jsonl"
_THINKING = 0.06
_A_LOOK = 0.9  # seconds for which a terminal shows the swarm as it lies there


def run_demo(
    files: Sequence[Path],
    *,
    model: str | None,
    workspace: str | None,
    out: Path,
    concurrency: int,
    kill: bool = True,
) -> int:
    """Let a swarm read *files*, or the shipped essays, and write a report to *out*. Returns the exit code.

    In the middle of it its process is killed, and a second one goes on, unless *kill* is false.

    :raises Refusal: something asked for cannot be done, or somebody else holds an agent.
    :raises OverwinterError: the workspace cannot be used.
    """
    documents = load_documents(files) if files else shipped_documents()
    _check_model(model)
    _check_out(out, files)
    place = Workspace(workspace)
    create_folder(place.root)
    demo = _Demo(documents, place, model=model or "", chosen=workspace, out=out, concurrency=concurrency)
    return demo.run(kill=kill)


class _Demo:
    def __init__(
        self,
        documents: Sequence[Document],
        workspace: Workspace,
        *,
        model: str,
        chosen: str | None,
        out: Path,
        concurrency: int,
    ) -> None:
        self._workspace = workspace
        self._chosen = chosen
        self._out = out
        self._ledger = workspace.root / _LEDGER
        self._console = console()
        self._rows = {row.name: row for row in rows_of(documents)}
        self._saves: dict[str, int] = {}
        self._kill = False
        self._failures: list[Failure] = []
        self._ended: Ended | None = None
        self._in_flight: AtThePlug | None = None
        self._before: Account | None = None
        self._setup = Setup(
            documents=[(document.name, document.text) for document in documents],
            model=model,
            workspace=str(workspace.root),
            ledger=str(self._ledger),
            demo=uuid.uuid4().hex,
            part=1,
            plug=False,
            concurrency=concurrency,
            thinking=_THINKING,
        )

    def run(self, *, kill: bool) -> int:
        self._kill = kill
        self._print_heading()
        view = view_for(self._console, list(self._rows.values()))
        with signals_stop() as stopping, view:
            code = self._work(view, stopping, msgspec.structs.replace(self._setup, plug=kill))
            if self._in_flight is not None and stopping.received is None:
                code = self._work(view, stopping, msgspec.structs.replace(self._setup, part=2))
        if stopping.received is not None:
            return self._interrupted(INTERRUPTED if stopping.received == 2 else 128 + stopping.received)
        return self._finished(code)

    def _work(self, view: View, stopping: Stopping, setup: Setup) -> int:
        """Let a process work until it has ended, or until its plug is pulled. Returns its exit code."""
        process = stopping.process = SwarmProcess(setup)
        try:
            if stopping.received is not None:
                process.stop()
            if setup.part > 1:
                view.note(
                    f"▶ started again as process {process.pid}: everybody goes on from the last record",
                    "bold green",
                )
            for message in process.messages():
                match message:
                    case Moved():
                        self._move(view, message)
                    case Note():
                        view.note(message.text)
                    case Failure():
                        self._failures.append(message)
                    case Ended():
                        self._ended = message
                    case AtThePlug():
                        self._pull(view, process, message)
                        break
                    case Refused():
                        process.wait()
                        raise Refusal(message.error, code=message.code)
            return process.wait()
        finally:
            process.close()
            stopping.process = None

    def _pull(self, view: View, process: SwarmProcess, in_flight: AtThePlug) -> None:
        """Kill the process, and look at what is on record."""
        process.kill()
        self._in_flight = in_flight
        for row in self._rows.values():
            self._saves[row.name] = row.saves
            if row.status == "running":
                row.status, row.activity = "interrupted", "killed"
                view.changed(row, "")
        what = f"{in_flight.tool} of {in_flight.agent}"
        view.note(f"⚡ kill -9 {process.pid}: {what} was done and had not returned", "bold red")
        self._before = self._account()
        if self._console.is_terminal:
            time.sleep(_A_LOOK)

    def _account(self) -> Account:
        found = inspect_workspace(self._workspace)
        states = [(one.folder.name, one.state[1]) for one in found if one.state is not None]
        return account_of(states, self._setup.demo)

    def _move(self, view: View, moved: Moved) -> None:
        row = moved.progress
        row.saves += self._saves.get(row.name, 0)
        self._rows[row.name] = row
        view.changed(row, moved.event)

    def _finished(self, code: int) -> int:
        rows = list(self._rows.values())
        print_tallies(self._console, rows)
        print_saved(self._console, rows, self._workspace, chosen=self._chosen)
        if self._failures:
            self._print_failures()
            return FAILED
        if self._ended is None or not self._ended.report_path:
            raise Refusal(
                f"the swarm's process ended before its work was done, with exit code {code}", code=FAILED
            )
        report = self._publish(self._ended.report_path)
        print_report(self._console, self._out.absolute(), report)
        holds = self._prove(self._ended)
        return FAILED if not holds or any(row.unsaved for row in rows) else 0

    def _prove(self, ended: Ended) -> bool:
        """Show what the ledger proves; true where there is nothing to be shown."""
        if self._in_flight is None or self._before is None:
            if self._kill:
                self._console.print()
                say(self._console, Text("The plug was not pulled: there was no moment for it.", "yellow"))
            return True
        if ended.ledger_error:
            self._console.print()
            say(self._console, Text(f"The ledger could not be written: {ended.ledger_error}", "yellow"))
            return True
        entries = read_ledger(self._ledger, self._setup.demo)
        proof = prove(entries, self._before, self._account(), self._in_flight)
        print_proof(self._console, proof, str(self._ledger))
        return proof.holds

    def _publish(self, written: str) -> str:
        try:
            report = self._workspace.root.joinpath(written).read_text(encoding="utf-8")
            self._out.write_text(report, encoding="utf-8", newline="\n")
        except OSError as error:
            raise Refusal(
                f"the report could not be written to {self._out}: {os_reason(error)}; it is in {written}",
                code=FAILED,
            ) from error
        return report

    def _interrupted(self, code: int) -> int:
        by = "Interrupted" if code == INTERRUPTED else "Told to stop"
        rows = list(self._rows.values())
        ended = sum(row.status == "finished" for row in rows)
        self._console.print()
        say(self._console, Text(f"{by}; {ended} of {plural(len(rows), 'agent')} had finished.", "yellow"))
        print_saved(self._console, rows, self._workspace, chosen=self._chosen)
        return code

    def _print_heading(self) -> None:
        readers = plural(len(self._rows) - 1, "reader")
        documents = plural(len(self._rows) - 1, "document")
        say(
            self._console,
            Text.assemble(("overwinter demo", "bold"), f"  {documents}, {readers} and an editor"),
        )
        if self._setup.model:
            say(self._console, Text(f"model: {visible(self._setup.model)}", "dim"))
        else:
            say(self._console, Text("offline model: extractive, no network", "dim"))
        self._console.print()

    def _print_failures(self) -> None:
        told: dict[str, list[str]] = {}
        for failure in self._failures:
            told.setdefault(failure.error, []).append(failure.agent)
        self._console.file.flush()
        for what, names in told.items():
            who = names[0] if len(names) == 1 else f"{plural(len(names), 'agent')} ({', '.join(names)})"
            complain(f"{who}: {what}")
        advice = f"What the agents had done is saved; to look, type: {how_to_look(self._chosen)[0]}"
        if any(failure.model for failure in self._failures):
            advice = (
                f"Put that right and run it again, or leave out --model to work without a network. {advice}"
            )
        say(console(stderr=True), Text(advice))


def _check_model(model: str | None) -> None:
    if model is not None and not model.strip():
        raise Refusal("--model is empty; give a name such as gpt-4o-mini, or leave it out to work offline")


def _check_out(out: Path, files: Sequence[Path]) -> None:
    """See that the report can be written, and over no document, before any work is done for it."""
    folder = out.absolute().parent
    if out.is_dir():
        raise Refusal(f"--out {out}: it is a folder; give the name of a file")
    if out.exists() and any(out.samefile(path) for path in files):
        raise Refusal(
            f"--out {out}: it is one of the documents to read, and would be overwritten; "
            "leave it out of these, or give another name"
        )
    if not folder.is_dir():
        raise Refusal(f"--out {out}: there is no folder {folder}")
    if not os.access(out if out.exists() else folder, os.W_OK):
        raise Refusal(f"--out {out}: permission denied")
