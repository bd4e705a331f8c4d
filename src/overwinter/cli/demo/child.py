"""The process in which the swarm works, and which is killed: ``python -m overwinter.cli.demo.child``.

It reads what to do from standard input and tells what happens on standard output. When standard input ends, because the
command was interrupted or is no more, it saves and ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec
from anyio import to_thread

from overwinter import Runtime
from overwinter.cli.demo.board import Board
from overwinter.cli.demo.ledger import Ledger
from overwinter.cli.demo.plug import Plug
from overwinter.cli.demo.swarm import Swarm
from overwinter.cli.demo.texts import Document
from overwinter.cli.demo.wire import AtThePlug, Ended, Failure, Moved, Note, Refused, Sender, Setup
from overwinter.cli.demo.witness import Witness
from overwinter.cli.inspection import inspect_workspace
from overwinter.cli.notices import notices
from overwinter.cli.refusal import BAD_INPUT, FAILED, Refusal
from overwinter.errors import (
    AgentInUse,
    ModelError,
    OverwinterError,
    UnfinishedRun,
    WorkspaceError,
)
from overwinter.persistence import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["main", "notices_of_the_demo"]

_DISK_PATIENCE = 8.0
_CUT_OFF = "note: an earlier demo was cut off here; its agents start anew, and what they had is in history/"


def main() -> None:
    """Work until the swarm has ended, or standard input has."""
    setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=Setup)
    # What a library prints is no message.
    sender = Sender(os.dup(1))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        with notices_of_the_demo(lambda text: sender.send(Note(text))):
            code = anyio.run(_work, setup, sender)
    except (Refusal, WorkspaceError) as error:
        # What could be used before the plug was pulled was no wrong input.
        code = error.code if isinstance(error, Refusal) else BAD_INPUT if setup.part == 1 else FAILED
        sender.send(Refused(str(error), code))
    except AgentInUse as error:
        code = FAILED
        sender.send(
            Refused(
                f"agent {error.agent_name!r} is at work in process {error.pid} on {error.host}, so another demo is "
                "running in this workspace; wait for it, or choose another folder with --workspace",
                code,
            )
        )
    sender.close()
    sys.exit(code)


async def _work(setup: Setup, sender: Sender) -> int:
    workspace = Workspace(setup.workspace)
    ledger = Ledger(Path(setup.ledger), setup.demo, setup.part)

    runtime = Runtime(workspace.root)

    def saves() -> bool:
        return not runtime.statistics().persistence.failing

    def pull(agent: str, tool: str, call: str) -> None:
        sender.send(AtThePlug(agent, tool, call))

    plug = Plug(lambda: board.done, saves, pull) if setup.plug else None
    swarm = Swarm(
        [Document(name, text) for name, text in setup.documents],
        model_name=setup.model,
        witness=Witness(ledger, plug),
        ledger=ledger,
        thinking=setup.thinking,
    )
    board = Board(swarm.workers, lambda progress, event: sender.send(Moved(progress, event)))
    if setup.part > 1:
        await to_thread.run_sync(_go_on, swarm, board, workspace, setup.demo)
    board.tell()
    interrupted, stalled = True, _Stalled()
    with anyio.CancelScope() as scope:
        _cancel_at_the_end_of_input(scope)
        # In no task group: what the swarm raises is to come out as it is.
        watching = asyncio.get_running_loop().create_task(stalled.watch(runtime, board, scope))
        try:
            async with runtime:
                runtime.watch(board.take)
                await swarm.work(runtime, concurrency=setup.concurrency, run_id=setup.demo)
                interrupted = False
                watching.cancel()  # closing has a time of its own
        finally:
            watching.cancel()
    if stalled.why:
        raise Refusal(stalled.why, code=FAILED)
    for worker, error in swarm.failures:
        told = str(error) if isinstance(error, OverwinterError) else f"{type(error).__name__}: {error}"
        sender.send(Failure(worker.name, told, isinstance(error, ModelError)))
    report = "" if interrupted or swarm.failures else str(swarm.editing.report_path or "")
    sender.send(Ended(report, ledger.error, interrupted))
    return FAILED if interrupted or swarm.failures else 0


class _Stalled:
    """Ends the work when the disk takes nothing for so long that nobody does anything any more."""

    def __init__(self) -> None:
        self.why = ""

    async def watch(self, runtime: Runtime, board: Board, scope: anyio.CancelScope) -> None:
        """Cancel *scope* when that has come, and say why in ``why``."""
        told, since = -1, anyio.current_time()
        while True:
            await anyio.sleep(1.0)
            disk = runtime.statistics().persistence
            if not disk.failing or board.told != told:
                told, since = board.told, anyio.current_time()
            elif anyio.current_time() - since > _DISK_PATIENCE:
                self.why = f"nothing can be saved, and until it is no tool may start: {disk.last_error}"
                scope.cancel()


def _go_on(swarm: Swarm, board: Board, workspace: Workspace, demo: str) -> None:
    """Find what the agents had recorded in this demo, and let everybody go on from there."""
    bodies = {
        one.folder.name: (one.state[1], one.folder.path)
        for one in inspect_workspace(workspace)
        if one.state is not None
    }
    for worker in swarm.workers:
        body, folder = bodies.get(worker.name, (None, Path()))
        if body is None:
            continue
        ours = {body.run.run_id if body.run else "", *(task.run_id for task in body.accepted)}
        if demo in ours:
            worker.go_on_from(body, folder)
            board.of(worker.name).go_on_from(body)


def _cancel_at_the_end_of_input(scope: anyio.CancelScope) -> None:
    loop = asyncio.get_running_loop()

    def wait() -> None:
        # Not through sys.stdin: its lock would be held by this thread when the interpreter ends.
        while os.read(0, 1 << 16):
            pass
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(scope.cancel)

    threading.Thread(target=wait, name="overwinter-demo-input", daemon=True).start()


@contextmanager
def notices_of_the_demo(note: Callable[[str], object]) -> Generator[None]:
    """The library's warnings and log; all that an earlier demo left unfinished has one line."""
    told: list[str] = []

    def instead(message: Warning | str) -> bool:
        if not isinstance(message, UnfinishedRun):
            return False
        if not told:
            note(_CUT_OFF)
        told.append(str(message))
        return True

    with notices(lambda text: note(f"note: {text}"), instead=instead):
        yield


if __name__ == "__main__":
    main()
