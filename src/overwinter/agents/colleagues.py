"""Tools with which an agent talks to others by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.agents.tools import Tool, ToolContext
from overwinter.errors import AskTimeout, ToolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overwinter.agents.named import NamedAgent
    from overwinter.agents.runtime import Runtime

__all__ = ["colleagues"]


def colleagues(
    runtime: Runtime,
    *names: str,
    session: str = "",
    about: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> tuple[Tool[..., Any], ...]:
    """The tools ``ask_colleague(name, question)`` and ``tell_colleague(name, message)``, for ``Agent(tools=...)``.

    Asking runs the other agent and waits for its answer; telling leaves it a task and goes on. Both are done once: the
    run of the other agent is named after the call, and a call that is repeated after a crash gets the same answer. What
    goes wrong is told to the model: a name that does not exist, agents that would wait for each other for ever, an
    agent that is paused or failed.

    :param names: who can be talked to; without any, every agent that the runtime can wake up.
    :param session: the session that they are of.
    :param about: what each is good for, for the model to choose by; names in it need not be given again.
    :param timeout: seconds that an answer may take; then the colleague's run is interrupted.
    """
    told = dict.fromkeys(names, "") | dict(about or {})

    def find(name: str) -> NamedAgent:
        if told and name not in told:
            raise ToolError(f"there is no colleague {name!r}; there are: {', '.join(told)}")
        return runtime.agent(name, session)

    async def ask_colleague(name: str, question: str, context: ToolContext) -> str:
        colleague = find(name)
        try:
            answer = await colleague.ask(question, timeout=timeout, run_id=_run_id(context))
        except AskTimeout as error:
            raise ToolError(str(error)) from error
        return answer

    async def tell_colleague(name: str, message: str, context: ToolContext) -> str:
        await find(name).tell(message, run_id=_run_id(context))
        return f"{name} has it."

    listed = "".join(f"\n- {name}{': ' if text else ''}{text}" for name, text in told.items())
    whom = f" Your colleagues:{listed}" if listed else ""
    return (
        Tool(
            ask_colleague,
            description="Ask a colleague something, or to do something, and wait for the answer. Say all that is "
            f"needed for it: your colleague does not see this conversation.{whom}",
            idempotent=True,
        ),
        Tool(
            tell_colleague,
            description=f"Leave a colleague a message or a task, without waiting for an answer.{whom}",
            idempotent=True,
        ),
    )


def _run_id(context: ToolContext) -> str:
    """The same for a call that is repeated, and another one for any other call of any agent."""
    return f"{context.run_id}:{context.loop}:{context.call_id}"
