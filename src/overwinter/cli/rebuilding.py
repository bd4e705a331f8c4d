"""Agents that are made anew from their config.json, or from a program that the user names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from overwinter.agents.agent import Agent
from overwinter.agents.asking import ask_human
from overwinter.agents.models.offline import OfflineModel
from overwinter.agents.models.retry import RetryPolicy
from overwinter.agents.profile import Settings
from overwinter.cli.refusal import Refusal
from overwinter.errors import ConfigurationError
from overwinter.persistence.secrets import REDACTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from overwinter.cli.inspection import Inspected

__all__ = ["CannotRebuild", "Source", "rebuild"]

_GIVEN_ANEW = frozenset({"agent_id", "model_name", "fallback_models", "lease_timeout", "verbose"})
_OWN_TOOLS = {ask_human.name: ask_human}


class CannotRebuild(Exception):
    """An agent needs its program: its files do not hold its tools or functions."""


class Source:
    """What ``--from module:attribute`` names: an Agent, several, or a function that makes the one of a given name.

    :raises Refusal: it cannot be imported, or is none of these.
    """

    def __init__(self, named: str) -> None:
        self.named = named
        module, _, attribute = named.partition(":")
        if not module or not attribute:
            raise Refusal(f"--from {named}: give it as module:attribute, such as my_program:agents")
        self._found = _import(named, module, attribute)
        self._agents: dict[str, Agent[Any]] | None = None
        if not callable(self._found):
            self._agents = {agent.agent_id: agent for agent in self._listed(self._found)}

    def agent_for(self, one: Inspected) -> Agent[Any] | None:
        """The agent that stands in the folder of *one*, or None when there is none.

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
                f"--from {self.named}: it was asked for agent {one.folder.name!r}{session}, and made another one"
            )
        return fitting[0]

    def _listed(self, found: object) -> list[Agent[Any]]:
        if isinstance(found, dict):
            found = [*cast("dict[object, object]", found).values()]
        several = isinstance(found, (list, tuple, set))
        each = [*cast("Iterable[object]", found)] if several else [found]
        agents: list[Agent[Any]] = [one for one in each if isinstance(one, Agent)]
        if len(agents) < len(each):
            what = type(found).__name__
            raise Refusal(
                f"--from {self.named}: it is neither an Agent, nor several, nor a function that makes one of a given "
                f"name, but {what}"
            )
        return agents


def rebuild(one: Inspected, source: Source | None) -> Agent[Any]:
    """The agent of *one*, made by *source*, or from its configuration where that says everything.

    :raises CannotRebuild: it has tools or functions, and *source* does not make it.
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
    missing = _missing(configuration)
    if missing:
        why = (
            f"--from {source.named} does not have it" if source is not None else "its files do not hold those"
        )
        raise CannotRebuild(
            f"it has {' and '.join(missing)}, and {why}: name the program that makes it with --from module:attribute"
        )
    try:
        return _from_configuration(one, configuration)
    except (msgspec.ValidationError, ConfigurationError, TypeError) as error:
        raise CannotRebuild(f"its configuration cannot be used: {error}") from error


def _missing(configuration: dict[str, Any]) -> list[str]:
    missing: list[str] = []
    names = [str(tool.get("name", "?")) for tool in configuration.get("tools") or ()]
    foreign = [name for name in names if name not in _OWN_TOOLS]
    if foreign:
        told = ", ".join(foreign[:4]) + (", …" if len(foreign) > 4 else "")
        missing.append(f"{'a tool' if len(foreign) == 1 else 'tools'} ({told})")
    if configuration.get("output_schema") is not None:
        missing.append(f"an output type ({configuration.get('output_type')})")
    if configuration.get("stopping_condition") is not None:
        missing.append(f"a stopping condition ({configuration['stopping_condition']})")
    return missing


def _from_configuration(one: Inspected, configuration: dict[str, Any]) -> Agent[Any]:
    settings = msgspec.convert(configuration, Settings)
    given: dict[str, Any] = {
        name: value for name, value in msgspec.structs.asdict(settings).items() if name not in _GIVEN_ANEW
    }
    given |= {"agent_name": one.folder.name, "session": one.folder.session, "agent_id": one.folder.agent_id}
    # What comes of it is to be found where the agent was found.
    given["autosave"] = True
    given["model_name"] = settings.model_name
    if settings.model_name == OfflineModel().name:
        given["model"] = OfflineModel()
    given["fallback_models"] = settings.fallback_models
    given["tools"] = [_OWN_TOOLS[tool["name"]] for tool in configuration.get("tools") or ()]
    given["model_args"] = _without_secrets(configuration.get("model_args") or {})
    if configuration.get("retry"):
        given["retry"] = msgspec.convert(configuration["retry"], RetryPolicy)
    return Agent(**given)


def _without_secrets(value: dict[str, Any]) -> dict[str, Any]:
    """The settings for the provider without those that were never written; the environment has them."""
    kept: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, dict):
            kept[name] = _without_secrets(cast("dict[str, Any]", each))
        elif each != REDACTED:
            kept[name] = each
    return kept


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
