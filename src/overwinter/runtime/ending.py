"""How an actor stops, step by step."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from overwinter.runtime.actor import Actor
from overwinter.runtime.family import end_children
from overwinter.runtime.hooks import run_hook
from overwinter.runtime.messages import Terminated
from overwinter.runtime.refusal import describe, refuse, stopped
from overwinter.runtime.scope import owner
from overwinter.runtime.serving import handle_messages
from overwinter.runtime.state import State
from overwinter.runtime.stopping import Step
from overwinter.runtime.watching import tell_watchers

if TYPE_CHECKING:
    from overwinter.runtime.cell import Cell
    from overwinter.runtime.stopping import Stopping

__all__ = ["abandon", "interrupted", "shut_down"]

_logger = logging.getLogger("overwinter.runtime")

#: The ``on_stop`` of an actor that has none.
_NO_GOODBYE = Actor[Any].on_stop


def interrupted(cell: Cell) -> None:
    """Make of a cancellation of the cell's task a stop, if it is not one already."""
    if cell.stopping is None:
        _logger.warning("the task of %s was cancelled from outside; the actor stops", cell.path)
        cell.request_stop(deadline=cell.exchange.clock.monotonic(), reason="cancelled")
    else:
        cell.request_stop(deadline=None if cell.stopping.cut else cell.exchange.clock.monotonic())


async def shut_down(cell: Cell) -> None:
    """Go through the steps of the stop that was asked for, from the one it has come to."""
    stopping = cell.stopping
    task = asyncio.current_task()
    if stopping is None or task is None or cell.superseded():
        return
    owner.set(cell)
    if stopping.step is Step.IN_HAND:
        stopping.advance()
    while stopping.step is not Step.DONE:
        # A cancellation was meant for the step it struck, or came too late for that one.
        while task.cancelling():
            task.uncancel()
        try:
            if _is_needed(cell, stopping):
                stopping.arm(cell.lose_patience)
                await _take_step(cell, stopping)
        except asyncio.CancelledError:
            if cell.superseded():
                raise
            if not stopping.cut:
                cell.request_stop(deadline=cell.exchange.clock.monotonic())
                if stopping.step is Step.CHILDREN:
                    continue
        except Exception:
            _logger.exception("stopping %s failed at the step %s", cell.path, stopping.step.name)
        if cell.superseded():
            return
        stopping.advance()
    _finish(cell, stopping)


def _is_needed(cell: Cell, stopping: Stopping) -> bool:
    """Whether the step at hand may take any time, and so needs a timer."""
    match stopping.step:
        case Step.MAILBOX:
            return stopping.drain
        case Step.GOODBYE:
            return cell.owes_goodbye and getattr(cell.actor.on_stop, "__func__", None) is not _NO_GOODBYE
        case Step.JOBS:
            return cell.crew is not None
        case _:
            return True


async def _take_step(cell: Cell, stopping: Stopping) -> None:
    match stopping.step:
        case Step.MAILBOX:
            while stopping.drain and cell.state is State.RUNNING:
                cell.resume()
                if await handle_messages(cell):
                    break
        case Step.CHILDREN:
            cell.state = State.STOPPING
            refuse(cell, cell.discard())
            await end_children(cell)
        case Step.GOODBYE:
            if cell.owes_goodbye and not stopping.skip_goodbye:
                cell.owes_goodbye = False
                await _say_goodbye(cell)
        case _:
            if cell.crew is not None:
                await cell.crew.end()


async def _say_goodbye(cell: Cell) -> None:
    try:
        await run_hook(cell, cell.actor.on_stop)
    except Exception:
        cell.failures += 1
        _logger.exception("on_stop of %s failed; the actor stops all the same", cell.path)


def abandon(cell: Cell, stopping: Stopping) -> None:
    """Give up the task of a cell, which does not heed its cancellation, and go on in another."""
    in_hand = stopping.step < Step.GOODBYE
    _logger.error(
        "%s ignored its cancellation for %g s and is abandoned (%s)%s",
        cell.path,
        stopping.grace,
        stopping.step.name,
        "; on_stop is not called" if in_hand else "",
    )
    if in_hand:
        # The code that was abandoned may run on, and on_stop must not come into the midst of it.
        stopping.skip_goodbye = True
        stopping.drain = False
        if cell.envelope is not None and cell.envelope.future is not None and cell.envelope.reply is None:
            refuse(cell, [cell.envelope], "ignored its cancellation and was abandoned")
    cell.put_down(cell.handled)
    stopping.advance()
    cell.run(shut_down(cell))


def _finish(cell: Cell, stopping: Stopping) -> None:
    stopping.disarm()
    if cell.crew is not None and len(cell.crew):
        names = ", ".join(cell.crew.names())
        _logger.error("%s has stopped, but these jobs ignore their cancellation: %s", cell.path, names)
    cell.state = State.STOPPED
    refuse(cell, cell.discard())
    for reply in tuple(cell.deferred or ()):
        reply.fail(stopped(cell, "stopped before it answered"))
    cell.exchange.remove(cell)
    error = stopping.error
    if cell.watchers or cell.watching:
        farewell = Terminated(cell.address, stopping.reason, "" if error is None else describe(error))
        tell_watchers(cell, farewell)
    cell.finished()
    cell.forget()
    if stopping.reason == "escalated" and isinstance(error, Exception):
        if cell.parent is None:
            cell.exchange.system.fail(error)
        else:
            cell.parent.signal(error)
