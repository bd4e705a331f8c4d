"""How an agent that lives somewhere forgets what its retention does not keep."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from overwinter.agents.deadline import deadline
from overwinter.agents.dropping import drop_past
from overwinter.errors import OverwinterError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from overwinter.agents.profile import Profile
    from overwinter.agents.run_index import RunIndex
    from overwinter.agents.state import AgentState
    from overwinter.persistence import AgentFolder, Storage

__all__ = ["forget_past"]

logger = logging.getLogger("overwinter.agents")


async def forget_past(
    storage: Storage,
    folder: AgentFolder,
    profile: Profile[Any],
    state: AgentState,
    index: Callable[[], Awaitable[RunIndex]],
) -> None:
    """Drop from *folder* what the retention does not keep, once all that was recorded stands there.

    Nothing is raised: where it could not be done, the log says so, and it is tried again another time.
    """
    try:
        with deadline(storage.clock, storage.flush_timeout):
            await storage.gather(folder, sync=True)
        dropped = await storage.call(
            drop_past,
            folder,
            profile.settings.retention,
            index=await index(),
            present=frozenset(state.run_ids),
            agent=profile.encoded,
            files=storage.files,
            now=storage.clock.now(),
        )
    except (OverwinterError, OSError) as error:
        logger.warning("the past of agent %r could not be dropped: %s", profile.name, error)
        return
    if dropped.bytes:
        logger.info("%d bytes of the past of agent %r were dropped", dropped.bytes, profile.name)
    if dropped.files:
        (await index()).drop(dropped.files)
