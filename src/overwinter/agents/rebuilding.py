"""Agents that are made anew from the configuration that was saved with them, as far as that says everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from overwinter.agents.agent import Agent
from overwinter.agents.asking import ask_human
from overwinter.agents.models.described import remade
from overwinter.agents.models.retry import RetryPolicy
from overwinter.agents.profile import Settings
from overwinter.errors import ConfigurationError
from overwinter.persistence.secrets import REDACTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overwinter.agents.models.protocol import Model
    from overwinter.persistence import AgentFolder

__all__ = ["CannotRebuild", "missing_from", "rebuilt"]

_GIVEN_ANEW = frozenset({"agent_id", "model_name", "fallback_models", "lease_timeout", "verbose"})
_OWN_TOOLS = {ask_human.name: ask_human}
_OFFLINE = "offline"


class CannotRebuild(Exception):
    """An agent needs its program: its files do not hold its tools or functions."""


def missing_from(configuration: Mapping[str, Any]) -> list[str]:
    """What an agent of that configuration has and no file can hold, in words: tools, an output type, a condition."""
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


def rebuilt(folder: AgentFolder, configuration: Mapping[str, Any]) -> Agent[Any]:
    """The agent of *folder*, with ``autosave``, made from its *configuration*, from which nothing is missing.

    Credentials were never saved; the environment has them.

    :raises CannotRebuild: the configuration cannot be used.
    """
    try:
        return _rebuilt(folder, configuration)
    except (msgspec.ValidationError, ConfigurationError, TypeError) as error:
        raise CannotRebuild(f"its configuration cannot be used: {error}") from error


def _rebuilt(folder: AgentFolder, configuration: Mapping[str, Any]) -> Agent[Any]:
    settings = msgspec.convert(configuration, Settings)
    given: dict[str, Any] = {
        name: value for name, value in msgspec.structs.asdict(settings).items() if name not in _GIVEN_ANEW
    }
    given |= {"agent_name": folder.name, "session": folder.session, "agent_id": folder.agent_id}
    # What comes of it is to be found where the agent was found.
    given["autosave"] = True
    given["model_name"] = settings.model_name
    if settings.model_name == _OFFLINE:
        from overwinter.agents.models.offline import OfflineModel  # which few programs need

        given["model"] = OfflineModel()
    model, *fallbacks = _models(configuration, 1 + len(settings.fallback_models))
    if model is not None:
        given["model"] = model
    given["fallback_models"] = [
        fallback or name for fallback, name in zip(fallbacks, settings.fallback_models, strict=True)
    ]
    given["tools"] = [_OWN_TOOLS[tool["name"]] for tool in configuration.get("tools") or ()]
    given["model_args"] = _without_secrets(configuration.get("model_args") or {})
    if configuration.get("retry"):
        given["retry"] = msgspec.convert(configuration["retry"], RetryPolicy)
    return Agent(**given)


def _models(configuration: Mapping[str, Any], count: int) -> list[Model | None]:
    """The model and its fallbacks, as far as they are described; None for those that are known by their names."""
    told = list(configuration.get("models") or ())
    if told and len(told) != count:
        raise ConfigurationError(f"it describes {len(told)} models and names {count}")
    return [remade(one) for one in told] or [None] * count


def _without_secrets(value: Mapping[str, Any]) -> dict[str, Any]:
    """The settings for the provider without those that were never written; the environment has them."""
    kept: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, dict):
            kept[name] = _without_secrets(cast("dict[str, Any]", each))
        elif each != REDACTED:
            kept[name] = each
    return kept
