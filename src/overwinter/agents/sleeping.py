"""Sleep that outlasts the process: a deadline is written down before it is waited for."""

from __future__ import annotations

import asyncio
import logging
import math
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from anyio import Lock

from overwinter.agents.journal_records import SleepBegan
from overwinter.errors import ConfigurationError, SaveFailed, SaveNotDurable
from overwinter.runtime.scope import owner_here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from overwinter.agents.models.protocol import ToolCall
    from overwinter.agents.stage import Stage
    from overwinter.persistence import Snapshot
    from overwinter.runtime import Clock

__all__ = ["ActorSleeps", "CallSleeps", "sleep", "sleep_until"]

logger = logging.getLogger("overwinter.agents")

# A clock that is set, and a computer that wakes up, are noticed within this time.
_SLICE = 60.0

_call: ContextVar[CallSleeps | None] = ContextVar("overwinter_tool_call", default=None)


async def sleep(seconds: float, *, key: str = "") -> None:
    """Sleep for *seconds* from the first time this is called; see :func:`sleep_until`.

    When the call is repeated after a restart, the time that has passed since the first one counts.
    """
    if not math.isfinite(seconds):
        raise ConfigurationError(f"one cannot sleep {seconds!r} seconds; give a number")

    def wake(now: datetime) -> datetime:
        try:
            return now + timedelta(seconds=seconds)
        except OverflowError as error:
            raise ConfigurationError(f"{seconds:g} seconds from now are beyond the calendar") from error

    await _sleep(wake, key)


async def sleep_until(when: datetime, *, key: str = "") -> None:
    """Sleep until the time *when*, which needs a time zone, over restarts of the process.

    In an async tool the deadline is recorded in the agent's journal, and from ``durability="async"`` up it is on the
    disk before the sleep begins. When the run is resumed and the tool, which has to be ``idempotent``, is called again,
    the same sleep of the call goes on to the deadline that was recorded, whatever *when* is then; one that has passed
    returns at once. Sleeps of one call are told apart by their order, or by *key* where that may change. A timeout of
    the tool goes on while it sleeps.

    In an actor that was spawned with a name on a :class:`~overwinter.Runtime`, *key* names the sleep, and the deadline
    is kept beside the actor's snapshots. Once the sleep is over, the key is free for another.

    The deadline is one of the clock on the wall: should that be set, the sleep ends by the new time, at most a minute
    late. Cancelled, it leaves the deadline recorded.

    :raises ConfigurationError: there is neither a tool call nor a named actor here that could be restarted, *when* has
        no time zone, or an actor gave no key.
    :raises AgentInUse: an actor of that name sleeps in another process, in the same workspace.
    """
    if when.tzinfo is None:
        raise ConfigurationError(f"{when.isoformat()} has no time zone; give one, as in datetime.now(UTC)")
    await _sleep(lambda _: when.astimezone(UTC), key)


class CallSleeps:
    """The sleeps of one tool call, which the code inside of the ``with`` block finds."""

    def __init__(self, stage: Stage, call: ToolCall) -> None:
        self._stage = stage
        self._made = call
        self._owner = _owner()
        self._loop = asyncio.get_running_loop()
        self._numbers: dict[str, int] = {}
        self._ended = False

    def __enter__(self) -> Self:
        self._token = _call.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _call.reset(self._token)
        self._ended = True

    @property
    def is_here(self) -> bool:
        """Whether the code that runs belongs to the call, and not to an actor that inherited its context."""
        return self._owner is _owner()

    async def sleep(self, wake: Callable[[datetime], datetime], key: str) -> None:
        """Sleep until what *wake* makes of the present, or until the deadline that was recorded for this sleep."""
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(
                "a synchronous tool cannot sleep durably, for its thread dies with the process; make it `async def`"
            )
        if self._ended:
            raise ConfigurationError(
                "the tool call in which this task was started has ended, and nobody would repeat the sleep"
            )
        clock, state = self._stage.clock, self._stage.state
        number = self._numbers[key] = self._numbers.get(key, 0) + 1
        recorded = state.sleeps.get((self._made.id, key, number))
        until = wake(clock.now()) if recorded is None else datetime.fromisoformat(recorded)
        if until > clock.now():
            if recorded is None:
                self._record(number, until, key)
            if self._stage.saving is not None:
                await self._stage.saving.calls_begin(may_repeat=False)
        await _wait_until(clock, until)

    def _record(self, number: int, until: datetime, key: str) -> None:
        stage, call = self._stage, self._made
        record = SleepBegan(at=stage.now(), call_id=call.id, number=number, until=until.isoformat(), key=key)
        stage.state.happened(record)
        if (until - stage.clock.now()).total_seconds() > _SLICE and not stage.profile.toolbox.may_repeat(
            call.name
        ):
            logger.warning(
                "tool %r sleeps until %s and is not idempotent, so it is not called again should the process end "
                "meanwhile; make it @tool(idempotent=True)",
                call.name,
                until.isoformat(),
            )


class ActorSleeps:
    """The sleeps of the named actors of one runtime; *keep* opens what an actor's deadlines are kept in, by key."""

    def __init__(self, keep: Callable[[str], Awaitable[Snapshot[dict[str, datetime]]]], clock: Clock) -> None:
        self._keep = keep
        self._clock = clock
        self._opening = Lock()
        self._deadlines: dict[str, Snapshot[dict[str, datetime]]] = {}

    async def sleep(self, name: str, wake: Callable[[datetime], datetime], key: str) -> None:
        """Sleep until what *wake* makes of the present, or until the deadline that is kept under *key*."""
        kept = await self._open(name)
        until = kept.value.get(key)
        if until is None:
            until = wake(self._clock.now())
            if until > self._clock.now():
                await self._save(kept, kept.value | {key: until})
        await _wait_until(self._clock, until)
        if key in kept.value:
            kept.mark({other: deadline for other, deadline in kept.value.items() if other != key})

    async def _open(self, name: str) -> Snapshot[dict[str, datetime]]:
        async with self._opening:
            if name not in self._deadlines:
                self._deadlines[name] = await self._keep(name)
        return self._deadlines[name]

    @staticmethod
    async def _save(kept: Snapshot[dict[str, datetime]], deadlines: dict[str, datetime]) -> None:
        try:
            await kept.save(deadlines)
        except (SaveFailed, SaveNotDurable) as error:
            # It is tried again behind; until then a restart would begin the sleep anew.
            logger.warning("a deadline is not on disk yet: %s", error)


async def _sleep(wake: Callable[[datetime], datetime], key: str) -> None:
    call = _call.get()
    if call is not None and call.is_here:
        await call.sleep(wake, key)
        return
    owner = _owner()
    if owner is None or not _is_named(owner) or not hasattr(owner.exchange.system, "sleeps"):
        raise ConfigurationError(
            "nothing here could be restarted and go on sleeping: use it in an async tool of an agent, or in an actor "
            "that was spawned with name= on a Runtime; elsewhere use asyncio.sleep"
        )
    if not key:
        raise ConfigurationError(
            "in an actor a sleep needs a name, by which it is known after a restart: key="
        )
    await owner.exchange.system.sleeps.sleep(owner.path.removeprefix("/"), wake, key)


async def _wait_until(clock: Clock, until: datetime) -> None:
    await asyncio.sleep(0)
    while (left := (until - clock.now()).total_seconds()) > 0:
        await clock.sleep(min(left, _SLICE))


def _owner() -> Any:
    """The actor whose code runs, or ``None``."""
    return owner_here()


def _is_named(owner: Any) -> bool:
    while owner is not None and owner.named:
        owner = owner.parent
    return owner is None
