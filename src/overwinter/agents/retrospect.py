"""An agent's look back: what happened, what it knew at each step, and going on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from anyio import to_thread

from overwinter.agents.copying import copy_of
from overwinter.agents.diff import diff_states
from overwinter.agents.fork import fork_options, forked
from overwinter.agents.handle import AgentHandle
from overwinter.agents.past import read_history, read_state_at
from overwinter.agents.state_view import StateView

if TYPE_CHECKING:
    from overwinter.agents.diff import StateDiff
    from overwinter.agents.history import HistoryStep
    from overwinter.agents.restore import Restored
    from overwinter.agents.state import AgentState

__all__ = ["AgentRetrospect", "Retrospect"]

OutputT = TypeVar("OutputT")


class Retrospect(AgentHandle[OutputT]):
    """What an agent's journal tells. It is read in a thread, also while the agent is at work, and nobody is kept
    from writing it.

    Only what was saved can be told: of an agent with ``autosave=False``, the states that :meth:`save` left behind. How
    far back it goes is the ``retention``'s business.
    """

    async def history(self, run_id: str = "") -> list[HistoryStep]:
        """Everything that happened, in its order; with *run_id* only what happened in that run.

        Steps that are not there any more are told as well, as one of the kind ``gap``. Empty for an agent of which
        nothing was saved.

        :raises SchemaTooNew: a later overwinter wrote it.
        :raises WorkspaceError: a file cannot be read.
        """
        steps = await self._member.past(lambda folder, files: read_history(folder, files=files))
        return [step for step in steps if step.run_id == run_id] if run_id else steps

    async def state_at(self, step: int) -> StateView:
        """What the agent knew when *step*, a number in its :meth:`history`, had happened.

        :raises StepNotFound: there is no such step, or it is not kept any more.
        :raises SchemaTooNew: a later overwinter wrote it.
        """
        return StateView(await self._state_at(step))

    async def diff(self, before: int, after: int) -> StateDiff:
        """What changed between two steps. It is made for reading: ``print(await agent.diff(3, 17))``.

        :raises StepNotFound: there is no such step, or it is not kept any more.
        """
        return diff_states(await self._state_at(before), await self._state_at(after))

    async def _state_at(self, step: int | None) -> AgentState:
        return await self._member.past(lambda folder, files: read_state_at(folder, step, files=files))


class AgentRetrospect(Retrospect[OutputT]):
    """An agent's look back, and the fork that goes on from what is seen there."""

    async def fork(
        self, *, at: int | None = None, agent_name: str = "", session: str | None = None, **overrides: Any
    ) -> Self:
        """A new agent that begins with what this one knew at a step, saved in a folder of its own.

        It has this one's settings, tools and models, but for what *overrides* says, in the constructor's words. A call
        that was open is closed, with word of what is known of it, but one that waits for a person waits there too; a
        run that had not finished can be resumed in the fork, and this agent goes on as if nothing had happened.

        :param at: the step; what it knows now unless given.
        :param agent_name: the fork's name; it needs this or a *session* of its own.
        :raises AgentExists: there is an agent of that name and session already.
        :raises StepNotFound: there is no such step, or it is not kept any more.
        :raises ConfigurationError: the fork would be this agent itself, or a setting cannot work.
        :raises SaveError: it could not be saved.

        Cancelled, it leaves a folder behind at most.
        """
        options = fork_options(self._profile, agent_name, session, overrides)
        options.setdefault("workspace_dir", self._member.workspace.root)
        fork = type(self)(**options)
        state = copy_of(self._state) if at is None and not self._state.is_new else None
        if state is None:
            state = await self._state_at(at)
        step = state.sequence
        restored: Restored = await to_thread.run_sync(forked, state, self._member.now())
        await fork._member.begin_with(restored, f"agent {self.agent_name!r}, step {step}")  # noqa: SLF001
        await fork.save()
        return fork
