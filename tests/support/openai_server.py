"""A small OpenAI-compatible server on 127.0.0.1 that answers, streams, and fails on demand, over real HTTP.

In a test::

    with OpenAIServer() as server:
        server.enqueue(Status(429, retry_after=0.5), Answer("hello"))
        ...                                   # point a client to server.base_url
        assert server.requests[0].body["model"] == "gpt-4o-mini"

It runs an event loop in a thread of its own. Each request to ``/v1/chat/completions`` takes the next behaviour
from the queue; when that is empty, ``respond`` answers: it calls the first tool offered unless there is a tool's
result already, else it writes a text derived from the last user message.

By itself, for the examples::

    python -m tests.support.openai_server --port 8099
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import struct
import sys
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self

__all__ = [
    "Answer",
    "Behaviour",
    "Drop",
    "Hold",
    "OpenAIServer",
    "Raw",
    "ReceivedRequest",
    "Status",
    "ToolUse",
    "respond",
]


@dataclass
class ToolUse:
    """A tool call in an answer; arguments as text go out as they are, and ``id=None`` leaves the id out."""

    name: str
    arguments: dict[str, Any] | str = field(default_factory=dict)
    id: str | None = ""

    def arguments_text(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass
class Answer:
    """A good answer. ``extra`` goes into the message, or into a delta of its own when streamed.

    ``drop_after`` closes the connection after so many events of a stream.
    """

    text: str = ""
    calls: Sequence[ToolUse] = ()
    usage: Mapping[str, Any] | None = None
    finish_reason: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    pieces: Sequence[str] = ()
    drop_after: int | None = None
    with_usage: bool = True


@dataclass
class Status:
    """An error response in OpenAI's shape."""

    code: int
    message: str = ""
    retry_after: float | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Drop:
    """The connection is closed before a byte of the answer, with a reset when ``reset`` is set."""

    reset: bool = False


@dataclass
class Raw:
    """These bytes as the body of a 200, whatever they are."""

    body: bytes
    content_type: str = "application/json"


class Hold:
    """The answer waits until the test calls ``release()``; ``reached`` is set once the request is there.

    With ``after`` so many events of a stream go out before. A client that leaves meanwhile is noticed.
    """

    def __init__(self, then: Answer | Status | Drop | Raw | None = None, *, after: int = 0) -> None:
        self.then = then
        self.after = after
        self.reached = threading.Event()
        self._lock = threading.Lock()
        self._released = False
        self._wake: Callable[[], object] | None = None

    def release(self) -> None:
        """Let the answer go out."""
        with self._lock:
            self._released = True
            if self._wake is not None:
                self._wake()

    async def wait(self) -> None:
        """Wait for the release; on the server's loop."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        with self._lock:
            if self._released:
                return
            self._wake = lambda: loop.call_soon_threadsafe(woken.set)
        self.reached.set()
        await woken.wait()


Behaviour: TypeAlias = Answer | Status | Drop | Raw | Hold | str


@dataclass
class ReceivedRequest:
    """One request as it came; ``gone`` is set when its client left before the answer was complete."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int = 0
    gone: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)


def respond(body: Mapping[str, Any]) -> Answer:
    """The default answer: deterministic, and the same for the same request."""
    messages = body.get("messages", [])
    if body.get("tools") and not any(message["role"] == "tool" for message in messages):
        function = body["tools"][0]["function"]
        return Answer(calls=[ToolUse(function["name"], _example(function.get("parameters", {})))])
    said = next((_text(message) for message in reversed(messages) if message["role"] == "user"), "")
    return Answer(f"You said: {said}")


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _example(schema: Mapping[str, Any]) -> dict[str, Any]:
    examples = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    properties = schema.get("properties", {})
    return {
        name: properties[name].get("enum", [examples.get(properties[name].get("type"), "text")])[0]
        for name in schema.get("required", [])
    }


class _ClientGone(Exception):
    """The client closed the connection."""


class _Dropped(Exception):
    """We close the connection, as asked."""


