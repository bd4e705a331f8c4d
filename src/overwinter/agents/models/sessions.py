"""The connections of one model: an aiohttp session for each event loop, closed when that loop ends."""

from __future__ import annotations

import asyncio
import os
import sys
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter._version import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

    import aiohttp

__all__ = ["Opened", "Sending", "Sessions"]

_KEPT_OPEN = 30.0  # seconds that a connection is kept for the next call
_MOST_CONNECTIONS = 1000
_OTHER_FILES = 256


# With a thousand calls under way, each object that the garbage collection looks at costs; these hold no others.
class Sending(msgspec.Struct, gc=False):
    """What is known of one request on its way: whether it went out on a connection that was kept open."""

    reused: bool = False


class Opened:
    """The session on one event loop. It is not closed while a call is in progress, which is what ``with`` says."""

    __slots__ = ("calls", "keeper", "leaving", "proxies", "session")

    def __init__(
        self, session: aiohttp.ClientSession, keeper: AsyncGenerator[aiohttp.ClientSession, None]
    ) -> None:
        self.session = session
        self.keeper = keeper
        self.proxies: dict[str, str | None] = {}
        self.calls = 0
        self.leaving = False

    def __enter__(self) -> aiohttp.ClientSession:
        self.calls += 1
        return self.session

    def __exit__(self, *_: object) -> None:
        self.calls -= 1
        if self.leaving and not self.calls:
            _close_soon(self)

    def proxy_for(self, url: str) -> str | None:
        """The proxy that the environment names for *url*, asked for once."""
        if url not in self.proxies:
            self.proxies[url] = _proxy(url)
        return self.proxies[url]


class Sessions:
    """Opens a session with the first call on an event loop, and closes it with that loop.

    The session is held by an async generator that never goes on by itself: event loops close those when they end
    (``shutdown_asyncgens``, which ``asyncio.run`` and anyio call). It is closed too when the model is dropped.
    """

    def __init__(self, *, connections: int | None, ssl_context: ssl.SSLContext | None) -> None:
        self._connections = connections
        self._ssl_context = ssl_context
        self._opened: dict[asyncio.AbstractEventLoop, Opened] = {}
        self._farewell = self._say_farewell()
        _living.add(self)

    async def here(self) -> Opened:
        """What is open on this event loop, opened now if need be, for the length of one ``with``."""
        loop = asyncio.get_running_loop()
        opened = self._opened.get(loop)
        if opened is None or opened.session.closed:
            # Of a copy: another thread may open one on its own event loop.
            for ended in [other for other in list(self._opened) if other.is_closed()]:
                self._opened.pop(ended, None)
            keeper = _keep(self._connections or _connections(), self._ssl_context)
            opened = self._opened[loop] = Opened(await anext(keeper), keeper)
        return opened

    async def aclose(self) -> None:
        """Close what is open on this event loop, once no call is in progress there."""
        opened = self._opened.pop(asyncio.get_running_loop(), None)
        if opened is None:
            return
        opened.leaving = True
        if not opened.calls:
            await opened.keeper.aclose()

    def after_fork(self) -> None:
        """Leave the connections alone that are the parent's."""
        _inherited.append(self._opened)
        self._farewell.detach()
        self._opened = {}
        self._farewell = self._say_farewell()

    def _say_farewell(self) -> weakref.finalize[..., Any]:
        # It holds what is open, which therefore never is a part of the circle with which a model may go: sessions in
        # one warn before anybody could close them.
        farewell = weakref.finalize(self, _leave_all, self._opened)
        farewell.atexit = False
        return farewell


_living: weakref.WeakSet[Sessions] = weakref.WeakSet()
_inherited: list[Any] = []  # kept for ever: to free them would close what is the parent's


def _after_fork() -> None:
    for sessions in list(_living):
        sessions.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


async def _keep(
    connections: int, ssl_context: ssl.SSLContext | None
) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """Open a session, and close it when this is closed. It refers to no model, which may therefore be dropped."""
    import aiohttp

    make_context: Any = _as_it_is
    traced = aiohttp.TraceConfig(trace_config_ctx_factory=make_context)
    traced.on_connection_reuseconn.append(_reused)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections,
            keepalive_timeout=_KEPT_OPEN,
            ttl_dns_cache=60,
            ssl=True if ssl_context is None else ssl_context,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"overwinter/{__version__}"},
        trace_configs=[traced],
    )
    try:
        yield session
    finally:
        # A model that was dropped has a task for this, which an event loop that ends does not wait for, or cancels.
        if session in _closing:
            await asyncio.wait((_closing[session][0],))
        await session.close()
        _closing.pop(session, None)


def _as_it_is(trace_request_ctx: Any) -> Any:
    return trace_request_ctx


async def _reused(_: aiohttp.ClientSession, sending: Any, __: Any) -> None:
    sending.reused = True


def _leave_all(opened: dict[asyncio.AbstractEventLoop, Opened]) -> None:
    """Nobody has the model any more; from whichever thread that was found out."""
    for loop, one in list(opened.items()):
        with suppress(RuntimeError):  # the loop has ended, and what was open on it
            loop.call_soon_threadsafe(_leave, one)


def _leave(opened: Opened) -> None:
    opened.leaving = True
    if not opened.calls:
        _close_soon(opened)


def _close_soon(opened: Opened) -> None:
    # Held until it is closed: a keeper that is collected while its event loop ends is not waited for by anybody.
    _closing[opened.session] = asyncio.get_running_loop().create_task(_close(opened)), opened


async def _close(opened: Opened) -> None:
    await opened.session.close()
    _closing.pop(opened.session, None)
    with suppress(RuntimeError):  # the event loop ends, and has its keeper wait for this
        await opened.keeper.aclose()


_closing: dict[aiohttp.ClientSession, tuple[asyncio.Task[None], Opened]] = {}


def _connections() -> int:
    """As many as a thousand agents need, where the process may have so many files open."""
    if sys.platform == "win32":
        return _MOST_CONNECTIONS
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(64, min(_MOST_CONNECTIONS, files - _OTHER_FILES))


def _proxy(url: str) -> str | None:
    # aiohttp's ``trust_env`` would ask anew with each request, from a thread, and read ~/.netrc for keys.
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
