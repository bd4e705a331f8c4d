"""A storage on a disk that does as told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.disk import open_storage
from tests.support.records import StubbornDisk

from overwinter.runtime.fake_clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from overwinter.persistence import Storage


@pytest.fixture
def disk() -> StubbornDisk:
    return StubbornDisk()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def storage(workspace_dir: Path, disk: StubbornDisk, clock: FakeClock) -> AsyncGenerator[Storage]:
    async with open_storage(workspace_dir, files=disk, clock=clock) as storage:
        yield storage
        disk.refused = set()
        disk.let_go()
