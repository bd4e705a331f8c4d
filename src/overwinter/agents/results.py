"""What a run hands back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, TypeVar, cast

from overwinter.agents.asking import how_to_decide, listed
from overwinter.agents.budget import how_to_go_on
from overwinter.errors import RunPaused

if TYPE_CHECKING:
    from overwinter.agents.models.protocol import Usage
    from overwinter.agents.records import Pending

__all__ = ["RunResult"]

OutputT = TypeVar("OutputT")


class RunResult(Generic[OutputT]):
    """The outcome of one run.

    :ivar status: ``"finished"``, or ``"paused"`` when a limit was met or a person is waited for.
    :ivar text: the model's last text, or what the tool returned that ended the run.
    :ivar stop_reason: why it ended: ``"answered"``, ``"max_loops"``, ``"stopping_condition"``,
        ``"stopping_token"``, or ``"tool:"`` and the name of the tool that ended it;
        of a paused run the limit: ``"max_loops"``, ``"tokens"``, ``"cost"``, ``"seconds"``,
        the runtime's ``"runtime_tokens"``, ``"runtime_cost"``, ``"runtime_seconds"``,
        or ``"pause"``; or what a person is waited for: ``"approval"``, ``"question"`` or ``"unknown"``.
    :ivar pending: the calls that waited for a person when it paused.
    :ivar usage: tokens and US dollars that this run spent, over all its resumptions.
    :ivar loop_count: model calls that this run made.
    """

    __slots__ = (
        "_output",
        "agent_name",
        "loop_count",
        "pending",
        "run_id",
        "status",
        "stop_reason",
        "text",
        "usage",
    )

    def __init__(
        self,
        *,
        agent_name: str,
        run_id: str,
        status: Literal["finished", "paused"],
        stop_reason: str,
        text: str,
        usage: Usage,
        loop_count: int,
        output: OutputT | None = None,
        pending: tuple[Pending, ...] = (),
    ) -> None:
        self.agent_name = agent_name
        self.run_id = run_id
        self.status = status
        self.stop_reason = stop_reason
        self.text = text
        self.usage = usage
        self.loop_count = loop_count
        self.pending = pending
        self._output = output

    @property
    def output(self) -> OutputT:
        """The answer in the type asked for with ``output_type``; ``None`` where a tool ended the run with another.

        :raises RunPaused: the run has not finished; the error names the limit, or what waits for a person.
        """
        if self.pending:
            raise RunPaused(
                f"run {self.run_id} of agent {self.agent_name!r} is paused and waits for a person: "
                f"{listed(self.pending)}. Nothing is lost; {how_to_decide(self.pending)}.",
                run_id=self.run_id,
                limit=self.stop_reason,
            )
        if self.status == "paused":
            raise RunPaused(
                f"run {self.run_id} of agent {self.agent_name!r} is paused at its limit {self.stop_reason!r} after "
                f"{self.loop_count} loops, and nothing is lost; {how_to_go_on(self.stop_reason)}.",
                run_id=self.run_id,
                limit=self.stop_reason,
            )
        return cast("OutputT", self._output)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return (
            f"RunResult({self.agent_name!r}, {self.status}, {self.stop_reason!r}, "
            f"loop_count={self.loop_count}, run_id={self.run_id!r}, text={self.text[:60]!r})"
        )
