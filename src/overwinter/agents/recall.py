"""Runs that were asked for before: found by their ids, wherever they stand, and answered for or taken up again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.agents.base import state_of
from overwinter.agents.knowledge import BY_TOOL
from overwinter.agents.restore import Restored
from overwinter.agents.run_index import RunIndex, read_index
from overwinter.errors import ConfigurationError, OutputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.agents.membership import Membership
    from overwinter.agents.profile import Profile
    from overwinter.agents.records import RunSummary
    from overwinter.agents.results import RunResult
    from overwinter.agents.saving import Saving
    from overwinter.agents.state import AgentState
    from overwinter.agents.ticket import Ticket

__all__ = ["KnownRun", "Recall", "recorded_result"]


class KnownRun:
    """A run that was asked for before.

    :ivar state: the state that it is part of.
    :ivar run: what is known of it; None where it has not begun.
    :ivar ticket: where somebody waits for it at present.
    :ivar file: the file of ``history/`` in which it stands; empty where it stands in the agent's own files.
    :ivar elsewhere: it stands in another conversation than the present one.
    """

    def __init__(
        self,
        run_id: str,
        state: AgentState,
        *,
        ticket: Ticket | None = None,
        file: str = "",
        elsewhere: bool = False,
    ) -> None:
        self.run_id = run_id
        self.state = state
        self.run: RunSummary | None = state.find_run(run_id)
        self.ticket = ticket
        self.file = file
        self.elsewhere = elsewhere

    @property
    def task(self) -> str:
        """What was to be done."""
        if self.run is not None:
            return self.run.task
        return next((task.task for task in self.state.accepted if task.run_id == self.run_id), "")

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.run is not None and self.run.status == "finished"

    @property
    def stands_last(self) -> bool:
        """Whether it is the run with which the present conversation stopped."""
        return not self.elsewhere and self.run is not None and self.run is self.state.run

    def check(self, task: str) -> None:
        """Raise ``ConfigurationError`` where the id was given to another task."""
        if task != self.task:
            raise ConfigurationError(
                f"run_id {self.run_id!r} was used before, for the task {self.task[:60]!r}; a run_id names one run only"
            )

    def result(self, profile: Profile[Any]) -> RunResult[Any]:
        """What it answered, as it stands in the state."""
        assert self.run is not None
        return recorded_result(profile, self.state, self.run)


class Recall:
    """Finds runs of one agent: in memory, in what a fresh object found in the folder, and in ``history/``.

    The index of ``history/`` is read when it is first asked for, and kept up to date from then on, for as long as
    nobody else can write there; the member keeps it.
    """

    def __init__(self, member: Membership) -> None:
        self._member = member

    async def index(self) -> RunIndex:
        """Which conversation of ``history/`` holds which run."""
        saving = self._member.saving
        if saving is None:
            return RunIndex()
        if self._member.run_index is None:
            self._member.run_index = await saving.call(read_index, saving.folder, files=saving.files)
        return self._member.run_index

    async def find(self, run_id: str, tickets: Iterable[Ticket]) -> KnownRun | None:
        """The run of that id, or None where it was never asked for, or is not kept any more.

        :raises SchemaTooNew: a later overwinter wrote the conversation that it stands in.
        :raises WorkspaceError: the agent's folder cannot be read.
        """
        state, saving = self._member.state, self._member.saving
        if run_id in state.run_ids:
            ticket = next((ticket for ticket in tickets if ticket.run_id == run_id), None)
            return KnownRun(run_id, state, ticket=ticket)
        for ticket in tickets:
            if ticket.run_id == run_id and ticket.recalled is not None:
                return KnownRun(run_id, ticket.recalled.state, ticket=ticket, elsewhere=True)
        return None if saving is None else await self._find_on_disk(run_id, saving)

    async def _find_on_disk(self, run_id: str, saving: Saving) -> KnownRun | None:
        async with saving.preparing:
            await saving.look_first()
        if saving.earlier is not None:
            if self._member.state.is_new:
                if run_id in saving.earlier.state.run_ids:
                    return KnownRun(run_id, saving.earlier.state, elsewhere=True)
            else:
                # What another file's state has just replaced; it goes into history/ now instead of with the next run.
                await saving.prepare()
        file = (await self.index()).find(run_id)
        if file is None:
            return None
        state = await saving.call(state_of, saving.folder.history_dir / file, files=saving.files)
        return None if state is None else KnownRun(run_id, state, file=file, elsewhere=True)

    async def bring_back(self, run_id: str) -> KnownRun | None:
        """Make the conversation that holds the run the present one; what was the present one is kept in ``history/``.

        Tasks that were accepted and have not begun come along. For when no run is under way.

        :raises WorkspaceError: the present conversation cannot be kept; it stays the present one on disk.
        """
        known = await self.find(run_id, ())
        saving = self._member.saving
        if known is None or not known.elsewhere or saving is None:
            return known
        if not known.file:
            earlier = saving.earlier
            assert earlier is not None
            await saving.call(earlier.restored.encode)
            async with saving.preparing:
                found = saving.earlier is earlier
                if found:
                    self._member.take_up(earlier.restored)
            if not found:
                # A task was accepted or a save asked for meanwhile: by now it is kept in history/.
                return await self.bring_back(run_id)
        else:
            restored = Restored(known.state, None, 0, ())
            known.state.found_dead()
            await saving.call(restored.encode)
            await saving.gather()
            async with saving.preparing:
                self._member.exchange(restored, f"{saving.folder.history_dir.name}/{known.file}")
        await saving.prepare()
        return KnownRun(run_id, self._member.state)


def recorded_result(profile: Profile[Any], state: AgentState, run: RunSummary) -> RunResult[Any]:
    """The result of a run that finished, as its caller got it then.

    :raises OutputInvalid: its answer is none of the ``output_type`` that the agent has now.
    """
    text = answer = state.answer_of(run)
    token = profile.settings.stopping_token
    if run.stop_reason == "stopping_token" and token and profile.output.schema is not None:
        answer = text.replace(token, "")
    read = profile.output.try_to_read if run.stop_reason.startswith(BY_TOOL) else profile.output.read
    try:
        output = read(answer)
    except ValueError as error:
        raise OutputInvalid(
            f"the answer of run {run.run_id!r} of agent {profile.name!r} is no {profile.output.name}: {error}. "
            "It was given when the agent had another output_type; state_at() shows it as it is."
        ) from error
    return profile.make_result(
        state,
        run_id=run.run_id,
        status="finished",
        stop_reason=run.stop_reason,
        text=text,
        usage=run.usage,
        loop_count=run.loop_count,
        output=output,
    )
