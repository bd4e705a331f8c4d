"""What writes the ledger: a model that writes down what it answers, and the tools' way of saying what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from overwinter.cli.demo.ledger import digest_of_reply, digest_of_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter import ToolContext
    from overwinter.agents.models.protocol import Model, ModelReply, ModelRequest
    from overwinter.cli.demo.ledger import Ledger
    from overwinter.cli.demo.plug import Plug

__all__ = ["Witness", "WitnessedModel"]


class WitnessedModel:
    """*model*, with a line in the ledger when it is asked and one when it has its answer ready.

    :param seconds: how long it thinks at least; a model that answers at once leaves nothing to look at.
    """

    def __init__(self, model: Model, agent: str, ledger: Ledger | None, *, seconds: float = 0.0) -> None:
        self._model = model
        self._agent = agent
        self._ledger = ledger
        self._seconds = seconds

    @property
    def name(self) -> str:
        """The model's own."""
        return self._model.name

    async def prepare(self) -> None:
        """Have the model load what it needs."""
        await self._model.prepare()

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Ask the model, and write down what it answers before anybody else hears of it."""
        ledger, agent = self._ledger, self._agent
        if ledger is None:
            return await self._model.complete(request, on_text=on_text)
        asked = digest_of_request(request.messages)
        await to_thread.run_sync(ledger.asked, agent, asked)
        await anyio.sleep(self._seconds)
        reply = await self._model.complete(request, on_text=on_text)
        await to_thread.run_sync(ledger.answered, agent, asked, digest_of_reply(reply.message))
        return reply


class Witness:
    """What the tools tell when they have done what they do."""

    def __init__(self, ledger: Ledger | None = None, plug: Plug | None = None) -> None:
        self._ledger = ledger
        self._plug = plug

    async def did(self, tool: str, context: ToolContext) -> None:
        """*tool* has had its effect and returns now, unless this is where the plug is pulled."""
        if self._ledger is not None:
            await to_thread.run_sync(self._ledger.did, context.agent_name, tool, context.call_id)
        if self._plug is not None:
            await self._plug.offer(tool, context)
