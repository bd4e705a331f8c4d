"""What a runtime tells of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.runtime import SystemStatistics

if TYPE_CHECKING:
    from overwinter.agents.allowance import Spent
    from overwinter.agents.rates import RateStatistics
    from overwinter.persistence.storage import PersistenceStatistics

__all__ = ["RuntimeStatistics"]


class RuntimeStatistics(SystemStatistics, frozen=True, kw_only=True):
    """How a runtime is doing: its actors, how many of them are agents, what its disk does, and what was spent.

    :ivar rates: by the name of each model that is limited, or whose provider wants to be left alone, how it fares.
    """

    agents: int
    persistence: PersistenceStatistics
    spent: Spent
    rates: dict[str, RateStatistics]
