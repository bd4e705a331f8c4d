"""overwinter inside a web service: a front desk, with an agent for each customer that remembers what was said.

    pip install 'overwinter[service]'
    export OPENAI_API_KEY="..."         # OVERWINTER_MODEL names another model; OVERWINTER_MODEL=scripted needs no key
    python examples/service.py
    curl localhost:8000/ask -d '{"customer": "ann", "text": "Where is my order?"}'
    curl -N 'localhost:8000/stream?customer=ann&text=And+when+does+it+come'
    curl localhost:8000/health

Ctrl-C and SIGTERM stop it: what is under way has two seconds to end, then it is interrupted and saved.
"""

from __future__ import annotations

import os
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from overwinter import Agent, OverwinterError, Runtime, StateNotFound
from overwinter.events import RunEnded, StreamRestarted, TextDelta
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

MODEL = os.environ.get("OVERWINTER_MODEL", "gpt-4o-mini")
PROMPT = "You are the front desk of a bee-keeper's shop. Be brief and kind."
STAND_IN = ScriptedModel("Welcome to the hive shop.", loop=True) if MODEL == "scripted" else None


class Question(msgspec.Struct, frozen=True):
    """What a customer sends, as JSON or in the query."""

    customer: str
    text: str


class FrontDesk:
    """The agents of this process, one a customer, each made when its customer first asks."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._agents: dict[str, Agent[str]] = {}
        self._door = anyio.Lock()

    async def agent_for(self, customer: str) -> Agent[str]:
        async with self._door:  # two first questions at once are still one agent
            if customer not in self._agents:
                agent = Agent(
                    "front-desk", MODEL, model=STAND_IN, session=customer, system_prompt=PROMPT, autosave=True
                )
                with suppress(StateNotFound):  # a new customer
                    await agent.load()
                await self.runtime.spawn(agent)
                self._agents[customer] = agent
        return self._agents[customer]


async def ask(request: Request) -> JSONResponse:
    question = msgspec.json.decode(await request.body(), type=Question)
    agent = await request.state.desk.agent_for(question.customer)
    result = await agent.run(question.text)
    return JSONResponse({"answer": result.text, "run_id": result.run_id})


async def stream(request: Request) -> StreamingResponse:
    question = msgspec.convert(dict(request.query_params), Question)
    agent = await request.state.desk.agent_for(question.customer)
    return StreamingResponse(pieces(agent, question.text), media_type="text/event-stream")


async def pieces(agent: Agent[str], text: str) -> AsyncGenerator[bytes]:
    """The answer as server-sent events. A client that leaves early interrupts its run, and that is saved."""
    try:
        async with aclosing(agent.stream(text)) as events:
            async for event in events:
                if isinstance(event, TextDelta | StreamRestarted):  # after a restart what came before is void
                    yield sent(event.kind, event)
                elif isinstance(event, RunEnded):
                    yield sent(event.kind, {"status": event.status})
    except OverwinterError as error:
        yield sent("error", {"error": str(error)})


def sent(kind: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(data))


async def health(request: Request) -> JSONResponse:
    return JSONResponse(msgspec.to_builtins(request.state.desk.runtime.statistics()))


async def refused(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 400 if isinstance(error, msgspec.DecodeError) else 503)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[dict[str, Any]]:
    async with Runtime() as runtime:  # leaving it interrupts what still runs, and saves every agent
        yield {"desk": FrontDesk(runtime)}


app = Starlette(
    routes=[Route("/ask", ask, methods=["POST"]), Route("/stream", stream), Route("/health", health)],
    exception_handlers={msgspec.DecodeError: refused, OverwinterError: refused},
    lifespan=lifespan,
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=2)
