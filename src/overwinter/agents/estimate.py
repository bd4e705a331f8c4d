"""How large an agent's next call will be, guessed from its last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from overwinter.agents.models.protocol import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overwinter.agents.models.protocol import Message, ToolSpec
    from overwinter.agents.state import AgentState

__all__ = ["CallSize", "Estimator", "tokens_of"]

_CHARACTERS_A_TOKEN = 4
_MOST_CHARACTERS_A_TOKEN = 8
_FIRST_OUTPUT = 1024


class CallSize(msgspec.Struct, frozen=True, gc=False):
    """The tokens that a call is ``likely`` to use, and the ``least`` without which it cannot be made."""

    least: Usage
    likely: Usage


class Estimator(msgspec.Struct, gc=False):
    """Guesses the size of an agent's next call: its input by what the state knows of it, its output by the last one.

    :ivar last_output: the tokens of the last reply.
    :ivar last_cost: US dollars that it is known to have cost.
    """

    last_output: int | None = None
    last_cost: float | None = None

    def size(
        self,
        state: AgentState,
        *,
        prompt: str = "",
        tools: Sequence[ToolSpec] = (),
        max_tokens: int | None = None,
    ) -> CallSize:
        """The size of a call that sends the conversation after *prompt* and *tools*.

        It looks only at what was added since the last reply.
        """
        text = sum(map(_length, state.conversation[state.context_upto :]))
        output = max_tokens
        if state.context_upto:
            sent = least = state.context_tokens + _tokens(text)
            output = self.last_output if max_tokens is None else max_tokens
        else:
            text += len(prompt)
            sent = _tokens(text + sum(map(_length_of_tool, tools)))
            least = text // _MOST_CHARACTERS_A_TOKEN
        if output is not None:
            size = Usage(input_tokens=sent, output_tokens=output, calls=1)
            return CallSize(size, size)
        return CallSize(
            Usage(input_tokens=least, calls=1),
            Usage(input_tokens=sent, output_tokens=_FIRST_OUTPUT, calls=1),
        )

    def heard(self, usage: Usage) -> None:
        """The model used *usage* for its last reply."""
        self.last_output = usage.output_tokens
        self.last_cost = usage.cost


def tokens_of(message: Message) -> int:
    """How many tokens *message* has, about."""
    return _tokens(_length(message))


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS_A_TOKEN)


def _length(message: Message) -> int:
    return len(message.content) + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)


def _length_of_tool(tool: ToolSpec) -> int:
    return len(tool.name) + len(tool.description) + len(msgspec.json.encode(tool.parameters))
