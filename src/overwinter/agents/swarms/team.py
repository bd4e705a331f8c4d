"""What a pattern does its work with: the members, asked, recorded and told apart from those that failed."""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import msgspec
from anyio import CancelScope, create_task_group, sleep_forever, to_thread
from anyio.lowlevel import checkpoint

from overwinter.agents import events
from overwinter.agents.journal_records import Decided
from overwinter.agents.swarms.assignment import Assignment, MemberPaused
from overwinter.agents.swarms.results import MemberResult
from overwinter.agents.turns import Turns
from overwinter.errors import ConfigurationError, MemberFailed, SwarmChanged
from overwinter.persistence.codec import encode_checked
from overwinter.persistence.names import storable_name
from overwinter.runtime.hooks import awaited_cancelled, being_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from collections.abc import Set as AbstractSet

    from overwinter.agents.allowance import Account
    from overwinter.agents.records import Work
    from overwinter.agents.stage import Stage
    from overwinter.agents.swarms.base import Swarm
    from overwinter.agents.swarms.member import Member

__all__ = ["Team"]

T = TypeVar("T")

_LONGEST_KEY = 2000
_AT_A_TIME = 32


class Team:
    """The members of a swarm at work on one run.

    Each piece of work has a ``key``, which is the same whenever the pattern runs again: what is recorded under it is
    handed back at once, and not done again.

    When a member pauses, at a limit or for a person, or the swarm is to pause, no further work begins; when all work
    under way has ended, the pattern is cut off and the run pauses.
    """

    def __init__(
        self,
        swarm: Swarm[Any],
        stage: Stage,
        accounts: tuple[Account, ...],
        gone_on: tuple[AbstractSet[str], ...],
        *,
        streams: bool,
        parked: Callable[[], None],
    ) -> None:
        state = stage.state
        self.run_id = state.run_id
        self.paused = ""
        self._swarm = swarm
        self._stage = stage
        self._accounts = accounts
        self._gone_on = gone_on
        self._streams = streams
        self._parked = parked
        self._works = state.works_of(self.run_id)
        self._choices = state.choices_of(self.run_id)
        self._cut_off = state.begun_of(self.run_id)
        self._reopened = state.reopenings_of(self.run_id)
        self._asked: set[str] = set()
        # One piece of work of a member after the other: the time of an attempt begins when the member does.
        self._turns: Turns[int] = Turns()
        self._swarms_at_work: dict[str, Callable[[], None]] = {}
        self._under_way: set[str] = set()

    def pause(self, reason: str) -> None:
        """Begin no further work, and pause when what is under way has ended."""
        self.paused = self.paused or reason
        if reason == "pause":
            for hold in self._swarms_at_work.values():
                hold()
        self._park_if_idle()

    def is_done(self, key: str) -> bool:
        """Whether the work of that key is recorded, and would not be done again."""
        return key in self._works

    async def ask(self, member: Member, task: str, *, key: str, leave: bool = False) -> MemberResult:
        """Have *member* do *task*, and return what came of it once that is recorded.

        :param key: which work of the run this is: a text of 1 to 2,000 characters, for one piece of work each.
        :param leave: the member comes for this work only: it is let go of when it is done, and it is not saved because
            the swarm is, but only if it saves itself.
        :raises MemberFailed: it failed, and its policy says ``fail_fast``.
        :raises SwarmChanged: the work of that key was another member's, or another task.
        :raises ConfigurationError: the key was asked for in this run already, or is none; or the member cannot work.

        Cancelling it interrupts the member; it returns when that is saved, and the work can be gone on with.
        """
        key = self._checked(key)
        done = self._works.get(key)
        if done is not None:
            await self._let_others_run()
        else:
            async with self._at_work(key), self._turns.at(id(member)):
                assignment = Assignment(
                    self._swarm,
                    self._stage,
                    self._accounts,
                    member,
                    task,
                    key=key,
                    generation=self._reopened[key],
                    streams=self._streams,
                    passing=leave,
                    gone_on=self._gone_on,
                    cut_off=self._cut_off.pop(key, None),
                )
                hold: Callable[[], None] | None = getattr(member, "hold", None)
                if hold is not None:
                    self._swarms_at_work[key] = hold
                try:
                    if self.paused:
                        raise MemberPaused(self.paused)
                    done = self._works[key] = await assignment.perform()
                except MemberPaused as pause:
                    self.paused = self.paused or pause.reason
                finally:
                    self._swarms_at_work.pop(key, None)
                    if leave:
                        with CancelScope(shield=True):
                            await self._swarm.crew.let_go(member)
        if done is None:
            return await self._park()
        return self._result(done, member)

    async def ask_all(
        self, asked: Iterable[tuple[Member, str, str]], *, at_once: int | None = None, leave: bool = False
    ) -> list[MemberResult]:
        """Ask many, each ``(member, task, key)``, and return what came of it, in the order in which they were given.

        :param at_once: how many may be at work at once; *asked* is gone through no faster than that.
        :raises MemberFailed: one failed, and its policy says ``fail_fast``; the others are interrupted. Those that
            failed in the same moment are named in its notes.
        :raises ConfigurationError: ``at_once`` is less than 1.
        """
        if at_once is not None and at_once < 1:
            raise ConfigurationError(f"at_once is {at_once}; give 1 or more, or None for no limit")
        results: dict[int, MemberResult] = {}
        waiting = enumerate(asked)

        async def one(place: int, work: tuple[Member, str, str]) -> None:
            member, task, key = work
            results[place] = await self.ask(member, task, key=key, leave=leave)

        async def some(place: int, work: tuple[Member, str, str]) -> None:
            for each in chain([(place, work)], waiting):
                await one(*each)

        try:
            async with create_task_group() as tasks:
                for place, work in islice(waiting, at_once):
                    tasks.start_soon(one if at_once is None else some, place, work)
        except BaseExceptionGroup as group:
            first = _first_of(group)
            raise first from first.__cause__
        return [results[place] for place in sorted(results)]

    async def decide(
        self,
        key: str,
        function: Callable[[], T | Awaitable[T]],
        type: type[T],  # noqa: A002
        *,
        thread: bool = False,
    ) -> T:
        """What *function* returns, called once in the run: whenever the pattern runs again it is what it was.

        :param type: what it returns, as msgspec stores it in JSON.
        :param thread: call it in a thread, for it may take its time. Cancelled meanwhile, it is left alone there.
        :raises ConfigurationError: it returned something else, or what cannot be stored.

        What it raises ends the run, with a note that names the key.
        """
        key = self._checked(key)
        known = self._choices.get(key)
        if known is not None:
            await self._let_others_run()
            return msgspec.convert(known.value, type)
        async with self._at_work(key):
            try:
                value = await self._call_in_thread(function) if thread else function()
                if inspect.isawaitable(value):
                    value = await value
            except CancelledError as cancelled:
                if being_cancelled():
                    raise
                raise awaited_cancelled(f"what decides {key!r}", cancelled) from cancelled
            except Exception as error:
                error.add_note(f"raised where swarm {self._swarm.agent_name!r} decides {key!r}")
                raise
            encoded = self._encoded(key, value, type)
            self._stage.state.happened(Decided(at=self._stage.now(), key=key, value=msgspec.Raw(encoded)))
            self._choices[key] = self._stage.state.choices[-1]
            if self._stage.saving is not None:
                await self._stage.saving.step()
        return msgspec.json.decode(encoded, type=type)

    async def _call_in_thread(self, function: Callable[[], T]) -> T:
        limiter = self._stage.limiter
        return await to_thread.run_sync(function, limiter=limiter, abandon_on_cancel=True)

    def progress(self, done: int, total: int = 0) -> None:
        """Tell whoever watches how far the work is."""
        self._stage.emit(events.Progress, done=done, total=total)

    def _checked(self, key: Any) -> str:
        name = self._swarm.agent_name
        if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY:
            raise ConfigurationError(
                f"{key!r} is no key for the work of swarm {name!r}; give a text of 1 to {_LONGEST_KEY} characters"
            )
        if key in self._asked:
            raise ConfigurationError(
                f"two pieces of work of one run of swarm {name!r} have the key {key!r}; give each its own"
            )
        self._asked.add(key)
        return storable_name(key)

    async def _let_others_run(self) -> None:
        """What is recorded costs no time, and thousands of it would keep the event loop from everybody else."""
        if not len(self._asked) % _AT_A_TIME:
            await checkpoint()

    def _at_work(self, key: str) -> _AtWork:
        return _AtWork(self, key)

    async def begin(self, key: str) -> None:
        """Work begins, unless the run is to pause."""
        if self.paused:
            await self._park()
        self._under_way.add(key)

    def end(self, key: str) -> None:
        """Work ended, however it did."""
        self._under_way.discard(key)

    async def _park(self) -> NoReturn:
        self._park_if_idle()
        await sleep_forever()
        raise AssertionError

    def _park_if_idle(self) -> None:
        if self.paused and not self._under_way:
            self._parked()

    def _result(self, work: Work, member: Member) -> MemberResult:
        if work.member != storable_name(member.agent_name):
            raise SwarmChanged(
                f"swarm {self._swarm.agent_name!r} asks member {member.agent_name!r} for {work.key!r}, which "
                f"{work.member!r} did before it was cut off; go on with the members it had, or give the run up "
                "with cancel()"
            )
        return MemberResult(work, self._swarm.roster.reader_of(work.by or work.member))

    def _encoded(self, key: str, value: object, type: type[Any]) -> bytes:  # noqa: A002
        try:
            encoded = encode_checked(value, what=f"decision {key!r}")
            msgspec.json.decode(encoded, type=type)
        except (ValueError, msgspec.MsgspecError) as error:
            raise ConfigurationError(
                f"what was decided for {key!r} in swarm {self._swarm.agent_name!r} is {value!r}, which is no "
                f"{getattr(type, '__name__', type)} that can be recorded: {error}"
            ) from error
        return encoded


class _AtWork:
    """A piece of work under way. When the last one ends while the run is to pause, the pattern is cut off."""

    __slots__ = ("_key", "_team")

    def __init__(self, team: Team, key: str) -> None:
        self._team = team
        self._key = key

    async def __aenter__(self) -> None:
        await self._team.begin(self._key)

    async def __aexit__(self, *_: object) -> None:
        self._team.end(self._key)
        if self._team.paused:
            self._team.pause(self._team.paused)


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that speaks for all, a member's failure above all; the others are named in its notes."""
    errors: list[BaseException] = []
    groups: list[BaseExceptionGroup[BaseException]] = [group]
    for each in groups:
        for error in each.exceptions:
            if isinstance(error, BaseExceptionGroup):
                groups.append(cast("BaseExceptionGroup[BaseException]", error))
            else:
                errors.append(error)
    first = next((error for error in errors if isinstance(error, MemberFailed)), errors[0])
    for error in errors:
        if error is not first:
            first.add_note(f"and at the same time: {type(error).__name__}: {error}")
    return first
