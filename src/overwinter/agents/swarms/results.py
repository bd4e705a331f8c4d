"""What a run of a swarm hands back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from overwinter.agents.results import RunResult
from overwinter.errors import ConfigurationError, OutputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.models.protocol import Usage
    from overwinter.agents.records import Work

__all__ = ["MemberResult", "SwarmResult"]

OutputT = TypeVar("OutputT")


class MemberResult:
    """What one piece of a member's work came to.

    :ivar key: which work it was.
    :ivar member: who was asked; ``by`` is who did it, which is another where a fallback did.
    :ivar status: ``"finished"``, or ``"skipped"`` where it failed and the swarm went on without.
    :ivar text: the member's last text; empty where it was skipped.
    :ivar stop_reason: why the member's run ended, as its own result says: ``"answered"``, ``"stopping_token"``, …
    :ivar usage: tokens and US dollars that it took, failed attempts included.
    :ivar error: with what it failed.
    :ivar seconds: how long it took, from the time the swarm last began.
    """

    __slots__ = (
        "_read",
        "attempts",
        "by",
        "error",
        "key",
        "member",
        "seconds",
        "status",
        "stop_reason",
        "text",
        "usage",
    )

    def __init__(self, work: Work, read: Callable[[str], Any] = str) -> None:
        self.key = work.key
        self.member = work.member
        self.by = work.by or work.member
        self.status: Literal["finished", "skipped"] = "finished" if work.status == "finished" else "skipped"
        self.text = work.text
        self.stop_reason = work.stop_reason
        self.usage: Usage = work.usage
        self.error = work.error
        self.attempts = work.attempts
        self.seconds = work.seconds
        self._read = read

    @property
    def ok(self) -> bool:
        """Whether the work was done."""
        return self.status == "finished"

    @property
    def output(self) -> Any:
        """The answer in the member's ``output_type``; ``None`` where it was skipped.

        :raises OutputInvalid: it is none of the ``output_type`` that the member has now.
        """
        if not self.ok:
            return None
        try:
            return self._read(self.text)
        except ValueError as error:
            raise OutputInvalid(f"the answer of member {self.by!r} at {self.key!r}: {error}") from error

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"MemberResult({self.key!r}, {self.member!r}, {self.status}, text={self.text[:60]!r})"


class SwarmResult(RunResult[OutputT]):
    """The outcome of one run of a swarm: a :class:`~overwinter.RunResult`, and what each member did.

    ``loop_count`` is how many pieces of work ended, ``usage`` what all members spent.

    :ivar members: each piece of work that ended, in the order in which it did.
    """

    __slots__ = ("members",)

    def __init__(self, *, members: tuple[MemberResult, ...] = (), **told: Any) -> None:
        super().__init__(**told)
        self.members = members

    @property
    def failed(self) -> tuple[MemberResult, ...]:
        """The work that failed and was done without."""
        return tuple(one for one in self.members if not one.ok)

    def member(self, name: str) -> MemberResult:
        """The last work of the member *name*.

        :raises ConfigurationError: no work of such a member ended.
        """
        for one in reversed(self.members):
            if one.member == name:
                return one
        names = ", ".join(sorted({repr(one.member) for one in self.members})) or "nobody"
        raise ConfigurationError(f"nothing of a member {name!r} ended in this run; there is work of {names}")
