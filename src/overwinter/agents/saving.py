"""How an agent's two files are kept up to date."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from anyio import Lock, create_task_group

from overwinter.agents import events
from overwinter.agents.deadline import deadline
from overwinter.agents.documents import Documents, EncodedLists
from overwinter.agents.restore import keep_earlier
from overwinter.errors import OverwinterError
from overwinter.persistence.autosaver import Autosaver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from overwinter.agents.profile import Profile
    from overwinter.agents.restore import Earlier
    from overwinter.agents.state import AgentState
    from overwinter.persistence import Claim, ReplaceDocument, Saved, Storage

__all__ = ["Saving"]

logger = logging.getLogger("overwinter.agents")

_STATE_INTERVAL = 0.25
_LAST_ATTEMPTS = 3  # of a disk that may have failed just once; nobody tries again afterwards


class Saving:
    """Saves one agent while it is claimed: ``config.json`` and ``{agent_name}_state.json``.

    Saving never raises into a run: a disk that fails is reported, as an event and a log line, and tried again
    until it works. Only :meth:`save`, which somebody asked for, raises.
    """

    def __init__(
        self,
        *,
        profile: Profile[Any],
        state: AgentState,
        storage: Storage,
        claim: Claim,
        publish: Callable[[events.Event], None],
        lists: EncodedLists,
        earlier: Earlier | None = None,
        kept: Callable[[], None],
        unsaved: bool = False,
    ) -> None:
        self._profile = profile
        self._state = state
        self._storage = storage
        self._publish = publish
        self.earlier = earlier
        self._kept = kept
        self._unsaved = unsaved
        self._preparing = Lock()
        self._prepared = False
        self._closed = False
        self.claim = claim
        self.folder = claim.folder
        documents = Documents(profile, state, self.folder, storage.clock, lists)
        self._config = self._autosaver(self.folder.config_path, documents.config, 0.0)
        self._states = self._autosaver(self.folder.state_path, documents.state, _STATE_INTERVAL)

    @property
    def failing(self) -> str:
        """Why the newest state is not on disk, or an empty string."""
        return str(self._states.error or "")

    async def prepare(self) -> None:
        """See to it that a first save puts nothing in the place of an earlier conversation.

        :raises WorkspaceError: what stands in the folder could not be kept.
        """
        async with self._preparing:
            if self.earlier is not None:
                await self._storage.call(keep_earlier, self.folder, self.earlier, files=self._storage.files)
                self.earlier = None
                self._kept()
            self._prepared = True

    def changed(self) -> None:
        """Something outside a step changed, such as the memory; it is saved behind, at the latest on closing."""
        self._unsaved = True
        if self._prepared and not self._closed and self._profile.settings.durability != "exit":
            self._states.mark()

    def accepted(self) -> None:
        """A task was accepted, after :meth:`prepare`; it is saved behind, and settled when its run begins."""
        self._states.mark()

    async def began(self) -> None:
        """A run began, or went on: from now on a process that dies leaves a run to resume."""
        await self.prepare()
        self._states.mark()
        if self._profile.settings.durability == "sync":
            await self._settle_one(self._states)

    async def calls_begin(self) -> None:
        """Tools that may not be repeated are about to run; in ``"sync"`` that is on disk when this returns."""
        if self._profile.settings.durability == "sync":
            self._states.mark()
            await self._settle_one(self._states)

    async def step(self) -> None:
        """A step ended. In ``"sync"`` this returns when it is on disk, or the disk has failed."""
        durability = self._profile.settings.durability
        if durability == "exit":
            return
        self._config.mark()
        self._states.mark()
        if durability == "sync":
            await self._settle()

    async def run_ended(self, *, wait: bool) -> None:
        """A run ended. With ``wait``, or in ``"sync"``, this returns when it is on disk, or the disk has failed."""
        await self.prepare()
        self._config.mark()
        self._states.mark()
        if wait or self._profile.settings.durability == "sync":
            await self._settle()

    async def save(self) -> Path:
        """Save both files now and return the path of the state.

        :raises SaveError: a file could not be saved; what it held before is intact.
        """
        await self.prepare()
        self._config.mark()
        self._states.mark()
        await self._states.settle()
        await self._config.settle()
        return self.folder.state_path

    async def aclose(self) -> None:
        """Bring what is unsaved to disk and let go of the agent. A disk that refuses is reported, not raised."""
        with deadline(self._storage.clock, self._storage.flush_timeout):
            await self._save_the_rest()
        self._closed = True
        await self._config.aclose()
        await self._states.aclose()
        try:
            await self._storage.release(self.claim, self._state.sequence)
        except OverwinterError as error:
            logger.warning("agent %r could not be released: %s", self._profile.name, error)

    async def _save_the_rest(self) -> None:
        if self._unsaved:
            try:
                await self.prepare()
                self._states.mark()
            except OverwinterError as error:
                logger.warning("agent %r: %s", self._profile.name, error)
        for _ in range(_LAST_ATTEMPTS):
            await self._settle()
            if not (self._config.unsaved or self._states.unsaved):
                return

    async def _settle(self) -> None:
        # Both at once, so that they reach the disk in one batch.
        async with create_task_group() as tasks:
            tasks.start_soon(self._settle_one, self._config)
            tasks.start_soon(self._settle_one, self._states)

    async def _settle_one(self, autosaver: Autosaver) -> None:
        try:
            await autosaver.settle()
        except OverwinterError as error:
            logger.debug("agent %r goes on unsaved: %s", self._profile.name, error)

    def _autosaver(
        self, path: Path, produce: Callable[[], ReplaceDocument], min_interval: float
    ) -> Autosaver:
        def on_saved(saved: Saved) -> None:
            self._emit(events.Saved, path=str(path), bytes=saved.bytes, sequence=saved.sequence)

        def on_error(error: Exception) -> None:
            self._emit(events.SaveFailing, path=str(path), error=str(error))

        return Autosaver(
            self._storage, produce, min_interval=min_interval, on_saved=on_saved, on_error=on_error
        )

    def _emit(self, event: type[events.Event], **fields: Any) -> None:
        state = self._state
        self._publish(
            event(agent_name=self._profile.name, run_id=state.run_id, loop=state.loop_count, **fields)
        )
