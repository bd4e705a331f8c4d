"""litellm, imported when it is first needed, kept off the callers' event loop, and put away without a trace.

Its import takes seconds; its first calls import and read files on the event loop they run on; it uses that
loop's default executor; and it leaves sessions, threads and tasks behind. So it lives on a side loop.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import importlib
import inspect
import os
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from anyio import to_thread

from overwinter.agents.models.side_loop import SideLoop
from overwinter.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["LiteLLM", "aclose_litellm", "library", "without_logging"]

P = ParamSpec("P")
T = TypeVar("T")

# In force while litellm is imported, which is when it reads them: without them it fetches a price list and a
# list of Anthropic's beta headers from the network, and takes ./.env into the environment.
_IMPORT_SETTINGS = {
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
}

_CALLBACKS = (
    "_async_failure_callback",
    "_async_success_callback",
    "callbacks",
    "failure_callback",
    "input_callback",
    "max_budget",
    "success_callback",
)


class LiteLLM:
    """The one litellm of this process and the loop it lives on; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held only for moments
        self._turn = threading.Lock()  # held while litellm is imported, or the side loop started or stopped
        self._module: Any = None
        self._side: SideLoop | None = None
        self._calls = 0

    @property
    def module(self) -> Any:
        """The imported module; None before ``prepare``."""
        return self._module

    async def prepare(self) -> None:
        """Import litellm and start its loop, in a thread and once; concurrent callers wait for the same.

        Cancelling it leaves the import to end by itself. Raises ``ModelError`` when that fails.
        """
        if self._side is None:
            await to_thread.run_sync(self._prepare, abandon_on_cancel=True)

    async def run(
        self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``function`` on the side loop, prepared if need be; see ``SideLoop.run``."""
        side = await self._enter()
        try:
            return await side.run(function, *args, **kwargs)
        finally:
            with self._lock:
                self._calls -= 1

    async def aclose(self) -> None:
        """Close the connections and end the side loop, unless a call is in progress; harmless when repeated.

        The next call begins anew. Cancelling it leaves the closing to end by itself.
        """
        if self._side is not None:
            await to_thread.run_sync(self.close, abandon_on_cancel=True)

    def close(self) -> None:
        """Do as ``aclose`` does, and block meanwhile."""
        with self._turn:
            with self._lock:
                side = self._side
                if side is None or self._calls:
                    return
                self._side = None
            side.stop()

    def after_fork(self) -> None:
        """Begin anew in a forked child: it has no thread of ours, and the clients are the parent's."""
        self._lock, self._turn = threading.Lock(), threading.Lock()
        if self._side is not None:
            clients = _cached_clients(self._module)
            _inherited.extend([self._side, dict(clients)])
            clients.clear()
        self._side, self._calls = None, 0

    async def _enter(self) -> SideLoop:
        while True:
            await self.prepare()
            with self._lock:
                if self._side is not None:
                    self._calls += 1
                    return self._side

    def _prepare(self) -> None:
        with self._turn:
            if self._module is None:
                self._module = _import_litellm()
                # What is registered last runs first: our closing has to come before litellm's own, which
                # would touch our clients from a loop that is not theirs.
                atexit.register(self._at_exit)
            if self._side is None:
                side = SideLoop("overwinter-models", farewell=lambda: _farewell(self._module))
                side.start()
                with self._lock:
                    self._side = side

    def _at_exit(self) -> None:
        with self._lock:
            self._calls = 0
        self.close()


library = LiteLLM()
"""The one of this process."""

_inherited: list[Any] = []  # kept for ever: to free them would close what is the parent's

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=library.after_fork)


async def aclose_litellm() -> None:
    """Close litellm's connections and end its thread, unless a call is in progress.

    The next call begins anew. A program that does not call it ends cleanly too: it is done at exit then.
    """
    await library.aclose()


def _import_litellm() -> Any:
    try:
        with _environment(_IMPORT_SETTINGS), _uncollected():
            litellm: Any = importlib.import_module("litellm")
            with contextlib.suppress(ImportError, AttributeError):
                headers: Any = importlib.import_module("litellm.anthropic_beta_headers_manager")
                headers.get_provider_name("anthropic")  # loads the list, which else the first call would do
    except ImportError as error:
        raise ModelError(
            f"litellm cannot be imported: {error}. Install it with 'pip install litellm', or pass a model of "
            "your own with model=."
        ) from error
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.disable_hf_tokenizer_download = True
    _cached_clients(litellm)  # the first use of a lazy attribute has litellm register what it does at exit
    return litellm


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Generator[None]:
    """Those of ``settings`` that the user has not set, in the environment for a while."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in added.items():
            if os.environ.get(name) == value:
                del os.environ[name]


@contextlib.contextmanager
def _uncollected() -> Generator[None]:
    """No garbage collection for a while: 2,700 modules are no garbage, and looking for some takes a third of the time.

    Measured: 1.6 s of CPU in the place of 2.4. And each search would hold up the callers' event loop.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            # Straight to the oldest generation: else the next collection looks through all of it at once.
            gc.freeze()
            gc.unfreeze()
        if enabled:
            gc.enable()


def _cached_clients(litellm: Any) -> dict[str, Any]:
    clients: dict[str, Any] = getattr(getattr(litellm, "in_memory_llm_clients_cache", None), "cache_dict", {})
    return clients


def without_logging(litellm: Any) -> None:
    """Have the call of this task not logged by litellm, unless the user has given it somewhere to log to.

    Its logging worker belongs to one event loop at a time, and users may call litellm on a loop of their own.
    """
    if any(getattr(litellm, name, None) for name in _CALLBACKS):
        return
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("litellm._internal_context").is_internal_call.set(True)


async def _farewell(litellm: Any) -> None:
    """Let litellm end what it does beside the calls, and close the clients that were opened on this loop."""
    worker = _logging_worker()
    beside = asyncio.all_tasks() - {asyncio.current_task(), getattr(worker, "_worker_task", None)}
    if beside:
        await asyncio.wait(beside, timeout=1.0)
    if getattr(worker, "_bound_loop", None) is asyncio.get_running_loop():
        await _ended(worker.flush)
        await _ended(worker.stop)
    clients = _cached_clients(litellm)
    for key in [key for key in clients if key.endswith(f"-{id(asyncio.get_running_loop())}")]:
        await _close(clients.pop(key))
    module = cast("dict[str, Any]", vars(litellm))  # a look that does not make them
    for name in ("module_level_aclient", "base_llm_aiohttp_handler"):
        client = module.get(name)
        if client is not None and _is_of_this_loop(client):
            await _close(client)
    await asyncio.sleep(0)  # a closed transport is gone only in the next turn of the loop


def _logging_worker() -> Any:
    with contextlib.suppress(ImportError, AttributeError):
        return importlib.import_module("litellm.litellm_core_utils.logging_worker").GLOBAL_LOGGING_WORKER
    return None


def _is_of_this_loop(client: Any) -> bool:
    transport: Any = getattr(getattr(client, "client", None), "_transport", None)
    session: Any = getattr(transport, "client", None) or getattr(client, "client_session", None)
    return getattr(session, "_loop", None) is asyncio.get_running_loop()


async def _close(client: Any) -> None:
    close: Any = getattr(client, "aclose", None) or getattr(client, "close", None)
    if close is not None:
        await _ended(close)


async def _ended(function: Callable[[], Any]) -> None:
    """Call it and wait, not for long, for what it returns; a client that cannot be closed is let go."""

    async def call() -> None:
        result = function()
        if inspect.isawaitable(result):
            await result

    with contextlib.suppress(Exception):
        await asyncio.wait_for(call(), timeout=2.0)
