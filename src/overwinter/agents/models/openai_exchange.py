"""One request to an OpenAI-compatible server and its answer, over aiohttp."""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import msgspec

from overwinter.agents.models.event_stream import EventStream
from overwinter.agents.models.openai_errors import NoAnswer, Refused, error_in
from overwinter.agents.models.openai_reply import Completion
from overwinter.agents.models.sessions import Sending

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import aiohttp

__all__ = ["Call", "exchange"]

_DONE = b"[DONE]"
_LAST_BYTES = 0.5  # seconds for the end of a stream whose last event was there; then its connection is closed
_CONNECTING = 30.0
_REFUSING = 5.0  # seconds for the text of a refusal; that it is one is known by then
_SHOWN = 200


class Call(msgspec.Struct, frozen=True, gc=False):
    """What goes over the wire; ``timeout`` is in seconds, for the next thing to be heard."""

    url: str
    headers: dict[str, str]
    body: bytes
    timeout: float

    def __repr__(self) -> str:
        return f"Call({self.url!r})"  # the rest holds the key, and what was asked


async def exchange(
    session: aiohttp.ClientSession,
    call: Call,
    on_text: Callable[[str], None] | None,
    *,
    proxy: str | None = None,
) -> Completion:
    """Send *call* once and read the whole answer, as a stream when there is *on_text*.

    Once more, at once, where a connection that was kept open turns out to be dead before a byte has come back:
    servers close those when they like. Cancelling it closes the connection.
    """
    response = await _send(session, call, proxy)
    try:
        completion = Completion(on_text)
        if not 200 <= response.status < 300:
            raise await _refusal(response)
        if on_text is not None and response.content_type != "application/json":
            await _read_stream(response, completion)
        else:
            # By itself the timeout is for the next bytes, and a server may drip.
            async with asyncio.timeout(call.timeout or None):
                body = await response.read()
            completion.add_whole(_decoded(body, response.headers))
        completion.finish()
    except BaseException:
        response.close()
        raise
    response.release()
    return completion


async def _send(session: aiohttp.ClientSession, call: Call, proxy: str | None) -> aiohttp.ClientResponse:
    import aiohttp

    again = False
    while True:
        sending = Sending()
        try:
            return await session.post(
                call.url,
                data=call.body,
                headers=call.headers,
                timeout=_timeout(call.timeout),
                proxy=proxy,
                allow_redirects=False,
                trace_request_ctx=sending,
            )
        except OSError as error:
            if again or not sending.reused or isinstance(error, TimeoutError):
                raise
        except aiohttp.ServerDisconnectedError as error:
            if not isinstance(error.message, str):  # it is what has come of the answer
                raise ConnectionResetError(
                    "the server closed the connection in the middle of its answer"
                ) from error
            if again or not sending.reused:
                raise ConnectionResetError("the server closed the connection without an answer") from error
        again = True


@lru_cache(maxsize=16)
def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    import aiohttp

    return aiohttp.ClientTimeout(total=None, sock_connect=min(seconds, _CONNECTING), sock_read=seconds)


async def _read_stream(response: aiohttp.ClientResponse, completion: Completion) -> None:
    events, begun = EventStream(), False
    async for piece in response.content.iter_any():
        for data in events.feed(piece):
            if data.strip() == _DONE:
                await _to_the_end(response)
                return
            if not data:
                continue  # which keeps the connection awake
            begun = True
            completion.add_chunk(_decoded(data, response.headers, in_stream=True))
    for data in events.finish():
        if data.strip() not in (b"", _DONE):
            begun = True
            completion.add_chunk(_decoded(data, response.headers, in_stream=True))
    if not begun:
        raise NoAnswer(f"there is no event in it, which is {response.content_type}")


async def _to_the_end(response: aiohttp.ClientResponse) -> None:
    """Read what is left, which is nothing: only a connection whose answer was read to its end is used again."""
    import aiohttp

    try:
        async with asyncio.timeout(_LAST_BYTES):
            while not response.content.at_eof():
                await response.content.readany()
    except (aiohttp.ClientError, OSError):  # a TimeoutError is one; the reply is whole all the same
        pass


async def _refusal(response: aiohttp.ClientResponse) -> Refused:
    import aiohttp

    status, headers, body = response.status, response.headers, b""
    if status < 400 and "Location" in headers:  # not followed: who is there is not whom the key is for
        return Refused(status, f"it has moved to {headers['Location']}", headers)
    try:
        async with asyncio.timeout(_REFUSING):
            body = await response.read()
    except (aiohttp.ClientError, OSError):
        pass  # it breaks off, but it refuses
    answer = _object_in(body)
    told = None if answer is None else error_in(answer, status, headers)
    return told or Refused(status, body.decode("utf-8", "replace") or response.reason or "", headers)


def _decoded(body: bytes, headers: Mapping[str, str], *, in_stream: bool = False) -> dict[str, Any]:
    """The object that stands there; raises ``Refused`` where it is an error, and ``NoAnswer`` where it is none."""
    answer = _object_in(body)
    if answer is None:
        shown = body[:_SHOWN].decode("utf-8", "replace")
        what = "an event of the stream" if in_stream else "the body"
        raise NoAnswer(f"{what} is no JSON object: {shown!r}")
    told = error_in(answer, None, headers)
    if told is not None:
        raise told
    return answer


def _object_in(body: bytes) -> dict[str, Any] | None:
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            # Halves of surrogate pairs, which models make, are an error to msgspec.
            value = json.JSONDecoder().decode(body.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
    if isinstance(value, list) and value:
        value = value[0]  # pyright: ignore[reportUnknownVariableType]  (as Gemini has its errors)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
