"""Who waits for whom: so that agents which would wait for each other for ever are told."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from overwinter.agents.serving import chain, waits_for_itself

if TYPE_CHECKING:
    from collections.abc import Generator

    from overwinter.agents.runs import Runs

__all__ = ["Waits"]


class Waits:
    """The runs of agents that wait for a run of another, by the keys of their states.

    An agent has one run at a time, so a circle of these never ends. It may come about without a chain of calls: when
    the writer asks the editor in one run, and the editor asks the writer in another.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Counter[str]] = {}

    @contextmanager
    def for_run(self, agent: Runs[Any, Any], run_id: str | None) -> Generator[None]:
        """Within it, the runs that the code is part of wait for a run of *agent*; for that one, if it is named.

        :raises AskDeadlock: that run would wait for one of them.
        """
        askers, asked = chain(), agent.state.key
        if self._reaches(asked, frozenset(askers)) and not _has_finished(agent, run_id):
            raise waits_for_itself(agent.agent_name)
        for asker in askers:
            self._waiting.setdefault(asker, Counter())[asked] += 1
        try:
            yield
        finally:
            for asker in askers:
                self._end(asker, asked)

    def _reaches(self, start: str, ends: frozenset[str]) -> bool:
        seen: set[str] = set()
        found = [start]
        while found:
            one = found.pop()
            if one not in seen:
                seen.add(one)
                found.extend(self._waiting.get(one, ()))
        return bool(seen & ends)

    def _end(self, asker: str, asked: str) -> None:
        waiting = self._waiting[asker]
        waiting[asked] -= 1
        if not waiting[asked]:
            del waiting[asked]
        if not waiting:
            del self._waiting[asker]


def _has_finished(agent: Runs[Any, Any], run_id: str | None) -> bool:
    """Whether it would be answered with a result that there is already."""
    return any(run.run_id == run_id and run.status == "finished" for run in agent.state.runs)