class OpenAIServer:
    """See the module. Thread-safe; a context manager; ``start`` and ``stop`` by hand do as well."""

    def __init__(
        self, *, port: int = 0, responder: Callable[[Mapping[str, Any]], Behaviour] = respond
    ) -> None:
        self.requests: list[ReceivedRequest] = []
        self.responder = responder
        self.connections = 0
        self._port = port
        self._queue: deque[Behaviour] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._stopping: asyncio.Event | None = None

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL."""
        return f"http://127.0.0.1:{self._port}/v1"

    def environment(self) -> dict[str, str]:
        """The environment variables that lead a program here."""
        return {"OPENAI_API_KEY": "test", "OPENAI_API_BASE": self.base_url, "OPENAI_BASE_URL": self.base_url}

    def enqueue(self, *behaviours: Behaviour) -> None:
        """The next requests are treated so, one each; a text is an ``Answer`` of that text."""
        self._queue.extend(behaviours)

    def reset(self) -> None:
        """Forget the behaviours not used and the requests received."""
        self._queue.clear()
        self.requests.clear()
        self.responder = respond

    @property
    def unused(self) -> int:
        """How many behaviours are still in the queue."""
        return len(self._queue)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve; returns when the port is open."""
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="openai-server", daemon=True
        )
        self._thread.start()
        if not self._ready.wait(60):
            raise RuntimeError("the local OpenAI server did not start")

    def stop(self) -> None:
        """Close the port and every connection."""
        if self._loop is not None and self._stopping is not None and self._thread is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
            self._thread = None

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.get_running_loop().create_task(self._connection(reader, writer, self.connections))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", self._port, limit=1 << 26, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        try:
            while (request := await _read_request(reader, number)) is not None:
                self.requests.append(request)
                await self._answer(request, reader, writer)
                request.answered.set()
        except (_Dropped, ConnectionError, asyncio.IncompleteReadError, _ClientGone):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(
        self, request: ReceivedRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        behaviour: Behaviour
        if not request.path.partition("?")[0].endswith("/chat/completions"):
            behaviour = Status(404, f"there is nothing at {request.path}")
        else:
            behaviour = self._queue.popleft() if self._queue else self.responder(request.body)
        hold: Hold | None = None
        if isinstance(behaviour, Hold):
            hold, behaviour = behaviour, behaviour.then or self.responder(request.body)
        if isinstance(behaviour, str):
            behaviour = Answer(behaviour)
        connection = _Connection(request, reader, writer, hold)
        match behaviour:
            case Answer() if request.body.get("stream"):
                await connection.stream(behaviour, len(self.requests))
            case Answer():
                await connection.wait(0)
                await connection.send_json(200, _completion(request.body, behaviour, len(self.requests)))
            case Raw():
                await connection.wait(0)
                await connection.send(200, behaviour.body, {"Content-Type": behaviour.content_type})
            case Drop():
                await connection.wait(0)
                connection.drop(behaviour.reset)
            case Status():
                await connection.wait(0)
                headers = dict(behaviour.headers)
                if behaviour.retry_after is not None:
                    headers["Retry-After"] = str(behaviour.retry_after)
                await connection.send_json(behaviour.code, _error(behaviour), headers)
            case _:
                raise AssertionError(behaviour)


@dataclass
class _Connection:
    request: ReceivedRequest
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    hold: Hold | None

    async def wait(self, sent: int) -> None:
        """Stand still where the hold says so, watching whether the client leaves meanwhile."""
        if self.hold is None or sent != self.hold.after:
            return
        leaving = asyncio.ensure_future(self.reader.read(1))
        holding = asyncio.ensure_future(self.hold.wait())
        try:
            await asyncio.wait({leaving, holding}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                self.request.gone.set()
                raise _ClientGone
        finally:
            for task in (leaving, holding):
                task.cancel()
            await asyncio.gather(leaving, holding, return_exceptions=True)

    async def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.writer.write(_head(status, {**headers, "Content-Length": str(len(body))}) + body)
        await self._drain()

    async def send_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        await self.send(status, body, {"Content-Type": "application/json", **(headers or {})})

    async def stream(self, answer: Answer, number: int) -> None:
        await self.wait(0)
        await self._begin()
        for sent, event in enumerate(_events(self.request.body, answer, number)):
            if sent:
                await self.wait(sent)
            if answer.drop_after == sent:
                self.drop(reset=False)
            await self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
        if answer.drop_after is not None:
            self.drop(reset=False)
        await self._chunk(b"data: [DONE]\n\n")
        self.writer.write(b"0\r\n\r\n")
        await self._drain()

    async def _begin(self) -> None:
        self.writer.write(_head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}))
        await self._drain()

    async def _chunk(self, data: bytes) -> None:
        self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self._drain()

    async def _drain(self) -> None:
        try:
            await self.writer.drain()
        except ConnectionError:
            self.request.gone.set()
            raise
        await asyncio.sleep(0)

    def drop(self, reset: bool) -> None:
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort() if reset else self.writer.close()
        raise _Dropped


