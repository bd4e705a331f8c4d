"""``overwinter demo``, from its arguments to its exit code."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from overwinter import Runtime
from overwinter.agents.signals import run_to_end
from overwinter.cli.demo.board import Board
from overwinter.cli.demo.closing import how_to_look, print_report, print_saved, print_tallies
from overwinter.cli.demo.swarm import Swarm
from overwinter.cli.demo.texts import load_documents, shipped_documents
from overwinter.cli.demo.views import view_for
from overwinter.cli.refusal import FAILED, INTERRUPTED, Refusal, os_reason
from overwinter.cli.rendering import complain, console, plural, say, visible
from overwinter.errors import AgentInUse, ModelError, OverwinterError, OverwinterWarning, UnfinishedRun
from overwinter.persistence import Workspace

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from overwinter.cli.demo.board import View

__all__ = ["notices", "run_demo"]

_CUT_OFF = "note: an earlier demo was cut off here; its agents start anew, and what they had is in history/"


def run_demo(
    files: Sequence[Path], *, model: str | None, workspace: str | None, out: Path, concurrency: int
) -> int:
    """Let a swarm read *files*, or the shipped essays, and write a report to *out*. Returns the exit code.

    :raises Refusal: something asked for cannot be done, or somebody else holds an agent.
    :raises OverwinterError: the workspace cannot be used.
    """
    documents = load_documents(files) if files else shipped_documents()
    _check_model(model)
    _check_out(out, files)
    swarm = Swarm(documents, model_name=model or "")
    demo = _Demo(swarm, Workspace(workspace), chosen=workspace, out=out)
    return demo.run(concurrency)


class _Demo:
    def __init__(self, swarm: Swarm, workspace: Workspace, *, chosen: str | None, out: Path) -> None:
        self._swarm = swarm
        self._workspace = workspace
        self._chosen = chosen
        self._out = out
        self._board = Board(swarm.workers)
        self._console = console()

    def run(self, concurrency: int) -> int:
        self._print_heading()
        view = view_for(self._console, self._board)
        self._board.show_on(view)
        try:
            with notices(view), view:
                run_to_end(lambda: self._work(concurrency), hint="use the library instead")
        except KeyboardInterrupt:
            return self._interrupted(INTERRUPTED)
        except SystemExit as ended:
            return self._interrupted(int(ended.code or 0))
        except AgentInUse as error:
            raise Refusal(
                f"agent {error.agent_name!r} is at work in process {error.pid} on {error.host}, so another demo is "
                "running in this workspace; wait for it, or choose another folder with --workspace",
                code=FAILED,
            ) from error
        return self._finished()

    async def _work(self, concurrency: int) -> None:
        async with Runtime(self._workspace.root) as runtime:
            runtime.watch(self._board.take)
            await self._swarm.work(runtime, concurrency=concurrency)

    def _finished(self) -> int:
        print_tallies(self._console, self._board)
        print_saved(self._console, self._board, self._workspace, chosen=self._chosen)
        if self._swarm.failures:
            self._print_failures()
            return FAILED
        path = self._publish()
        print_report(self._console, path, self._swarm.editing.report)
        return FAILED if any(tally.unsaved for tally in self._board.tallies) else 0

    def _publish(self) -> Path:
        try:
            self._out.write_text(self._swarm.editing.report, encoding="utf-8", errors="replace", newline="\n")
        except OSError as error:
            raise Refusal(
                f"the report could not be written to {self._out}: {os_reason(error)}; "
                f"it is in {self._swarm.editing.report_path}",
                code=FAILED,
            ) from error
        return self._out.absolute()

    def _interrupted(self, code: int) -> int:
        by = "Interrupted" if code == INTERRUPTED else "Told to stop"
        ended = sum(tally.status == "finished" for tally in self._board.tallies)
        self._console.print()
        say(
            self._console,
            Text(f"{by}; {ended} of {plural(len(self._board.tallies), 'agent')} had finished.", "yellow"),
        )
        print_saved(self._console, self._board, self._workspace, chosen=self._chosen)
        return code

    def _print_heading(self) -> None:
        readers = plural(len(self._swarm.readers), "reader")
        documents = plural(len(self._swarm.readers), "document")
        say(
            self._console,
            Text.assemble(("overwinter demo", "bold"), f"  {documents}, {readers} and an editor"),
        )
        if self._swarm.model is None:
            say(self._console, Text(f"model: {visible(self._swarm.model_name)}", "dim"))
        else:
            say(self._console, Text("offline model: extractive, no network", "dim"))
        self._console.print()

    def _print_failures(self) -> None:
        told: dict[str, list[str]] = {}
        for worker, error in self._swarm.failures:
            what = str(error) if isinstance(error, OverwinterError) else f"{type(error).__name__}: {error}"
            told.setdefault(what, []).append(worker.name)
        self._console.file.flush()
        for what, names in told.items():
            who = names[0] if len(names) == 1 else f"{plural(len(names), 'agent')} ({', '.join(names)})"
            complain(f"{who}: {what}")
        advice = f"What the agents had done is saved; to look, type: {how_to_look(self._chosen)[0]}"
        if any(isinstance(error, ModelError) for _, error in self._swarm.failures):
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


@contextmanager
def notices(view: View) -> Generator[None]:
    """Show the library's warnings and log as calm lines, and nobody else's warnings."""
    left_behind: list[str] = []

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if issubclass(category, UnfinishedRun):
            if not left_behind:
                view.note(_CUT_OFF)
            left_behind.append(str(message))
        elif issubclass(category, OverwinterWarning):
            view.note(f"note: {message}")

    handler = _NoticeHandler(view)
    logger = logging.getLogger("overwinter")
    logger.addHandler(handler)
    # Not within warnings.catch_warnings: at its end it would undo the filters that litellm has set meanwhile.
    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before
        logger.removeHandler(handler)


class _NoticeHandler(logging.Handler):
    """Hands warnings and errors of the log to the view, without their tracebacks."""

    def __init__(self, view: View) -> None:
        super().__init__(logging.WARNING)
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        self._view.note(f"{record.levelname.lower()}: {record.getMessage()}")
