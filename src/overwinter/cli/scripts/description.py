"""A script that was read and checked."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from overwinter.agents.budget import Budget
from overwinter.agents.context import ContextPolicy
from overwinter.agents.models.retry import RetryPolicy
from overwinter.agents.rates.limit import RateLimit
from overwinter.cli.scripts.problems import Problems

__all__ = ["DescribedAgent", "DescribedHandoff", "DescribedPolicy", "DescribedSwarm", "Script"]


class DescribedHandoff(Struct, kw_only=True):
    """Whom an agent may hand a conversation on to, and when, as its model is told."""

    to: str
    when: str = ""


class DescribedAgent(Struct, kw_only=True):
    """An agent, with what ``[defaults]`` has for it."""

    name: str
    model: str = ""
    description: str = ""
    system_prompt: str = ""
    tools: list[str] = []
    handoffs: list[DescribedHandoff] = []
    max_loops: int | Literal["auto"] | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stopping_token: str | None = None
    fallback_models: list[str] = []
    model_args: dict[str, Any] = {}
    budget: Budget | None = None
    context: list[ContextPolicy] | None = None
    retry: RetryPolicy | None = None


class DescribedPolicy(Struct, kw_only=True):
    """What becomes of a member that fails; ``fallback`` names another agent or swarm of the file."""

    attempts: int = 1
    backoff: float = 0.5
    timeout: float | None = None
    then: str = "fail_fast"
    fallback: str | None = None


class DescribedSwarm(Struct, kw_only=True):
    """A swarm: the one of the file, or one that is a member of it. ``options`` are those of its pattern."""

    name: str = ""
    pattern: str = ""
    description: str = ""
    members: list[str] = []
    options: dict[str, Any] = {}
    budget: Budget | None = None
    policy: DescribedPolicy | None = None
    policies: dict[str, DescribedPolicy] = {}


class Script(Struct, kw_only=True):
    """All of a file.

    :ivar data: what it was read from, as plain data, from which it can be read again.
    :ivar rate_limits: how much all of them together may ask of each model, by its name.
    :ivar problems: notes what turns out to be wrong later.
    """

    problems: Problems
    swarm: DescribedSwarm = field(default_factory=DescribedSwarm)
    session: str = ""
    autosave: bool = True
    durability: str = "async"
    task: str | None = None
    agents: dict[str, DescribedAgent] = {}
    swarms: dict[str, DescribedSwarm] = {}
    rate_limits: dict[str, RateLimit] = {}
    data: dict[str, Any] = {}
