"""How often the agents of a runtime call their models: limited, in fair turns, and held when a provider says so."""

from __future__ import annotations

from overwinter.agents.rates.limit import RateLimit
from overwinter.agents.rates.rates import Rates, RateStatistics

__all__ = ["RateLimit", "RateStatistics", "Rates"]
