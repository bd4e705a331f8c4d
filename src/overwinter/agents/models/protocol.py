"""What an agent says to a model and what it hears back: plain data, the same for every provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

# What is kept by the thousand is no business of the garbage collection (``gc=False``): it can be part of no circle.
__all__ = ["Message", "Model", "ModelReply", "ModelRequest", "Role", "ToolCall", "ToolSpec", "Usage"]

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(Struct, frozen=True, omit_defaults=True, gc=False):
    """A model's wish to have a tool called.

    ``arguments`` is the JSON text exactly as the model wrote it, valid or not. ``provider`` holds what the
    provider wants back verbatim with the call, such as a thought signature.
    """

    id: str
    name: str
    arguments: str = ""
    provider: dict[str, Any] = {}


class Message(Struct, frozen=True, omit_defaults=True, gc=False):
    """One message of a conversation.

    ``tool_call_id`` and ``name`` belong to a message of role ``tool`` and say which call it answers.
    ``provider`` holds the fields of an assistant's message that go back verbatim, such as signed thinking.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    provider: dict[str, Any] = {}


class ToolSpec(Struct, frozen=True):
    """A tool as the model sees it; ``parameters`` is a JSON schema of type ``object``."""

    name: str
    description: str
    parameters: dict[str, Any]


class ModelRequest(Struct):
    """One call of a model.

    ``messages`` may be a view of the agent's conversation, which nobody can change through it; ``list(...)`` copies it.
    ``output_schema`` is ``{"name": ..., "schema": {...}}``, the shape the text of the reply is to have; a
    model that cannot be held to a schema ignores it. ``args`` are settings for the provider (``api_key``,
    ``api_base``, ``top_p``, ...) with every secret revealed: a request is never stored and never logged.
    """

    messages: Sequence[Message]
    tools: tuple[ToolSpec, ...] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    output_schema: dict[str, Any] | None = None
    args: dict[str, Any] = {}


class Usage(Struct, frozen=True, gc=False):
    """What calls of a model used: tokens, and ``cost`` in US dollars or None where a price is unknown.

    Adding a use of unknown cost to another makes the sum's cost unknown, unless it is empty (``calls == 0``).
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = None
    calls: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together; cached and reasoning tokens are parts of these."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cost=_cost_of_both(self, other),
            calls=self.calls + other.calls,
        )


def _cost_of_both(one: Usage, other: Usage) -> float | None:
    if one.cost is None and not one.calls:
        return other.cost
    if other.cost is None and not other.calls:
        return one.cost
    return None if one.cost is None or other.cost is None else one.cost + other.cost


class ModelReply(Struct):
    """A whole reply: a message of role ``assistant``, what it used, whose it is and why it ended.

    ``model`` is what the provider calls itself. ``finish_reason`` is ``stop``, ``tool_calls``, ``length``,
    ``content_filter``, or the provider's own word.
    """

    message: Message
    usage: Usage = Usage()
    model: str = ""
    finish_reason: str = "stop"


@runtime_checkable
class Model(Protocol):
    """Anything that can be asked for a reply; implement these three and pass it as ``Agent(model=...)``.

    It may also have a ``price``, a :class:`Price`: budgets of money need one to reserve a call, and a reply whose usage
    tells no cost is priced by it. ``None``, and no such attribute, say that nobody knows it.
    """

    @property
    def name(self) -> str:
        """The name by which errors, events and saved settings call the model."""
        ...

    async def prepare(self) -> None:
        """Load what the first call needs; called before a run begins, and again harmlessly."""
        ...

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Ask once and return the whole reply; with ``on_text``, each piece of text is handed over at once.

        Raises ``ModelError``. It does not retry: that is the caller's, who also knows the fallbacks.
        Cancelling it closes the connection, and nothing more is handed to ``on_text``.
        """
        ...
