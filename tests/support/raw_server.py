"""A server on 127.0.0.1 that answers each request with the next of some texts, byte for byte, and hangs up."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

__all__ = ["HANG", "chunked", "serving", "whole"]

#: As the last thing of an answer: the connection is left open, and nothing comes.
HANG = b"<the server hangs here>"


@asynccontextmanager
async def serving(*answers: bytes) -> AsyncGenerator[str]:
    """Serve *answers*, the last one for ever; gives the ``base_url``."""
    queue = list(answers)
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
            text = queue.pop(0) if len(queue) > 1 else queue[0]
            writer.write(text.removesuffix(HANG))
            await writer.drain()
            if text.endswith(HANG):
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def whole(
    body: bytes | Mapping[str, Any], status: int = 200, *headers: str, length: int | None = None
) -> bytes:
    """An answer in one piece, perhaps with a length that is not its own."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(content) if length is None else length
    lines = [f"HTTP/1.1 {status} Said", "Content-Type: application/json", f"Content-Length: {size}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


def chunked(*events: bytes | Mapping[str, Any], ended: bool = True) -> bytes:
    """A stream of the data of events, in a chunk each; unless *ended*, it is cut off behind the last one."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in events]
    pieces = [b"data: " + each + b"\n\n" for each in data]
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + body + (b"0\r\n\r\n" if ended else b"")
