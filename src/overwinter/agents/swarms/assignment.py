"""One piece of work of one member: tried, tried again, handed to who stands in for it, and recorded."""

from __future__ import annotations

import errno
import inspect
from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from anyio import sleep_forever

from overwinter.agents import events
from overwinter.agents.allowance import Amount, picos
from overwinter.agents.budget import MEMBER, OWN_LIMITS
from overwinter.agents.deadline import deadline
from overwinter.agents.journal_records import MemberFailed as MemberFailedRecord
from overwinter.agents.journal_records import MemberFinished, MemberStarted
from overwinter.agents.models.protocol import Usage
from overwinter.agents.replies import storable_text
from overwinter.agents.swarms.member import is_ours
from overwinter.agents.teams import is_part_of
from overwinter.errors import (
    AgentPaused,
    AskDeadlock,
    ConfigurationError,
    MemberFailed,
    MemberTimeout,
    NameTaken,
    NothingToResume,
    RunPaused,
    SchemaTooNew,
    StaleState,
    SwarmChanged,
    WorkspaceError,
)
from overwinter.persistence.names import storable_name
from overwinter.runtime.hooks import awaited_cancelled, being_cancelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from overwinter.agents.allowance import Account
    from overwinter.agents.journal_records import JournalRecord
    from overwinter.agents.records import Begun, Work
    from overwinter.agents.results import RunResult
    from overwinter.agents.runs import Runs
    from overwinter.agents.stage import Stage
    from overwinter.agents.swarms.base import Swarm
    from overwinter.agents.swarms.member import Member

__all__ = ["Assignment", "MemberPaused"]

_LONGEST_BACKOFF = 60.0
_FIRST_RETRY, _LAST_RETRY = 0.25, 5.0

#: What a disk says that may work again by itself, or when somebody makes room.
_PASSING_ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)

#: What no other attempt mends, and must not be passed over: how things are set up is wrong.
_NOT_ITS_FAILURE = (ConfigurationError, SwarmChanged, AskDeadlock, NameTaken, SchemaTooNew, StaleState)


