"""A model that says what it was told to say, for tests: no network, no key, no chance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from re import compile as compile_pattern
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from anyio import Event
from anyio.lowlevel import checkpoint

from overwinter.agents.models.price import Price
from overwinter.agents.models.protocol import Message, ModelReply, ModelRequest, ToolCall, Usage
from overwinter.agents.request_view import MessageView
from overwinter.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Script", "ScriptGate", "ScriptedCall", "ScriptedModel", "ScriptedPart", "ScriptedReply"]

_NUMBERED_CALL = compile_pattern(r"call_(\d+)")


class ScriptedCall(msgspec.Struct, frozen=True):
    """A tool call to be made; ``arguments`` as text is passed on verbatim, so that it may be malformed."""

    name: str
    arguments: dict[str, Any] | str
    id: str = ""


class ScriptGate:
    """A point in a reply where the model waits until the test opens it.

    ``await gate.reached.wait()`` returns once the model stands there; ``gate.open()`` lets it go on, now and
    whenever it comes by again. Opening it beforehand is fine.
    """

    def __init__(self, parts: Sequence[ScriptedPart] = ()) -> None:
        self.parts = tuple(parts)
        self.reached = Event()
        self._opened = Event()

    def open(self) -> None:
        """Let the model go on."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Say that the gate was reached and wait until it is open."""
        self.reached.set()
        await self._opened.wait()


ScriptedPart: TypeAlias = str | ScriptedCall | Exception | ScriptGate
Script: TypeAlias = ScriptedPart | Sequence[ScriptedPart] | ModelReply
ScriptedReply: TypeAlias = Script | Callable[[ModelRequest], Script | Awaitable[Script]]


