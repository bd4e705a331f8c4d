"""What every test shares: asyncio under anyio's plugin, and an error for whoever blocks the event loop."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from blockbuster import BlockBuster, BlockBusterFunction
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# A runner in the background may have been started with Ctrl-C ignored, which its children would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Where bytecode is forbidden, each of some hundreds of processes would compile all that it imports anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What a person or a runner may have set, and what is not said here means nothing to a test or to a program of its.
for _name in [*os.environ]:
    if (
        _name
        in ("WORKSPACE_DIR", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "GITHUB_ACTIONS", "PYTHONASYNCIODEBUG")
        or _name.startswith(("OPENAI_", "OVERWINTER_", "LITELLM_", "CLICOLOR"))
        or _name.lower().endswith("_proxy")
    ):
        del os.environ[_name]
# Tried on the same examples each time, and no slow machine fails them.
settings.register_profile("overwinter", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("overwinter")

_HERE = Path(__file__).parent
#: Seconds for a test of real processes: it waits for what it was promised, and a machine may be slow or busy.
_LONGEST = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start processes have more time, unless they say how much, before it is taken for a deadlock."""
    for item in items:
        kind = item.path.relative_to(_HERE).parts[0] if item.path.is_relative_to(_HERE) else ""
        if kind in ("integration", "faults", "typing") and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LONGEST))


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
