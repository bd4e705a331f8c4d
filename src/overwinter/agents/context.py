"""What of a long conversation a request carries: the policies for an agent's context window."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overwinter.agents.models.protocol import Message

__all__ = [
    "ContextPolicy",
    "DropToolResults",
    "KeepLast",
    "Summarize",
    "name_of",
    "policies_of",
    "start_of_last",
    "start_of_results",
]


class KeepLast(Struct, frozen=True, tag="keep_last", tag_field="policy"):
    """Requests carry the last *messages* of the conversation; a sliding window.

    Beside them stand the system prompt and the task of the run that the window begins in. A model's tool calls and
    their answers stay together: fewer messages are carried where the window would part them, and more only where the
    last step alone has more.

    :param messages: how many, 1 or more.
    :param above: leave out nothing before the request has more than so many tokens, by estimate; and then cut it back
        at once, so that a provider's prompt cache stays good until the next time. Without it the window moves on with
        each message.
    """

    messages: int
    above: int | None = None

    def __post_init__(self) -> None:
        _at_least_one(self, "messages", "above")


class DropToolResults(Struct, frozen=True, tag="drop_tool_results", tag_field="policy"):
    """Requests carry the results of the last *keep* tool calls; in the place of older ones stands a note.

    The calls themselves stay, and so does every result that the model has not read yet and every one that is shorter
    than the note.

    :param keep: how many results, 1 or more.
    :param above: drop nothing before the request has more than so many tokens, by estimate.
    """

    keep: int = 3
    above: int | None = None

    def __post_init__(self) -> None:
        _at_least_one(self, "keep", "above")


class Summarize(Struct, frozen=True, tag="summarize", tag_field="policy"):
    """Once a request has more than *above* tokens, requests carry a summary of all but the last *keep* messages.

    A model writes it, is paid for it once, and goes on from it when the conversation has grown too long again. The
    task of the run stays as it was said, and tool calls and their answers stay together, as of :class:`KeepLast`.

    :param above: tokens, by estimate: what the last reply reported, and one for each four characters since. Stay well
        below the model's context window.
    :param keep: how many messages, 1 or more.
    :param model: who writes it, any litellm name; the agent's own model, with its fallbacks, unless given.
    """

    above: int
    keep: int = 20
    model: str | None = None

    def __post_init__(self) -> None:
        _at_least_one(self, "above", "keep")


ContextPolicy: TypeAlias = KeepLast | DropToolResults | Summarize


def policies_of(context: ContextPolicy | Sequence[ContextPolicy] | None) -> tuple[ContextPolicy, ...] | None:
    """*context*, as somebody passed it, as a tuple; ``None`` where nothing was said.

    :raises ConfigurationError: it holds something else than policies, or two of one kind.
    """
    if context is None:
        return None
    policies = (context,) if isinstance(context, (KeepLast, DropToolResults, Summarize)) else tuple(context)
    for policy in policies:
        if not isinstance(policy, (KeepLast, DropToolResults, Summarize)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"context is {policy!r}; give KeepLast, DropToolResults, Summarize, or a sequence of these"
            )
    if len({type(policy) for policy in policies}) < len(policies):
        raise ConfigurationError("context has two policies of one kind; give one of each at most")
    return policies


def name_of(policy: ContextPolicy) -> str:
    """The name of its kind, as records and config.json have it."""
    return str(policy.__struct_config__.tag)


def start_of_last(conversation: Sequence[Message], messages: int) -> int:
    """The index where a window over the last *messages* begins: never at the answer of a tool."""
    last = len(conversation)
    index = max(0, last - messages)
    while index < last and conversation[index].role == "tool":
        index += 1
    if index == last and last:
        # The last step alone is longer than that.
        index = last - 1
        while index and conversation[index].role == "tool":
            index -= 1
    return index


def start_of_results(conversation: Sequence[Message], keep: int, *, since: int = 0) -> int:
    """The index before which results of tools are old: *keep* of them stand from there on, and those of the last step.

    ``since`` is an index that is known not to be too high; what stands before it is not looked at.
    """
    left, index = keep, len(conversation)
    unread = True
    for at in range(len(conversation) - 1, since - 1, -1):
        if conversation[at].role == "assistant":
            unread = False
        elif conversation[at].role == "tool":
            if left <= 0 and not unread:
                return index
            left, index = left - 1, at
    return since


def _at_least_one(policy: ContextPolicy, *names: str) -> None:
    for name in names:
        value = getattr(policy, name)
        if value is not None and value < 1:
            raise ConfigurationError(f"{type(policy).__name__}.{name} is {value}; give 1 or more")
