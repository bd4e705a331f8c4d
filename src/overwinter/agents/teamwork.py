"""What a swarm knows of the work of its members: the part of the state that agents have no use for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from overwinter.agents.knowledge import Knowledge
from overwinter.agents.records import Begun, Choice, StateBody, Work

if TYPE_CHECKING:
    from overwinter.agents import journal_records as journal
    from overwinter.agents.models.protocol import Usage

__all__ = ["Teamwork"]


class Teamwork(Knowledge):
    """Which work of a swarm's runs began, ended or was skipped, and what was decided in them.

    :ivar works: all work that ended, over all runs of the conversation, in the order in which it did.
    :ivar choices: all that was decided.
    :ivar begun_work: by the id of the member's run, ``{run_id}:{key}``, the work that began and has not ended.
    """

    __slots__ = ("begun_work", "choices", "usage", "works")

    begun_work: dict[str, Begun]
    choices: list[Choice]
    works: list[Work]
    usage: Usage

    def forget_work(self) -> None:
        """Know of no work."""
        self.works = []
        self.choices = []
        self.begun_work = {}

    def restore_work(self, body: StateBody) -> None:
        """Know what a state file says."""
        self.works = list(body.works)
        self.choices = list(body.choices)
        self.begun_work = dict(body.begun_work)

    def begun_of(self, run_id: str) -> dict[str, Begun]:
        """What began in that run and has not ended, by key."""
        return {begun.key: begun for begun in self.begun_work.values() if begun.run_id == run_id}

    def reopenings_of(self, run_id: str) -> Counter[str]:
        """How often the work of each key of that run was reopened."""
        return Counter(work.key for work in self.works if work.run_id == run_id and work.status == "reopened")

    def works_of(self, run_id: str) -> dict[str, Work]:
        """What ended in that run, by key, and was not reopened."""
        ended = {work.key: work for work in self.works if work.run_id == run_id}
        return {key: work for key, work in ended.items() if work.status != "reopened"}

    def choices_of(self, run_id: str) -> dict[str, Choice]:
        """What was decided in that run, by key."""
        return {choice.key: choice for choice in self.choices if choice.run_id == run_id}

    def _member_started(self, record: journal.MemberStarted) -> None:
        self._begun(record.key, record.member, checksum=crc32(record.task.encode()))

    def _member_finished(self, record: journal.MemberFinished) -> None:
        self._work_ended(
            Work(
                run_id=self.run_id,
                key=record.key,
                member=record.member,
                by=record.by,
                text=record.text,
                stop_reason=record.stop_reason,
                usage=record.usage,
                attempts=record.attempts,
                seconds=record.seconds,
                at=record.at,
            )
        )

    def _member_failed(self, record: journal.MemberFailed) -> None:
        if not record.skipped:
            self._begun(record.key, record.member, failures=record.attempts)
            return
        self._work_ended(
            Work(
                run_id=self.run_id,
                key=record.key,
                member=record.member,
                status="skipped",
                error=record.error,
                usage=record.usage,
                attempts=record.attempts,
                seconds=record.seconds,
                at=record.at,
            )
        )

    def _begun(self, key: str, member: str, **told: int) -> None:
        name = f"{self.run_id}:{key}"
        begun = self.begun_work.get(name) or Begun(self.run_id, key, member)
        self.begun_work[name] = msgspec.structs.replace(begun, **told)

    def _work_reopened(self, record: journal.WorkReopened) -> None:
        works = self.works_of(self.run_id)
        for key in record.keys:
            work = works[key]
            self.works.append(msgspec.structs.replace(work, status="reopened", at=record.at))

    def _work_ended(self, work: Work) -> None:
        self.begun_work.pop(f"{work.run_id}:{work.key}", None)
        self.works.append(work)
        self.usage += work.usage
        if self.run is not None:
            self.run.loop_count += 1
            self.run.usage += work.usage
            self.run.known_cost += work.usage.cost or 0.0

    def _decided(self, record: journal.Decided) -> None:
        self.choices.append(Choice(self.run_id, record.key, msgspec.json.decode(record.value)))
