"""The guard of every test: whoever blocks the event loop fails."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "block",
    [
        lambda path: path.write_text("x"),
        lambda path: os.open(path, os.O_CREAT | os.O_WRONLY),
        lambda path: path.replace(path),
        lambda path: path.stat(),
        lambda _: os.fsync(1),
        lambda _: time.sleep(0.01),
    ],
    ids=["write", "open", "replace", "stat", "fsync", "sleep"],
)
async def test_a_blocking_call_on_the_event_loop_fails(
    tmp_path: Path, block: Callable[[Path], object]
) -> None:
    with pytest.raises(BlockingError):
        block(tmp_path / "file")
