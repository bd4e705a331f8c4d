"""The agents of a script: ``[defaults]`` and ``[[agents]]``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from overwinter.agents.budget import Budget
from overwinter.agents.context import ContextPolicy
from overwinter.agents.models.retry import RetryPolicy
from overwinter.agents.rates.limit import RateLimit, checked_limits
from overwinter.cli.scripts.description import DescribedAgent, DescribedHandoff
from overwinter.cli.scripts.problems import listed, one_of
from overwinter.cli.scripts.sections import kind_of
from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from overwinter.cli.scripts.sections import Section

__all__ = ["BUILT_IN_TOOLS", "read_agent", "read_budget", "read_defaults", "read_rate_limits"]

T = TypeVar("T", bound=msgspec.Struct)

#: The tools that a script may name. All others are code, and a script has none.
BUILT_IN_TOOLS = ("ask_human",)

_NEEDS_PROGRAM = "functions and types are code, which only a program in Python has"
_HINTS = {
    "agent_name": "here it is called 'name'",
    "model_name": "here it is called 'model'",
    "llm": "here it is called 'model'",
    "prompt": "here it is called 'system_prompt'",
    "instructions": "here it is called 'system_prompt'",
    "agent_description": "here it is called 'description'",
    "autosave": "it stands under [swarm], for all members",
    "session": "it stands under [swarm], for all members",
    "durability": "it stands under [swarm], for all members",
    "policy": "it stands with the swarm, as in [swarm.policies.NAME]",
    "api_key": "keys come from the environment, as in OPENAI_API_KEY",
    "api_base": "it stands under model_args",
    "output_type": _NEEDS_PROGRAM,
    "stopping_condition": _NEEDS_PROGRAM,
}


def read_defaults(section: Section) -> dict[str, Any]:
    """What all agents have unless they say otherwise."""
    found = _settings(section)
    section.end({**_HINTS, "name": "each agent has a name of its own"})
    return found


def read_agent(section: Section, defaults: dict[str, Any]) -> DescribedAgent | None:
    """One of the agents, or None where it has no name."""
    name = section.text("name", required=True)
    own = _settings(section)
    section.end(_HINTS)
    if name is None:
        return None
    agent = DescribedAgent(name=name, **{**defaults, **own})
    if not agent.model and "model" not in section:
        told = 'give it one, as in model = "gpt-4o-mini", or one to all under [defaults]'
        section.wrong("model", f"{section.what} has no model; {told}")
    return agent


def read_budget(section: Section) -> Budget | None:
    """What a run may spend."""
    return _struct(section, "budget", Budget)


def read_rate_limits(top: Section) -> dict[str, RateLimit]:
    """How much all of them together may ask of each model, by its name."""
    table = top.table("rate_limits", "rate_limits")
    found: dict[str, RateLimit] = {}
    if table is None:
        return found
    for name in table.every_key():
        limits = table.table(name, f"the rate limit of {name!r}")
        limit = None if limits is None else _filled(limits, RateLimit)
        if limit is None:
            continue
        try:
            found |= checked_limits({name: limit})
        except ConfigurationError as error:
            table.wrong(name, str(error))
    return found


def _settings(section: Section) -> dict[str, Any]:
    """Whatever of an agent's settings stands there and is as it should be."""
    found = {
        "model": section.text("model"),
        "system_prompt": section.text("system_prompt", blank=True),
        "description": section.text("description", blank=True),
        "tools": _tools(section),
        "handoffs": _handoffs(section),
        "max_loops": _max_loops(section),
        "temperature": section.number("temperature", above_zero=False),
        "max_tokens": section.whole("max_tokens"),
        "stopping_token": section.text("stopping_token"),
        "fallback_models": section.texts("fallback_models"),
        "model_args": _model_args(section),
        "budget": read_budget(section),
        "context": _context(section),
        "retry": _struct(section, "retry", RetryPolicy),
    }
    return {name: value for name, value in found.items() if value is not None}


