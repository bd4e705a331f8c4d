"""What ``verbose=True`` says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from overwinter.agents import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.events import Event

__all__ = ["narrator"]

logger = logging.getLogger("overwinter.agents.verbose")

_LONGEST = 100


def narrator() -> Callable[[Event], None]:
    """A watcher that logs each event but the streamed text, at level INFO.

    Where the program has set up no logging at all, lines go to standard error, since they were asked for.
    """
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    return _log


def _log(event: Event) -> None:
    said = _said(event)
    if said:
        logger.info("[%s] %s", event.agent_name, said)


def _said(event: Event) -> str:
    match event:
        case events.RunStarted():
            return f"{'resumed' if event.resumed else 'began'}: {_short(event.task)}"
        case events.ModelStarted():
            return f"loop {event.loop}: asking the model"
        case events.ModelRetrying():
            return (
                f"loop {event.loop}: asking {event.model} again in {event.delay:.1f} s: {_short(event.error)}"
            )
        case events.ModelWaiting():
            return f"loop {event.loop}: waits for its turn at {event.model} ({event.limit})"
        case events.ReplyReceived():
            calls = f", calls {', '.join(event.tool_calls)}" if event.tool_calls else ""
            return f"loop {event.loop}: {event.usage.output_tokens} tokens{calls}"
        case events.ToolFinished():
            return f"loop {event.loop}: {event.tool} {'ok' if event.ok else _short(event.output)}"
        case events.PersonAsked():
            return f"loop {event.loop}: {event.tool} waits for a person ({event.waits_for}, call {event.call_id})"
        case events.PersonAnswered():
            return f"loop {event.loop}: a person {event.decision} {event.tool}: {_short(event.text)}"
        case events.ContextReduced() if event.summary:
            return f"summed up the conversation, which saves about {event.saved} tokens"
        case events.Saved():
            return f"autosaved {event.path} ({event.bytes} bytes)"
        case events.SaveFailing():
            return f"not saved: {event.error}"
        case events.RunEnded():
            return f"{event.status}: {event.stop_reason or _short(event.error)}"
        case _:
            return ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
