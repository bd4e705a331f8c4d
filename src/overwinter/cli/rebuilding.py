"""Agents and swarms that are made anew from their config.json, or from a program that the user names."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from overwinter.agents.rebuilding import CannotRebuild, missing_from, rebuilt
from overwinter.agents.runs import Runs
from overwinter.cli.members import members_of
from overwinter.cli.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from overwinter.agents.rates import RateLimit
    from overwinter.cli.inspection import Inspected

__all__ = ["CannotRebuild", "Source", "rate_limits_of", "rebuild"]


class Source:
    """What ``--from module:attribute`` names: an agent or a swarm, several, or a function that makes that of a name.

    :raises Refusal: it cannot be imported, or is none of these.
    """

    def __init__(self, named: str) -> None:
        self.named = named
        module, _, attribute = named.partition(":")
        if not module or not attribute:
            raise Refusal(f"--from {named}: give it as module:attribute, such as my_program:agents")
        self._found = _import(named, module, attribute)
        self._agents: dict[str, Runs[Any, Any]] | None = None
        if not callable(self._found):
            self._agents = {agent.agent_id: agent for agent in self._listed(self._found)}

    def agent_for(self, one: Inspected) -> Runs[Any, Any] | None:
        """What stands in the folder of *one*, or None when there is none.

        :raises Refusal: the function failed, or did not return an agent of that name.
        """
        if self._agents is not None:
            return self._agents.get(one.folder.agent_id)
        make = cast("Callable[[str], object]", self._found)
        try:
            made = make(one.folder.name)
        except Exception as error:
            raise Refusal(f"--from {self.named}: it failed: {type(error).__name__}: {error}") from error
        if made is None:
            return None
        fitting = [agent for agent in self._listed(made) if agent.agent_id == one.folder.agent_id]
        if not fitting:
            session = f" of session {one.folder.session!r}" if one.folder.session else ""
            raise Refusal(
                f"--from {self.named}: it was asked for {one.what} {one.folder.name!r}{session}, and made another one"
            )
        return fitting[0]

    def _listed(self, found: object) -> list[Runs[Any, Any]]:
        if isinstance(found, dict):
            found = [*cast("dict[object, object]", found).values()]
        several = isinstance(found, (list, tuple, set))
        each = [*cast("Iterable[object]", found)] if several else [found]
        agents: list[Runs[Any, Any]] = [one for one in each if isinstance(one, Runs)]
        if len(agents) < len(each):
            what = type(found).__name__
            raise Refusal(
                f"--from {self.named}: it is neither an agent or a swarm, nor several, nor a function that makes one "
                f"of a given name, but {what}"
            )
        return agents


def rebuild(one: Inspected, source: Source | None) -> Runs[Any, Any]:
    """The agent or swarm of *one*, made by *source*, or from its configuration where that says everything.

    :raises CannotRebuild: it has tools or functions, or is a swarm that a program made, and *source* does not make it.
    :raises Refusal: *source* cannot be used.
    """
    if source is not None:
        found = source.agent_for(one)
        if found is not None:
            return found
    configuration = one.configuration
    if not configuration:
        raise CannotRebuild(
            "its configuration was not saved before its process died, or cannot be read: name the program that makes "
            "it with --from module:attribute"
        )
    if one.is_swarm:
        return _swarm_of(one)
    missing = missing_from(configuration)
    if missing:
        why = (
            f"--from {source.named} does not have it" if source is not None else "its files do not hold those"
        )
        raise CannotRebuild(
            f"it has {' and '.join(missing)}, and {why}: name the program that makes it with --from module:attribute"
        )
    return rebuilt(one.folder, configuration)


def rate_limits_of(one: Inspected) -> dict[str, RateLimit]:
    """How much may be asked of each model, as the script says of which *one* was made; nothing where there is none."""
    script = one.swarm.get("script")
    if isinstance(script, dict):
        from overwinter.cli.scripts.reading import read_again

        with suppress(Refusal):
            return read_again(cast("dict[str, Any]", script), "the script").rate_limits
    return {}


def _swarm_of(one: Inspected) -> Runs[Any, Any]:
    told = one.swarm
    script, outer = told.get("script"), told.get("part_of")
    if isinstance(script, dict):
        from overwinter.cli.scripts.building import build
        from overwinter.cli.scripts.reading import read_again

        try:
            return build(
                read_again(cast("dict[str, Any]", script), f"the script in {one.folder.config_path.name}")
            )
        except Refusal as refusal:
            raise CannotRebuild(f"its configuration cannot be used: {'; '.join(refusal.lines)}") from refusal
    if isinstance(outer, str):
        raise CannotRebuild(f"it is a part of swarm {outer!r}, which goes on as a whole: resume that")
    names = ", ".join(member["name"] for member in members_of(one)[:6])
    raise CannotRebuild(
        f"it is a {told.get('pattern') or 'swarm'} that a program made (its members: {names or 'unknown'}), and its "
        "files do not hold that: run the program again, with resume(), or name it here with --from module:attribute"
    )


def _import(named: str, module: str, attribute: str) -> object:
    # As `python -m` would: what lies in the folder where the command was called. It was the user who named it.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise Refusal(f"--from {named}: {error}") from error
    except Exception as error:
        raise Refusal(f"--from {named}: importing it failed: {type(error).__name__}: {error}") from error
    return found
