"""The keyword settings of an agent, for the type checker's sake: what they mean stands at :class:`Agent`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from overwinter.agents.budget import Budget
    from overwinter.agents.context import ContextPolicy
    from overwinter.agents.models.protocol import Model
    from overwinter.agents.models.retry import RetryPolicy
    from overwinter.agents.profile import Durability
    from overwinter.agents.retention import Retention
    from overwinter.agents.tools import OnUnknown, Tool

__all__ = ["AgentOptions"]


class AgentOptions(TypedDict, total=False):
    """Everything that ``Agent`` takes by keyword, but ``output_type``, which decides what a run returns."""

    session: str
    agent_id: str | None
    agent_description: str
    system_prompt: str
    tools: Iterable[Tool[..., Any] | Callable[..., Any]]
    max_loops: int | Literal["auto"] | None
    stopping_condition: Callable[[str], bool] | None
    stopping_token: str | None
    temperature: float | None
    max_tokens: int | None
    autosave: bool
    durability: Durability
    verbose: bool
    workspace_dir: str | os.PathLike[str] | None
    model: Model | None
    fallback_models: Sequence[str | Model]
    output_retries: int
    budget: Budget | None
    context: ContextPolicy | Sequence[ContextPolicy] | None
    model_args: Mapping[str, Any] | None
    tool_timeout: float | None
    on_unknown: OnUnknown
    retry: RetryPolicy | None
    retention: Retention | None
    lease_timeout: float
