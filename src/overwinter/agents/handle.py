"""What every holder of an agent can do with it, whatever its runs are like."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from anyio import to_thread

from overwinter.agents.commands import AgentMessage, CancelRun, LoadState, PauseRun, SaveNow
from overwinter.agents.models.protocol import Usage
from overwinter.agents.state_view import StateView
from overwinter.agents.teams import is_part_of
from overwinter.errors import ActorStopped, RunInterrupted, StateNotFound

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from overwinter.agents.events import Event
    from overwinter.agents.hub import EventHub
    from overwinter.agents.membership import Membership
    from overwinter.agents.memory import Memory
    from overwinter.agents.profile import Durability, Profile
    from overwinter.agents.records import Status
    from overwinter.agents.residence import Home
    from overwinter.agents.runtime import Runtime
    from overwinter.agents.state import AgentState
    from overwinter.persistence.workspace import Workspace
    from overwinter.runtime import ActorRef

__all__ = ["AgentHandle"]

OutputT = TypeVar("OutputT")


class AgentHandle(Generic[OutputT]):
    """An agent's names, its files, what it knows, and what stops, saves and loads it."""

    _profile: Profile[OutputT]
    _state: AgentState
    _member: Membership

    @property
    def agent_name(self) -> str:
        """The name it was given."""
        return self._profile.name

    @property
    def agent_id(self) -> str:
        """Its id, a UUID: the same for the same name and session in every process."""
        return self._profile.agent_id

    @property
    def session(self) -> str:
        """The session it was given, or an empty string."""
        return self._profile.settings.session

    @property
    def agent_description(self) -> str:
        """What it is for."""
        return self._profile.settings.agent_description

    @property
    def model_name(self) -> str:
        """The name of the model it asks first."""
        return self._profile.settings.model_name

    @property
    def workspace_dir(self) -> Path:
        """The agent's own folder. It is there once something was saved."""
        return self._member.folder.path

    @property
    def config_path(self) -> Path:
        """Where its configuration is saved."""
        return self._member.folder.config_path

    @property
    def state_path(self) -> Path:
        """Where its state is saved: ``{agent_name}_state.json`` in its folder."""
        return self._member.folder.state_path

    @property
    def status(self) -> Status | Literal["storage"]:
        """``idle``, ``running``, ``paused``, ``interrupted``, ``failed`` or ``finished``.

        It is ``storage`` while its run waits for a disk that fails; the run goes on when the disk does.
        """
        return "storage" if self._member.waits_for_disk else self._state.status

    @property
    def state(self) -> StateView:
        """What it knows, to read: conversation, tool results, memory, runs, usage."""
        return StateView(self._state)

    @property
    def memory(self) -> Memory:
        """Facts it keeps between runs; saved with its state."""
        return self._state.memory

    async def save(self) -> Path:
        """Save configuration and state now and return the path of the state file.

        :raises SaveError: it could not be saved; what was saved before is intact.
        :raises AgentInUse: another process, or another runtime of this one, holds the agent.

        Cancelling it leaves the old file or the new one, whole.
        """
        return cast("Path", await self._ask(SaveNow()))

    async def load(self, path: str | os.PathLike[str] | None = None) -> None:
        """Take over everything that was saved: conversation, tool results, memory, task, usage, loop count, status.

        The constructor's settings stay; those it left open are taken from the file, and what differs is logged.

        :param path: another state file than the agent's own.
        :raises StateNotFound: there is none.
        :raises CorruptState: it is damaged, and so is its previous generation.
        :raises SchemaTooNew: a later overwinter wrote it.
        :raises AgentError: the agent is at work.
        """
        # Looked for first, because a claim would create the folder of an agent that never was.
        if self._member.vacant and not await to_thread.run_sync(self._member.has_state, path):
            raise StateNotFound(
                f"there is no saved state at {path or self.state_path}; run the agent with autosave=True, or call "
                "save() first"
            )
        with self._member.loading(own=path is None) if self._member.vacant else nullcontext():
            await self._ask(LoadState("" if path is None else str(path)))

    async def pause(self) -> None:
        """Pause the run under way after its step; its ``run`` returns with status ``paused``."""
        await self._ask(PauseRun())

    async def cancel(self) -> None:
        """Give up the run under way, or the one that is paused; returns when that is saved.

        Whoever waits for the run gets ``RunInterrupted``.
        """
        await self._ask(CancelRun())

    async def join(self, runtime: Runtime, *, to_be_loaded: bool = False) -> ActorRef[AgentMessage]:
        """Make *runtime* the home and load what the model needs: what ``runtime.spawn(agent)`` calls.

        :param to_be_loaded: :meth:`load` comes next, and what was saved is read for it at once.
        """
        await self._profile.models[0].prepare()
        with self._member.to_be_loaded() if to_be_loaded else nullcontext():
            return await self._member.settle(runtime)

    def leave(self, runtime: Runtime) -> None:
        """*runtime* is no home any more; what a runtime says when it closes."""
        self._member.leave(runtime)

    def reference_on(self, runtime: Runtime) -> ActorRef[AgentMessage] | None:
        """The reference of the agent's actor, if it was spawned on *runtime* and lives there still."""
        home = self._member.spawned
        return home.ref if home is not None and home.runtime is runtime else None

    def watch(self, watcher: Callable[[Event], None]) -> Callable[[], None]:
        """Call *watcher* on the event loop with each event of this agent from now on; returns what ends that.

        A watcher that raises is logged, and harms no run.
        """
        return self._member.hub.watch(watcher)

    def watch_for(self, hub: EventHub, relay: Callable[[Event], None]) -> Callable[[], None]:
        """:meth:`watch` for one who hands on to *hub* what it is told, and need not be told while nobody hears that."""
        return self._member.hub.watch(relay, beyond=hub)

    @property
    def is_saved(self) -> bool:
        """Whether what happens is kept on disk as it happens (``autosave=True``)."""
        return self._profile.settings.autosave

    async def load_if_saved(self) -> None:
        """:meth:`load` what there is, if anything was ever saved."""
        if not self._member.found_nothing:
            with suppress(StateNotFound):
                await self.load()

    async def certain(self) -> None:
        """Return when all that happened so far is on disk; while the disk fails it waits. For runtimes."""
        saving = self._member.saving
        if saving is not None:
            if self._state.unsent:
                await saving.prepare()
            await saving.certain()

    @property
    def is_vacant(self) -> bool:
        """Whether it lives nowhere at present."""
        return self._member.vacant

    @property
    def paused_at(self) -> str:
        """The limit at which its run stands, or for what a person is waited for; empty unless it is paused."""
        run = self._state.run
        return run.stop_reason if run is not None and self._state.status == "paused" else ""

    def was_at_work_for(self, runs: Iterable[AbstractSet[str]]) -> bool:
        """Whether nothing was asked of this object yet, and what was saved of it is part of one of these runs."""
        return self._state.is_new and any(is_part_of(run_id, runs) for run_id in self._member.found_run_ids)

    def be_saved(self, durability: Durability) -> None:
        """Save it from now on, as with ``autosave=True``: what a swarm that is saved says to its members."""
        if self._member.vacant:
            self._member.be_saved(durability)

    def be_in(self, workspace: Workspace) -> None:
        """Have the folder in *workspace*, unless it lives somewhere, or was given a workspace of its own."""
        if self._member.vacant and not self._member.has_chosen:
            self._member.be_in(workspace)

    def usage_of(self, run_id: str) -> Usage:
        """What that run has spent so far, as far as is in memory."""
        run = self._state.find_run(run_id)
        return Usage() if run is None else run.usage

    def read_output(self, text: str) -> OutputT:
        """*text* as an answer in the ``output_type``.

        :raises ValueError: it is none.
        """
        return self._profile.output.read(text)

    async def load_if_fresh(self) -> None:
        """Load what was saved, unless something was asked of this object already, or loaded."""
        if self._state.run is None and not self._state.accepted:
            await self.load()

    async def _ask(self, message: AgentMessage) -> Any:
        home = self._member.home_here()
        if home is not None:
            return await self._ask_there(home, message)
        async with self._member.at_home() as home:
            return await self._ask_there(home, message)

    async def _ask_there(self, home: Home, message: AgentMessage) -> Any:
        try:
            return await home.ref.ask(message)
        except ActorStopped as error:
            raise self._was_stopped() from error

    def _was_stopped(self) -> RunInterrupted:
        return RunInterrupted(
            f"agent {self.agent_name!r} was stopped before it answered; its files hold what was saved before"
        )