class MemberPaused(Exception):
    """The member's own run paused; ``reason`` is its ``stop_reason``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Done(NamedTuple):
    text: str
    stop_reason: str
    usage: Usage


class Assignment:
    """What a member was asked to do, until it is done, given up, or cut off.

    :param accounts: those of the swarm, and of the swarms that it works for.
    :param generation: how often the work was reopened; each time it is another run of the member.
    :param passing: the member comes for this work only, and is saved only if it saves itself.
    :param gone_on: see :meth:`Crew.ready`.
    :param cut_off: what is known of the work from before the run was cut off, where it had begun.
    """

    _retry_after = _FIRST_RETRY

    def __init__(
        self,
        swarm: Swarm[Any],
        stage: Stage,
        accounts: tuple[Account, ...],
        member: Member,
        task: str,
        *,
        key: str,
        generation: int,
        streams: bool,
        passing: bool,
        gone_on: tuple[AbstractSet[str], ...],
        cut_off: Begun | None,
    ) -> None:
        self._swarm = swarm
        self._stage = stage
        self._accounts = accounts
        self._member = member
        self._task = storable_text(task)
        self._key = key
        self._run_id = f"{stage.state.run_id}:{key}" + (f"~{generation}" if generation else "")
        self._streams = streams
        self._passing = passing
        self._gone_on = gone_on
        self._cut_off = cut_off
        self._began_before = cut_off is not None
        self._attempts = 0 if cut_off is None else cut_off.failures
        self._usage = Usage()
        self._began = stage.clock.monotonic()

    async def perform(self) -> Work:
        """Do it, as the member's policy says, and return what is recorded of it.

        :raises MemberFailed: it failed, and so did its fallback, and the policy says ``fail_fast``.
        :raises MemberPaused: the member's run paused.
        """
        stage, name = self._stage, storable_name(self._member.agent_name)
        if self._cut_off is None:
            stage.state.happened(MemberStarted(at=stage.now(), key=self._key, member=name, task=self._task))
        elif (self._cut_off.member, self._cut_off.checksum) != (name, crc32(self._task.encode())):
            raise SwarmChanged(
                f"the work {self._key!r} of swarm {self._swarm.agent_name!r} was begun by {self._cut_off.member!r}, "
                f"with another task than {name!r} is given now; go on with the swarm as it was, or give the run up "
                "with cancel()"
            )
        stage.emit(events.MemberStarted, key=self._key, member=name, task=self._task)
        policy = self._swarm.roster.policy_of(self._member)
        last: Exception | None = None
        tries = [self._member] * policy.attempts + ([policy.fallback] if policy.fallback is not None else [])
        for number, one in enumerate(tries):
            if number and one is self._member:
                await stage.clock.sleep(min(policy.backoff * 2.0 ** min(number - 1, 30), _LONGEST_BACKOFF))
            try:
                done = await self._attempt(one, policy.timeout)
            except MemberPaused:
                raise
            except _NOT_ITS_FAILURE as error:
                error.add_note(
                    f"member {one.agent_name!r} of swarm {self._swarm.agent_name!r}, at {self._key!r}"
                )
                raise
            except Exception as error:  # noqa: BLE001 - whatever a member raises is its failure
                await self._go_down_with_the_runtime()
                last = error
                self._failed(one, error, tries[number + 1 :], policy.then)
                continue
            return await self._finished(done, by="" if one is self._member else storable_name(one.agent_name))
        assert last is not None
        return await self._given_up(last, skip=policy.then == "skip")

    async def _attempt(self, one: Member, timeout: float | None) -> _Done:  # noqa: ASYNC109
        self._attempts += 1
        if is_ours(one):
            # Before the time begins: a disk that fails is no fault of the member's.
            self._retry_after = _FIRST_RETRY
            await self._bring(one)
        with deadline(self._stage.clock, timeout):
            if is_ours(one):
                return await self._run(one)
            try:
                return await self._run_foreign(one)
            except CancelledError as cancelled:
                # What it awaited may have been cancelled, and not this work: a task group would pass over that.
                if being_cancelled():
                    raise
                raise awaited_cancelled(f"{one.agent_name!r}.run", cancelled) from cancelled
        raise MemberTimeout(f"{one.agent_name!r} did not finish within the {timeout:g} s of its policy")

    async def _run(self, member: Runs[Any, Any]) -> _Done:
        """The work of a member that is here."""
        if self._began_before:
            # What it spent before it was cut off was drawn on accounts that are gone.
            self._began_before = False
            spent = member.usage_of(self._run_id)
            for account in self._accounts:
                account.charge(Amount(spent.total_tokens, picos(spent.cost or 0.0)))
        if member.paused_at and self._is_left_behind(member):
            # Nobody goes on with it any more: another run of this swarm was begun instead.
            await member.cancel()
        while True:
            try:
                result = await member.work(self._task, run_id=self._run_id, streams=self._streams)
                break
            except AgentPaused:
                # Another run of it stands before this one, and has to go on first.
                raise MemberPaused(_as_told_of_a_member(member.paused_at or "pause")) from None
            except WorkspaceError as error:
                # Whether it did that work before is looked up in its files.
                await self._wait_for_the_disk(member, error)
        if result.status == "paused":
            self._refuse_to_wait(member, result)
            raise MemberPaused(_as_told_of_a_member(result.stop_reason))
        return _Done(result.text, result.stop_reason, result.usage)

    def _is_left_behind(self, member: Runs[Any, Any]) -> bool:
        run_id, state = member.state.run_id, self._stage.state
        return run_id != self._run_id and is_part_of(run_id, [state.run_ids - {state.run_id}])

    def _refuse_to_wait(self, member: Runs[Any, Any], result: RunResult[Any]) -> None:
        """Nobody could reach a member that came for this work only, so it fails where another would wait."""
        if self._passing and (result.pending or result.stop_reason in OWN_LIMITS):
            raise RunPaused(
                f"{member.agent_name!r} paused ({result.stop_reason}), and as it came for this work only nobody can "
                "go on with it; give it higher limits, and no tools that wait for a person",
                run_id=self._run_id,
                limit=result.stop_reason,
            )

    async def _bring(self, member: Runs[Any, Any]) -> None:
        """Have the member here."""
        while True:
            try:
                await self._swarm.crew.ready(
                    member,
                    self._stage.runtime,
                    saved=None if self._passing else self._swarm.saved_as,
                    gone_on=self._gone_on,
                )
                break
            except WorkspaceError as error:
                await self._wait_for_the_disk(member, error)

    async def _wait_for_the_disk(self, member: Runs[Any, Any], error: WorkspaceError) -> None:
        """Give a disk that fails some time, and each time more: it is no fault of the member's.

        :raises WorkspaceError: the *error*, where no disk is behind it that may work again by itself.
        """
        if not _may_pass(error):
            raise error
        self._stage.emit(events.SaveFailing, path=str(member.workspace_dir), error=self._told(error))
        delay = self._retry_after
        self._retry_after = min(2 * delay, _LAST_RETRY)
        await self._stage.clock.sleep(delay)

    async def _run_foreign(self, member: Member) -> _Done:
        """The work of a member that is no agent or swarm of this project."""
        began_before, self._began_before = self._began_before, True
        run: Callable[..., Any] = member.run
        if "run_id" in inspect.signature(run).parameters:
            result = await run(self._task, run_id=self._run_id)
        elif began_before:
            try:
                result = await member.resume()
            except NothingToResume:
                result = await run(self._task)
        else:
            result = await run(self._task)
        if getattr(result, "status", "") == "paused":
            raise MemberPaused(_as_told_of_a_member(getattr(result, "stop_reason", "pause")))
        usage = getattr(result, "usage", None)
        told = str(getattr(result, "stop_reason", ""))
        return _Done(str(result), told, usage if isinstance(usage, Usage) else Usage())

    async def _go_down_with_the_runtime(self) -> None:
        """A member that stops because everything does has not failed: this run is about to be interrupted too."""
        if not self._stage.runtime.running:
            await sleep_forever()

    def _failed(self, one: Member, error: Exception, then: list[Member], otherwise: str) -> None:
        what_next = "skip" if otherwise == "skip" else "fail"
        if then:
            what_next = "retry" if then[0] is one else "fallback"
        if is_ours(one) and (not then or then[0] is not one):
            self._usage += one.usage_of(self._run_id)
        self._stage.emit(
            events.MemberFailed,
            key=self._key,
            member=one.agent_name,
            error=self._told(error),
            attempt=self._attempts,
            what_next=what_next,
        )
        if what_next in ("retry", "fallback"):
            self._record(
                MemberFailedRecord(
                    at=self._stage.now(),
                    key=self._key,
                    member=storable_name(self._member.agent_name),
                    error=self._told(error),
                    attempts=self._attempts,
                )
            )

    async def _finished(self, done: _Done, *, by: str) -> Work:
        stage = self._stage
        self._usage += done.usage
        self._record(
            MemberFinished(
                at=stage.now(),
                key=self._key,
                member=storable_name(self._member.agent_name),
                by=by,
                text=storable_text(done.text),
                stop_reason=storable_text(done.stop_reason),
                usage=self._usage,
                attempts=self._attempts,
                seconds=self._seconds,
            )
        )
        work = stage.state.works[-1]
        await self._certain()
        stage.emit(
            events.MemberFinished, key=self._key, member=work.member, text=work.text, usage=work.usage, by=by
        )
        return work

    async def _given_up(self, error: Exception, *, skip: bool) -> Work:
        name, told = storable_name(self._member.agent_name), self._told(error)
        self._record(
            MemberFailedRecord(
                at=self._stage.now(),
                key=self._key,
                member=name,
                error=told,
                skipped=skip,
                usage=self._usage,
                attempts=self._attempts,
                seconds=self._seconds,
            )
        )
        works = self._stage.state.works
        work = works[-1] if skip else None
        await self._certain()
        if work is None:
            raise MemberFailed(self._swarm.agent_name, name, key=self._key, error=told) from error
        return work

    def _record(self, record: JournalRecord) -> None:
        self._stage.state.happened(record)

    async def _certain(self) -> None:
        if self._stage.saving is not None:
            await self._stage.saving.step()

    @property
    def _seconds(self) -> float:
        return round(self._stage.clock.monotonic() - self._began, 6)

    def _told(self, error: Exception) -> str:
        return self._stage.scrub(f"{type(error).__name__}: {error}")


def _as_told_of_a_member(reason: str) -> str:
    """Why a member paused, in the words of its swarm: a limit of the member's own is not the swarm's."""
    return f"{MEMBER}{reason}" if reason in OWN_LIMITS else reason


def _may_pass(error: BaseException) -> bool:
    """Whether a disk is behind it that may work again by itself."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    return cause is not None and cause.errno in _PASSING_ERRORS
