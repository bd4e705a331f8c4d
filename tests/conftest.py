"""What every test shares: asyncio under anyio's plugin, and an error for whoever blocks the event loop."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from blockbuster import BlockBuster, BlockBusterFunction

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path


# A runner in the background may have been started with Ctrl-C ignored, which its children would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Where bytecode is forbidden, each of some hundreds of processes would compile all that it imports anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A report goes from the process that tests to the one that tells of it as UTF-8, whatever odd text is in it."""
    return encodable((yield))


def encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {encodable(key): encodable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(encodable(each) for each in value)
    return value


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blocking_calls_fail(request: pytest.FixtureRequest) -> Iterator[None]:
    """A blocking call on the event loop raises ``BlockingError``, with fsync and open among them."""
    if request.node.get_closest_marker("allow_blocking") is not None:
        yield
        return
    guard = BlockBuster()
    for name in ("fsync", "open"):
        guard.functions[f"os.{name}"] = BlockBusterFunction(os, name)
    # It reads the process's own memory of where it is, and no disk.
    del guard.functions["os.getcwd"]
    # litellm blocks the loop it runs on, which is why it has one to itself.
    for function in guard.functions.values():
        function.can_block_in("overwinter/agents/models/side_loop.py", "_live")
    # A thread that comes back from the disk is given the interpreter, for 20 millionths of a second.
    guard.functions["time.sleep"].can_block_in("overwinter/persistence/log.py", "_yield")
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()


@pytest.fixture
def workspace_dir(tmp_path: Path) -> Path:
    return tmp_path / "agent_workspace"