def _tools(section: Section) -> list[str] | None:
    names = section.texts("tools")
    for index, name in enumerate(names or ()):
        if name not in BUILT_IN_TOOLS:
            told = (
                f"{section.what} has the tool {name!r}, and a script can only name those that come with overwinter: "
                f"{listed(BUILT_IN_TOOLS)}; tools of your own are code: make this swarm in a program"
            )
            section.problems.add((*section.path, "tools", index), told)
    return names


def _handoffs(section: Section) -> list[DescribedHandoff] | None:
    value = section.get("handoffs")
    wanted = f'handoffs of {section.what} is a list of names, or of {{ to = "name", when = "..." }}'
    if not isinstance(value, list):
        if value is not None:
            section.wrong("handoffs", wanted)
        return None
    found: list[DescribedHandoff] = []
    for index, each in enumerate(cast("Iterable[Any]", value)):
        if isinstance(each, str) and each.strip():
            found.append(DescribedHandoff(to=each))
            continue
        if not isinstance(each, dict):
            section.problems.add((*section.path, "handoffs", index), wanted)
            continue
        table = section.within(
            cast("dict[str, Any]", each), ("handoffs", index), f"this handoff of {section.what}"
        )
        to, when = table.text("to", required=True), table.text("when")
        table.end()
        if to is not None:
            found.append(DescribedHandoff(to=to, when=when or ""))
    return found


def _max_loops(section: Section) -> int | str | None:
    if section.get("max_loops") == "auto":
        return "auto"
    if isinstance(section.get("max_loops"), str):
        section.wrong(
            "max_loops", f'max_loops of {section.what} is a text; give it a whole number, or "auto"'
        )
        return None
    return section.whole("max_loops")


def _model_args(section: Section) -> dict[str, Any] | None:
    table = section.table("model_args", f"model_args of {section.what}")
    if table is None:
        return None
    found = {key: table.get(key) for key in table.every_key()}
    for path, value in _leaves(found, table.path):
        if not _is_plain(value):
            section.problems.add(
                path, f"{path[-1]} of {table.what} is {kind_of(value)} that no provider takes"
            )
    return found


def _context(section: Section) -> list[ContextPolicy] | None:
    if section.get("context") is None:
        return None
    found: list[ContextPolicy] = []
    kinds: dict[str, Any] = {kind.__struct_config__.tag: kind for kind in cast("Any", ContextPolicy).__args__}
    for table in section.tables("context", "policy"):
        table.what = f"this context policy of {section.what}"
        kind = table.text("policy", required=True)
        if kind is None:
            continue
        if kind not in kinds:
            table.wrong("policy", f"{table.what} is an unknown one, {kind!r}{one_of(kind, kinds)}")
            continue
        policy = _filled(table, kinds[kind])
        if policy is not None:
            found.append(policy)
    return found


def _struct(section: Section, key: str, kind: type[T]) -> T | None:
    table = section.table(key, f"{key} of {section.what}")
    return None if table is None else _filled(table, kind)


def _filled(table: Section, kind: type[T]) -> T | None:
    """A structure of the library, of a table that has its fields."""
    given: dict[str, Any] = {}
    sound = True
    for field in msgspec.structs.fields(kind):
        value = table.get(field.name)
        if value is None:
            if field.required:
                table.wrong(field.name, f"{table.what} has no {field.name}")
                sound = False
            continue
        try:
            given[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            table.wrong(field.name, f"{field.name} of {table.what} is not as it should be: {error}")
            sound = False
    table.end()
    if not sound:
        return None
    try:
        return kind(**given)
    except ConfigurationError as error:
        table.wrong(next((name for name in given if name in str(error)), ""), f"{table.what}: {error}")
        return None


def _leaves(value: Any, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        inner: list[tuple[Any, Any]] = list(cast("dict[str, Any]", value).items())
    elif isinstance(value, list):
        inner = list(enumerate(cast("Iterable[Any]", value)))
    else:
        return [(path, value)]
    return [leaf for key, each in inner for leaf in _leaves(each, (*path, key))]


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))
