"""One run of a swarm: its pattern, carried out by its team."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from overwinter.agents.allowance import Account, Amount, picos
from overwinter.agents.budget import TEAM
from overwinter.agents.journal_records import SwarmAnswered, WorkReopened
from overwinter.agents.loop import Ending
from overwinter.agents.replies import storable_text
from overwinter.agents.swarms.team import Team
from overwinter.agents.teams import TeamAtWork
from overwinter.errors import ConfigurationError, NobodyAnswered, OutputInvalid

if TYPE_CHECKING:
    from overwinter.agents.budget import Budget
    from overwinter.agents.stage import Stage
    from overwinter.agents.swarms.base import Swarm

__all__ = ["Orchestration"]


_CUT_OFF = object()


class Orchestration:
    """Runs a pattern from its start; what is recorded of its members' work is not done again.

    This is how durable executions replay: the pattern is deterministic but for what its members answer and what is
    decided, and both are in the journal.
    """

    def __init__(
        self,
        swarm: Swarm[Any],
        stage: Stage,
        *,
        streams: bool,
        max_loops: int | None,  # noqa: ARG002 - refused where it is asked for
        budget: Budget | None,
        within: tuple[str, ...] = (),
        restarts: bool,  # noqa: ARG002 - a swarm streams no text of its own
    ) -> None:
        self._swarm = swarm
        self._stage = stage
        run = stage.state.run
        assert run is not None
        self._account = Account(
            budget or stage.profile.settings.budget, clock=stage.clock, prefix=TEAM, seconds=run.seconds
        )
        self._account.recount(Amount(run.usage.total_tokens, picos(run.known_cost)))
        teams = stage.teams(within)
        self._shared = stage.accounts(within)
        self._scope = CancelScope()
        gone_on = tuple(runs for team in teams for runs in team.gone_on)
        if swarm.went_on:
            gone_on = (*gone_on, stage.state.run_ids)
        self._at_work = TeamAtWork(self._account, gone_on)
        self._team = Team(
            swarm,
            stage,
            # The runtime's goes on counting for as long as the runtime lives.
            (self._account, *(team.account for team in teams)),
            gone_on,
            streams=streams,
            parked=self._scope.cancel,
        )

    @property
    def seconds(self) -> float:
        """How long the run has been at work, over all its resumptions."""
        return round(self._account.seconds, 6)

    def pause(self) -> None:
        """Pause when the members that are at work have done what they are at."""
        self._team.pause("pause")

    def decided(self) -> None:
        """What waits for a person waits in a member, which hears of it itself."""

    async def run(self) -> Ending:
        """Go on until the pattern has its answer, or all that could go on is paused.

        :raises MemberFailed: a member failed, and its policy says ``fail_fast``.
        :raises OutputInvalid: the answer is none of the swarm's ``output_type``.
        :raises ConfigurationError: the pattern returned something else than a text.

        Cancelling it interrupts all members at work; it returns when they are saved.
        """
        stage, state = self._stage, self._stage.state
        limit = self._time_is_up()
        if limit:
            return Ending("paused", limit)
        teams = stage.runtime.teams
        teams[state.key] = self._at_work
        self._swarm.orchestration = self
        answer: object = _CUT_OFF
        try:
            with self._scope:
                answer = await self._swarm.orchestrate(state.task, self._team)
        except NobodyAnswered:
            self._reopen()
            raise
        finally:
            teams.pop(state.key, None)
            self._swarm.orchestration = None
        if answer is _CUT_OFF:
            return Ending("paused", self._own_name_of(self._team.paused))
        if not isinstance(answer, str):
            raise ConfigurationError(
                f"orchestrate() of {type(self._swarm).__name__} returned {answer!r}; return the answer as a string"
            )
        return await self._answered(storable_text(answer))

    def _reopen(self) -> None:
        """What was skipped came to nothing: when the run goes on, it is asked for again."""
        state = self._stage.state
        works = state.works_of(state.run_id).values()
        skipped = tuple(work.key for work in works if work.status == "skipped")
        if skipped:
            state.happened(WorkReopened(at=self._stage.now(), keys=skipped))

    async def _answered(self, text: str) -> Ending:
        stage, state = self._stage, self._stage.state
        said = state.conversation[-1]
        if said.role != "assistant" or said.run_id != state.run_id:
            state.happened(SwarmAnswered(at=stage.now(), text=text))
            if stage.saving is not None:
                await stage.saving.step()
        try:
            return Ending("finished", "answered", stage.profile.output.read(text))
        except ValueError as error:
            raise OutputInvalid(
                f"the answer of swarm {stage.profile.name!r} is no {stage.profile.output.name}: {error}. Give the "
                "member that writes it this output_type as well."
            ) from error

    def _time_is_up(self) -> str:
        for account in (self._account, *self._shared):
            if account.seconds_left == 0.0:
                return self._own_name_of(account.named("seconds"))
        return ""

    def _own_name_of(self, limit: str) -> str:
        """A limit that is this swarm's, as it is called where the swarm itself is resumed."""
        name = limit.removeprefix(TEAM)
        mine = name != limit and getattr(self._account.budget, name, None) is not None
        return name if mine else limit
