"""From a script to the swarm that it describes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from overwinter.agents.agent import Agent
from overwinter.agents.asking import ask_human
from overwinter.agents.models.offline import OfflineModel
from overwinter.agents.swarms.handing import handoff
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.cli.refusal import Refusal
from overwinter.cli.scripts.options import as_argument
from overwinter.cli.scripts.patterns import PATTERNS
from overwinter.errors import ConfigurationError
from overwinter.persistence.secrets import REDACTED, redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overwinter.agents.models.protocol import Model
    from overwinter.agents.profile import Durability
    from overwinter.agents.swarms.base import Swarm
    from overwinter.agents.swarms.member import Member
    from overwinter.cli.scripts.description import DescribedAgent, DescribedPolicy, DescribedSwarm, Script

__all__ = ["build"]

_TOOLS = {ask_human.name: ask_human}


def build(script: Script) -> Swarm[Any]:
    """The swarm, with all its members; what it was made from will stand in its configuration.

    :raises Refusal: what each part alone would be allowed does not go together; with the line.
    """
    builder = _Builder(script)
    swarm = builder.swarm(script.swarm, ("swarm",))
    swarm.describe({"script": redact(script.data)})
    return swarm


class _Builder:
    """Makes each agent and swarm of a script once, those first of which others are made."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._made: dict[str, Member] = {}
        self._durability: Durability = cast("Durability", script.durability)
        self._places = {
            table["name"]: (kind, index)
            for kind in ("agents", "swarms")
            for index, table in enumerate(script.data.get(kind, ()))
        }

    def swarm(self, described: DescribedSwarm, path: tuple[str | int, ...]) -> Swarm[Any]:
        """A swarm of members that are made if need be."""
        pattern = PATTERNS[described.pattern]
        members = [self._member(name) for name in described.members]
        options = {
            pattern.options[key].parameter or key: as_argument(
                value, pattern.options[key], _Lookup(self._member)
            )
            for key, value in described.options.items()
        }
        policies = {name: self._policy(policy) for name, policy in described.policies.items()}
        make: Any = getattr(import_module(f"overwinter.agents.swarms.{pattern.module}"), described.pattern)
        try:
            made: Swarm[Any] = make(
                described.name,
                **({pattern.takes: members} if pattern.takes else {}),
                **options,
                session=self._script.session,
                description=described.description,
                autosave=self._script.autosave,
                durability=self._durability,
                budget=described.budget,
                policy=self._policy(described.policy) if described.policy is not None else None,
                policies=policies,
            )
        except ConfigurationError as error:
            raise self._refusal(error, path, ("members", *described.options)) from error
        if path != ("swarm",):
            made.describe({"part_of": self._script.swarm.name})
        return made

    def _member(self, name: str) -> Member:
        if name not in self._made:
            script = self._script
            self._made[name] = (
                self.swarm(script.swarms[name], self._places[name])
                if name in script.swarms
                else self._agent(script.agents[name], self._places[name])
            )
        return self._made[name]

    def _agent(self, described: DescribedAgent, path: tuple[str | int, ...]) -> Agent[Any]:
        optional: dict[str, Any] = {"retry": described.retry} if described.retry is not None else {}
        try:
            return Agent[str](
                described.name,
                described.model,
                model=_built_in(described.model),
                fallback_models=[_built_in(name) or name for name in described.fallback_models],
                session=self._script.session,
                agent_description=described.description,
                system_prompt=described.system_prompt.strip("\n"),
                tools=[
                    *(_TOOLS[name] for name in described.tools),
                    *(handoff(each.to, each.when) for each in described.handoffs),
                ],
                max_loops=described.max_loops,
                temperature=described.temperature,
                max_tokens=described.max_tokens,
                stopping_token=described.stopping_token,
                model_args=_without_secrets(described.model_args),
                budget=described.budget,
                context=described.context,
                durability=self._durability,
                **optional,
            )
        except ConfigurationError as error:
            raise self._refusal(error, path, ("context", "max_loops", "model", "name")) from error

    def _policy(self, described: DescribedPolicy) -> MemberPolicy:
        return MemberPolicy(
            attempts=described.attempts,
            backoff=described.backoff,
            timeout=described.timeout,
            then="skip" if described.then == "skip" else "fail_fast",
            fallback=None if described.fallback is None else self._member(described.fallback),
        )

    def _refusal(self, error: Exception, path: tuple[str | int, ...], keys: tuple[str, ...]) -> Refusal:
        """The error, with the line of that key which it speaks of."""
        problems, told = self._script.problems, str(error)
        key = next((key for key in keys if key in told), "")
        if "human_in_the_loop" in told:
            told = "'H' in a flow is a person, whom a file cannot ask; give an agent tools = [\"ask_human\"] instead"
        return Refusal(*f"{problems.file}:{problems.line_of((*path, key))}: {told}".splitlines())


class _Lookup(dict[str, Any]):
    """Members by name, each made when it is asked for."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> Any:
        return self._make(name)


def _built_in(name: str) -> Model | None:
    """The model of that name, if it is the one that needs no provider."""
    return OfflineModel() if name == OfflineModel().name else None


def _without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that were never written; the environment has them."""
    return {
        name: _without_secrets(cast("dict[str, Any]", each)) if isinstance(each, dict) else each
        for name, each in settings.items()
        if each != REDACTED
    }
