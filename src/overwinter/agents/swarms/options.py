"""The keyword settings of a swarm, for the type checker's sake: and what they mean."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Generic, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from typing_extensions import TypeVar

    from overwinter.agents.budget import Budget
    from overwinter.agents.profile import Durability
    from overwinter.agents.retention import Retention
    from overwinter.agents.swarms.policy import MemberPolicy

    OutputT = TypeVar("OutputT", default=str)
else:
    # Defaults of type variables come with Python 3.13; only the type checker has use for them.
    from typing import TypeVar

    OutputT = TypeVar("OutputT")

__all__ = ["OutputT", "SwarmOptions", "refuse_unknown"]


class SwarmOptions(TypedDict, Generic[OutputT], total=False):
    """Everything that each swarm takes by keyword.

    ``description`` says what it is for, and ``output_type`` what the final text is to be read as. With
    ``autosave`` the swarm is saved while it works, and with it every member that is an agent or a swarm;
    ``durability`` is as for agents, and members that do not save themselves get it too. ``policy`` says
    what becomes of a member that fails (unless given, the run fails with it) and ``policies`` says it for
    single members, by name. ``budget`` is what a run may spend, all members together, before it pauses.
    """

    session: str
    agent_id: str | None
    description: str
    output_type: type[OutputT]
    autosave: bool
    durability: Durability
    verbose: bool
    workspace_dir: str | os.PathLike[str] | None
    policy: MemberPolicy | None
    policies: Mapping[str, MemberPolicy] | None
    budget: Budget | None
    retention: Retention | None
    lease_timeout: float


def refuse_unknown(swarm: str, options: Mapping[str, object]) -> None:
    """Raise ``TypeError`` as a function does that has no such keyword: a misspelt ``autosave`` must not pass unread."""
    known = SwarmOptions.__annotations__
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{swarm}() got an unexpected keyword argument {name!r}{hint}")