class ScriptedModel:
    """A ``Model`` that gives the ``replies`` one after another.

    A reply is a text, a ``ScriptedModel.call(...)``, an exception to be raised, a ``ScriptedModel.gate()``,
    or a sequence of these that make one reply in their order: ``["Looking.", call, call]`` is a text and two
    calls, ``["Half a sen", ModelError(..., retryable=True)]`` a stream that breaks. It may also be a whole
    ``ModelReply``, given as it is, or a function of the ``ModelRequest`` that returns any of these, sync or
    async. A lone text or function stands for a script of one reply.

    When the replies are used up it raises ``ModelError``, unless ``loop=True``: then the last is repeated.
    Calls are numbered ``call_1``, ``call_2``, ... beyond any in the request's conversation. Tokens are words;
    each reply costs ``cost`` US dollars, or, with a ``price``, what its tokens do. With ``cost=None`` and no ``price``
    nobody knows what it costs. With ``on_text`` texts are streamed word by word.
    Cancelling ``complete`` ends it at the next word or gate; the reply counts as given.
    """

    def __init__(
        self,
        replies: Iterable[ScriptedReply] | Callable[[ModelRequest], Script | Awaitable[Script]] = (),
        *,
        name: str = "scripted",
        loop: bool = False,
        cost: float | None = 0.0,
        price: Price | None = None,
    ) -> None:
        self._script: list[ScriptedReply]
        self._script = [replies] if isinstance(replies, str) or callable(replies) else [*replies]
        self._name = name
        self._loop = loop
        self._price = Price(call=cost) if price is None and cost is not None else price
        self._calls_made = 0
        self.requests: list[ModelRequest] = []

    @staticmethod
    def call(name: str, arguments: dict[str, Any] | str | None = None, *, call_id: str = "") -> ScriptedCall:
        """A call of the tool ``name``, to stand in a reply; without ``call_id`` it gets the next number."""
        return ScriptedCall(name, {} if arguments is None else arguments, call_id)

    @staticmethod
    def gate(*parts: ScriptedPart) -> ScriptGate:
        """A point where the model waits for the test, followed by ``parts``; to stand in a reply."""
        return ScriptGate(parts)

    @property
    def name(self) -> str:
        """The name given to the constructor."""
        return self._name

    @property
    def price(self) -> Price | None:
        """What it costs, or ``None`` where nobody knows."""
        return self._price

    @property
    def remaining(self) -> int:
        """How many replies have not been given yet."""
        return max(0, len(self._script) - len(self.requests))

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Give the next reply of the script, or raise what stands there; see ``Model.complete``."""
        self.requests.append(_as_it_is_now(request))
        script = self._next(request)
        await checkpoint()
        if callable(script):
            answer = script(request)
            script = await answer if isawaitable(answer) else answer
        if isinstance(script, ModelReply):
            if on_text is not None:
                await _stream(script.message.content, on_text)
            return script
        message = await self._perform(script, request, on_text)
        return ModelReply(
            message=message,
            usage=_usage(request, message, self._price),
            model=self._name,
            finish_reason="tool_calls" if message.tool_calls else "stop",
        )

    def _next(self, request: ModelRequest) -> ScriptedReply:
        number = len(self.requests)
        if number <= len(self._script):
            return self._script[number - 1]
        if self._loop and self._script:
            return self._script[-1]
        last = request.messages[-1].content if request.messages else ""
        raise ModelError(
            f"the script of {self._name!r} has {len(self._script)} replies and this is request {number}, "
            f"whose last message is {last[:200]!r}. Add a reply, or pass loop=True to repeat the last.",
            model=self._name,
        )

    async def _perform(
        self,
        script: ScriptedPart | Sequence[ScriptedPart],
        request: ModelRequest,
        on_text: Callable[[str], None] | None,
    ) -> Message:
        texts: list[str] = []
        calls: list[ToolCall] = []
        for part in _flat(script):
            if isinstance(part, str):
                texts.append(part)
                if on_text is not None:
                    await _stream(part, on_text)
            elif isinstance(part, ScriptGate):
                await part.pass_through()
            elif isinstance(part, ScriptedCall):
                calls.append(self._tool_call(part, request))
            else:
                raise part
        return Message("assistant", "".join(texts), tuple(calls))

    def _tool_call(self, call: ScriptedCall, request: ModelRequest) -> ToolCall:
        arguments = call.arguments
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        if call.id:
            return ToolCall(call.id, call.name, arguments)
        self._calls_made = max(self._calls_made, *_call_numbers(request), 0) + 1
        return ToolCall(f"call_{self._calls_made}", call.name, arguments)


def _flat(script: ScriptedPart | Sequence[ScriptedPart]) -> Iterator[ScriptedPart]:
    parts = [script] if isinstance(script, (str, ScriptedCall, Exception, ScriptGate)) else script
    for part in parts:
        yield part
        if isinstance(part, ScriptGate):
            yield from _flat(part.parts)


async def _stream(text: str, on_text: Callable[[str], None]) -> None:
    for word in text.splitlines(keepends=True) if len(text) > 4096 else _words(text):
        await checkpoint()
        on_text(word)


def _words(text: str) -> list[str]:
    head, *tail = text.split(" ")
    return [word for word in (head, *(f" {word}" for word in tail)) if word]


def _as_it_is_now(request: ModelRequest) -> ModelRequest:
    # A view stays as it is; only a list of the caller's own has to be copied.
    messages = request.messages if isinstance(request.messages, MessageView) else list(request.messages)
    return msgspec.structs.replace(request, messages=messages, args=dict(request.args))


def _call_numbers(request: ModelRequest) -> Iterator[int]:
    for message in request.messages:
        for call in message.tool_calls:
            if numbered := _NUMBERED_CALL.fullmatch(call.id):
                yield int(numbered[1])


def _usage(request: ModelRequest, message: Message, price: Price | None) -> Usage:
    usage = Usage(
        input_tokens=sum(len(message.content.split()) for message in request.messages),
        output_tokens=len(message.content.split())
        + sum(len(call.arguments.split()) for call in message.tool_calls),
        calls=1,
    )
    return usage if price is None else msgspec.structs.replace(usage, cost=price.of(usage))
