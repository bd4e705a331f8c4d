"""The swarms that are at work on a runtime, as their members' runs see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from overwinter.agents.allowance import Account

__all__ = ["TeamAtWork", "is_part_of"]


class TeamAtWork(NamedTuple):
    """One run of a swarm: the account on which its members draw, and the runs of whose conversation it is one.

    ``gone_on`` has the run ids of the swarm, and of those that it works for, as far as they go on with what another
    process began.
    """

    account: Account
    gone_on: tuple[AbstractSet[str], ...] = ()


def is_part_of(run_id: str, runs: Iterable[AbstractSet[str]]) -> bool:
    """Whether the run is part of one of *runs*: its id is that one's, a colon, and more."""
    ends = [place for place, letter in enumerate(run_id) if letter == ":"]
    return any(run_id[:end] in known for known in runs for end in ends)
