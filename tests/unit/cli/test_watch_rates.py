"""``overwinter watch`` shows who waits for its turn at a model."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.support.commands import look

from overwinter import Agent, RateLimit, Runtime
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def watched(runtime: Runtime, workspace_dir: Path) -> dict[str, Any]:
    status = runtime._status
    status._write()
    assert status._writing is not None
    await status._writing
    told = await asyncio.to_thread(look, "watch", "--json", "--workspace", str(workspace_dir))
    return {row["name"]: row["doing"] for row in json.loads(told.stdout)["rows"]}


async def test_who_waits_for_its_turn_is_shown_with_the_model(workspace_dir: Path) -> None:
    """G10: a call that has to wait is told, with the limit and the seconds that are known."""
    gate = ScriptedModel.gate()
    limits = {"m": RateLimit(in_flight=1)}
    async with Runtime(workspace_dir, rate_limits=limits) as runtime, anyio.create_task_group() as tasks:
        for name in ("ann", "ben"):
            agent = Agent(name, model=ScriptedModel([[gate, "ok"]], name="m"), autosave=True)
            await runtime.spawn(agent)
            tasks.start_soon(agent.run, "go")
            await gate.reached.wait()
            await anyio.wait_all_tasks_blocked()
        doing = await watched(runtime, workspace_dir)
        assert doing["ben"] == "waits for its turn at m"
        assert "turn" not in doing["ann"]
        gate.open()
    assert runtime.rates.waits() == {}