async def _read_request(reader: asyncio.StreamReader, connection: int) -> ReceivedRequest | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await _read_body(reader, headers)
    return ReceivedRequest(method, path, headers, json.loads(body) if body else {}, connection)


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    pieces: list[bytes] = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(pieces)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _error(status: Status) -> dict[str, Any]:
    return {
        "error": {
            "message": status.message or f"this is a {status.code}, as asked",
            "type": "test_error",
            "param": None,
            "code": None,
        }
    }


def _usage(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    if answer.usage is not None:
        return dict(answer.usage)
    prompt = sum(len(_text(message).split()) for message in body.get("messages", []))
    completion = len(answer.text.split()) + sum(len(call.arguments_text().split()) for call in answer.calls)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _calls(answer: Answer, number: int) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for position, call in enumerate(answer.calls):
        made = {"type": "function", "function": {"name": call.name, "arguments": call.arguments_text()}}
        if call.id is not None:
            made["id"] = call.id or f"call_{number}_{position}"
        calls.append(made)
    return calls


def _finish_reason(answer: Answer) -> str:
    return answer.finish_reason or ("tool_calls" if answer.calls else "stop")


def _envelope(body: Mapping[str, Any], kind: str, number: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number}",
        "object": kind,
        "created": 1_700_000_000,
        "model": body.get("model", ""),
    }


def _completion(body: Mapping[str, Any], answer: Answer, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, **answer.extra}
    if answer.calls:
        message["tool_calls"] = _calls(answer, number)
    reply = {
        **_envelope(body, "chat.completion", number),
        "choices": [{"index": 0, "message": message, "finish_reason": _finish_reason(answer)}],
    }
    return {**reply, "usage": _usage(body, answer)} if answer.with_usage else reply


def _events(body: Mapping[str, Any], answer: Answer, number: int) -> Iterator[dict[str, Any]]:
    envelope = _envelope(body, "chat.completion.chunk", number)

    def event(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        return {**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}

    yield event({"role": "assistant", "content": ""})
    if answer.extra:
        yield event(answer.extra)
    for piece in answer.pieces or re.findall(r"\s*\S+\s*$|\s*\S+", answer.text):
        yield event({"content": piece})
    for deltas in _call_deltas(answer, number):
        yield event({"tool_calls": deltas})
    yield event({}, _finish_reason(answer))
    if answer.with_usage and (body.get("stream_options") or {}).get("include_usage"):
        yield {**envelope, "choices": [], "usage": _usage(body, answer)}


def _call_deltas(answer: Answer, number: int) -> Iterator[list[dict[str, Any]]]:
    """The calls begin one after another, then their arguments come in pieces that take turns."""
    calls = _calls(answer, number)
    for index, call in enumerate(calls):
        yield [{"index": index, **call, "function": {**call["function"], "arguments": ""}}]
    pieces = [re.findall(r".{1,7}", call["function"]["arguments"], re.DOTALL) for call in calls]
    for turn in range(max(map(len, pieces), default=0)):
        for index, texts in enumerate(pieces):
            if turn < len(texts):
                yield [{"index": index, "function": {"arguments": texts[turn]}}]


def main() -> None:
    """Serve until interrupted, with the default answers."""
    parser = argparse.ArgumentParser(description="A local OpenAI-compatible server.")
    parser.add_argument("--port", type=int, default=0)
    server = OpenAIServer(port=parser.parse_args().port)
    server.start()
    sys.stdout.write(json.dumps(server.environment()) + "\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
    server.stop()


if __name__ == "__main__":
    main()
