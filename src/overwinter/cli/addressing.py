"""How everybody of a workspace is named in a command, and which swarm's run goes on with one's own."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from overwinter.agents.rebuilding import missing_from
from overwinter.cli.invocation import invocation
from overwinter.cli.members import members_of
from overwinter.cli.rendering import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from overwinter.cli.inspection import Inspected

__all__ = ["Everybody", "command"]


def command(*words: str, chosen: str | None = None) -> str:
    """A command of overwinter as a shell takes it; *words* are quoted already.

    :param chosen: the workspace that was named on the command line, which is named in this one, too.
    """
    where = () if chosen is None else ("--workspace", shlex.quote(visible(chosen, lines=False)))
    return " ".join((invocation(), *words, *where))


class Everybody:
    """Everybody of a workspace, by name and by run.

    :param chosen: the workspace that was named on the command line, if any was.
    """

    def __init__(self, found: Sequence[Inspected], chosen: str | None) -> None:
        self._found = found
        self._chosen = chosen
        self._waiting = [one for one in found if one.state is not None and one.state[1].pending]
        self._by_id = {one.folder.agent_id: one for one in found if one.folder.agent_id}
        self._names: dict[str, list[Inspected]] = {}
        self._swarms: dict[str, list[Inspected]] = {}
        for one in found:
            self._names.setdefault(one.folder.name, []).append(one)
            for run_id in _runs_of(one) if one.is_swarm else ():
                self._swarms.setdefault(run_id, []).append(one)

    def again(self, one: Inspected) -> Inspected:
        """The same agent or swarm, as it was when everybody was looked at."""
        return next((each for each in self._found if each.folder.path == one.folder.path), one)

    def swarms_of(self, one: Inspected) -> list[Inspected]:
        """The swarms of whose runs the last run of *one* is a part, the outermost first."""
        run = one.state[1].run if one.state is not None else None
        parts = run.run_id.split(":") if run is not None else []
        found: list[Inspected] = []
        # The id of a part is that of the whole, a colon, and which part it is.
        for count in range(1, len(parts)):
            known = self._swarms.get(":".join(parts[:count]), [])
            if (
                len(known) > 1
            ):  # runs that were given the same name: it is a part of that which has it for a member
                known = [swarm for swarm in known if one.folder.agent_id in self._within(swarm)] or known
            found += known[:1]
        return found

    def whole_of(self, one: Inspected) -> Inspected:
        """What goes on with the last run of *one*: the outermost swarm of which that is a part, or *one* itself."""
        return next(iter(self.swarms_of(one)), one)

    def waiting_in(self, one: Inspected) -> list[Inspected]:
        """Who waits for a person in the last run of *one*: itself, and of a swarm its members, however deep."""
        return [
            each
            for each in self._waiting
            if each is one or (one.is_swarm and any(swarm is one for swarm in self.swarms_of(each)))
        ]

    def named(self, one: Inspected) -> str:
        """Words of a command that mean *one* and nobody else, such as ``billing --session ann``."""
        return self.words(one, ())

    def words(self, one: Inspected, further: Iterable[str]) -> str:
        """The same, with *further* arguments between its name and its session."""
        name, session = one.folder.name, one.folder.session
        namesakes = [each for each in self._names.get(name, ()) if each.folder.path != one.folder.path]
        if visible(name, lines=False) != name or visible(session, lines=False) != session:
            name, session, namesakes = (
                one.folder.path.name,
                "",
                [],
            )  # the folder's is always plain, and is enough
        elif any(each.is_swarm is not one.is_swarm for each in namesakes):
            name = f"{one.folder.path.parent.name}/{name}"
        telling = ("--session", shlex.quote(session)) if session or namesakes else ()
        return " ".join((shlex.quote(name), *further, *telling))

    def go_on(self, one: Inspected, *further: str) -> str:
        """The command that goes on with the last run of *one*, or with the swarm's of which that is a part."""
        return self.resume(self.whole_of(one), *further)

    def resume(self, one: Inspected, *further: str) -> str:
        """The command that goes on with the run of *one*, with ``--from`` where that needs its program."""
        by_file = isinstance(one.swarm.get("script"), dict)
        needs_program = not by_file if one.is_swarm else bool(missing_from(one.configuration))
        source = ("--from", "MODULE:ATTRIBUTE") if needs_program and "--from" not in further else ()
        return command("resume", self.named(one), *source, *further, chosen=self._chosen)

    def _within(self, swarm: Inspected) -> set[str]:
        """The ids of all who are in a swarm, however deep."""
        return set(self._ids_within(swarm, {swarm.folder.agent_id}))

    def _ids_within(self, swarm: Inspected, seen: set[str]) -> Iterator[str]:
        for member in members_of(swarm):
            agent_id = member["agent_id"]
            if agent_id in seen:
                continue
            seen.add(agent_id)
            yield agent_id
            there = self._by_id.get(agent_id)
            if there is not None and there.is_swarm:
                yield from self._ids_within(there, seen)


def _runs_of(one: Inspected) -> set[str]:
    if one.state is None:
        return set()
    body = one.state[1]
    return {run.run_id for run in (*body.runs, *([body.run] if body.run is not None else []))}
