"""What is left to do of swarms, found and finished by a runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from overwinter import Agent, MemberFailed, Runtime, SequentialWorkflow
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter import UnfinishedAgent

pytestmark = pytest.mark.anyio


def make(*script: Any) -> SequentialWorkflow[str]:
    inner = SequentialWorkflow("inner", [Agent("deep", model=ScriptedModel(script))])
    return SequentialWorkflow("outer", [Agent("first", model=ScriptedModel(["one"])), inner], autosave=True)


async def test_a_swarm_is_found_and_its_members_are_its_own(tmp_path: Path) -> None:
    """O23: of an unfinished swarm the runtime tells, not of the members that were cut off in its run."""
    async with Runtime(tmp_path) as runtime:
        swarm = make(RuntimeError("broken"))
        await runtime.spawn(swarm)
        with pytest.raises(MemberFailed):
            await swarm.run("go")
        alone = Agent("alone", model=ScriptedModel([RuntimeError("broken")]), autosave=True)
        await runtime.spawn(alone)
        with pytest.raises(RuntimeError, match="broken"):
            await alone.run("go")
    seen: list[tuple[str, str]] = []

    def again(found: UnfinishedAgent) -> Any:
        seen.append((found.kind, found.agent_name))
        if found.kind == "swarm":
            return make("two")
        return Agent(found.agent_name, model=ScriptedModel(["mended"]), autosave=True)

    async with Runtime(tmp_path) as runtime:
        outcomes = await runtime.resume_all(again)
    assert seen == [("swarm", "outer"), ("agent", "alone")]
    assert sorted(str(outcome) for outcome in outcomes.values()) == ["mended", "two"]
    async with Runtime(tmp_path) as runtime:
        assert await runtime.interrupted() == []
