"""A model that needs no network, no key and no luck."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from anyio import to_thread
from anyio.lowlevel import checkpoint

from overwinter.agents.models.planning import next_message
from overwinter.agents.models.price import Price
from overwinter.agents.models.protocol import ModelReply, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.agents.models.protocol import Message, ModelRequest

__all__ = ["OfflineModel"]


class OfflineModel:
    """A ``Model`` that summarises in a text's own sentences: deterministic, extractive, offline.

    It understands nothing. Sentences are ranked by LexRank (see :mod:`overwinter.agents.models.extraction`), and what
    it does with an agent's tools is read off their names and their JSON schemas:

    - ``list_…``, ``count_…`` and ``measure_…`` tools that need no arguments are called first;
    - a ``read_…`` tool is called for each thing to read: with a whole number ``part`` from 1 to the ``parts`` that a
      tool of the first kind told, with a text ``document`` for each ``document`` that one listed;
    - a ``note_…`` tool that takes the same argument is given the best sentence of what was read;
    - a ``write_…`` tool is given a ``title``, a ``summary``, ``keywords``, and a list of objects of these, one for each
      text that was read; and what several texts have ``in_common``, which is the words that they share, counted here
      or told by a tool of the first kind as a ``word`` and in how many ``documents`` it stands. A call that fails is
      made once more;
    - then it answers. Without such tools its answer is a summary of the task.

    The reply depends on the request alone. Its tokens are words, and it costs nothing.
    """

    @property
    def name(self) -> str:
        """``offline``."""
        return "offline"

    @property
    def price(self) -> Price:
        """Nothing."""
        return Price()

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Reply to *request*; the work is done in a thread, which a cancelled call leaves behind."""
        message, usage = await to_thread.run_sync(partial(_reply, request), abandon_on_cancel=True)
        if on_text is not None:
            for piece in message.content.splitlines(keepends=True):
                await checkpoint()
                on_text(piece)
        return ModelReply(
            message=message,
            usage=usage,
            model=self.name,
            finish_reason="tool_calls" if message.tool_calls else "stop",
        )


def _reply(request: ModelRequest) -> tuple[Message, Usage]:
    message = next_message(request)
    said = [message.content, *(call.arguments for call in message.tool_calls)]
    usage = Usage(
        input_tokens=sum(len(heard.content.split()) for heard in request.messages),
        output_tokens=sum(len(text.split()) for text in said),
        cost=0.0,
        calls=1,
    )
    return message, usage
