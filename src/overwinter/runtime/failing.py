"""What happens when an actor fails."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from overwinter.errors import ActorStopped, ConfigurationError, RestartLimitReached
from overwinter.runtime.actor import is_actor
from overwinter.runtime.family import end_children
from overwinter.runtime.hooks import run_hook
from overwinter.runtime.refusal import describe
from overwinter.runtime.state import State
from overwinter.runtime.supervision import Escalate, Restart, RestartLog, Resume, Stop, decide

if TYPE_CHECKING:
    from overwinter.runtime.cell import Cell
    from overwinter.runtime.envelope import Envelope
    from overwinter.runtime.supervision import Policy

__all__ = ["failed"]

_logger = logging.getLogger("overwinter.runtime")


async def failed(cell: Cell, error: Exception, envelope: Envelope | None = None) -> None:
    """Do what the supervision of ``cell`` says about ``error``; return when it can go on, or is to stop.

    ``envelope`` is the message that was in hand; who asked it sees the error.
    """
    if envelope is not None:
        envelope.fail(error)
    failure: Exception | None = error
    while failure is not None:
        failure = await _supervise(cell, failure)


async def _supervise(cell: Cell, error: Exception) -> Exception | None:
    """Handle one failure; return the next one if starting again failed."""
    cell.failures += 1
    policy = _decide(cell, error)
    if cell.stopping is not None:
        # A mailbox is drained further only by an actor that may go on as it is.
        if not isinstance(policy, Resume):
            cell.stopping.drain = False
            cell.interrupt()
        _log(cell, error, "it was stopping already")
        return None
    match policy:
        case Resume() if cell.state is State.RUNNING:
            _log(cell, error, "it goes on with the next message", level=logging.WARNING)
        case Restart():
            return await _restart(cell, error, policy)
        case Escalate():
            parent = "the system" if cell.parent is None else cell.parent.path
            _log(cell, error, f"it stops, and so {parent} has failed")
            cell.request_stop(reason="escalated", error=error)
        case _:
            _log(cell, error, "it stops")
            cell.request_stop(reason="failed", error=error)
    return None


async def _restart(cell: Cell, error: Exception, policy: Restart) -> Exception | None:
    if cell.restart_log is None:
        cell.restart_log = RestartLog()
    attempt = cell.restart_log.admit(policy, cell.exchange.clock.monotonic())
    if attempt is None:
        limit = RestartLimitReached(
            f"{cell.path} failed more than {policy.max_restarts} times within {policy.within:g} s; "
            f"the last failure was {describe(error)}"
        )
        limit.__cause__ = error
        _log(
            cell,
            error,
            f"it failed more than {policy.max_restarts} times within {policy.within:g} s and stops",
        )
        cell.request_stop(reason="restart_limit", error=limit)
        return None
    delay = policy.backoff.delay(attempt, cell.exchange.random)
    _log(cell, error, f"it is restarted in {delay:.3g} s (number {attempt} within {policy.within:g} s)")
    cell.state = State.RESTARTING
    cell.restarts += 1
    await _clear_away(cell, error)
    await _wait_out(cell, delay)
    if cell.stopping is not None:
        return None
    try:
        await _start_again(cell, error)
    except Exception as next_error:  # noqa: BLE001 - it is handed to the supervision in its turn
        return next_error
    cell.state = State.RUNNING
    return None


async def _clear_away(cell: Cell, error: Exception) -> None:
    """End what belonged to the life that failed."""
    for reply in tuple(cell.deferred or ()):
        restarted = ActorStopped(f"{cell.path} was restarted before it answered")
        restarted.__cause__ = error
        reply.fail(restarted)
    if cell.crew is not None:
        await cell.crew.end()
    await end_children(cell)
    while cell.signals:
        _log(cell, cell.signals.popleft(), "it is being restarted already")


async def _wait_out(cell: Cell, delay: float) -> None:
    if delay <= 0 or cell.stopping is not None:
        # An actor that fails for ever without a delay must not keep the loop to itself.
        await asyncio.sleep(0)
        return
    pause: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cell.pause = pause
    timer = cell.exchange.clock.call_later(delay, partial(_wake_up, pause))
    try:
        await pause
    finally:
        timer.cancel()
        cell.pause = None


async def _start_again(cell: Cell, error: Exception) -> None:
    cell.owes_goodbye = False
    if cell.factory is None:
        await run_hook(cell, cell.actor.on_restart, error)
    else:
        try:
            await run_hook(cell, cell.actor.on_restart, error)
        except Exception as another:  # noqa: BLE001 - logged; the object is dropped all the same
            _log(cell, another, "on_restart failed in the object that is replaced")
        actor = cell.factory()
        if not is_actor(actor):
            raise ConfigurationError(f"{cell.path} was spawned by a callable that returned no Actor")
        actor.overwinter_cell = cell
        cell.actor = actor
    await run_hook(cell, cell.actor.on_start)
    cell.owes_goodbye = True


def _wake_up(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)


def _decide(cell: Cell, error: Exception) -> Policy:
    try:
        return decide(cell.supervision, error)
    except Exception:
        _logger.exception("the supervision of %s failed itself; the actor stops", cell.path)
        return Stop()


def _log(cell: Cell, error: Exception, outcome: str, *, level: int = logging.ERROR) -> None:
    _logger.log(level, "actor %s failed (%s); %s", cell.path, describe(error), outcome, exc_info=error)
