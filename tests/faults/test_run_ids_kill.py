"""kill -9 between a request and its answer: the same run_id in another process does what is left, and no more."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.processes import Child, say

from overwinter import Agent, Runtime, tool
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter import ModelRequest

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.allow_blocking,  # it waits for another process, when nothing else is on the loop
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no kill -9"),
]

call = ScriptedModel.call


def keeper(workspace: str, model: ScriptedModel, effects: list[str]) -> Agent[str]:
    @tool
    async def ring(bell: str) -> str:
        """Ring a bell."""
        effects.append(bell)
        say("rang", bell)
        return f"{bell} rang"

    return Agent(
        "keeper", model=model, tools=[ring], autosave=True, durability="sync", workspace_dir=workspace
    )


def service(workspace: str, stops_at: int) -> None:
    """Serve one request, up to the given call of the model, which never answers."""

    async def reply(request: ModelRequest) -> Any:
        asked = sum(message.role == "assistant" for message in request.messages) + 1
        say("asked", asked)
        if asked == stops_at:
            await asyncio.Event().wait()
        return call("ring", {"bell": f"bell {asked}"}) if asked < 3 else "All rang."

    async def serve() -> None:
        agent = keeper(workspace, ScriptedModel(reply, loop=True), [])
        async with Runtime(workspace) as runtime:
            await runtime.spawn(agent)
            await agent.run("Ring them.", run_id="request-1")

    asyncio.run(serve())


@pytest.mark.parametrize("stops_at", [1, 2, 3])
async def test_a_request_sent_again_after_a_kill_is_finished_and_not_repeated(
    tmp_path: Path, stops_at: int
) -> None:
    """H35: a request whose process was killed is finished by whoever sends it again; nothing recorded is repeated."""
    workspace = str(tmp_path / "workspace")
    with Child(service, workspace, stops_at) as child:
        for number in range(1, stops_at):
            assert child.expect("asked") == number
            assert child.expect("rang") == f"bell {number}"
        assert child.expect("asked") == stops_at
        child.kill()
    effects: list[str] = []
    left: list[Any] = [call("ring", {"bell": "bell 1"}), call("ring", {"bell": "bell 2"}), "All rang."][
        stops_at - 1 :
    ]
    model = ScriptedModel(left)
    agent = keeper(workspace, model, effects)
    told = [step.kind for step in await agent.history()]
    assert told.count("model_replied") == told.count("tool_finished") == stops_at - 1
    result = await agent.run("Ring them.", run_id="request-1")
    assert (result.text, result.loop_count) == ("All rang.", 3)
    assert effects == ["bell 1", "bell 2"][stops_at - 1 :]
    assert model.remaining == 0
    answered = await keeper(workspace, ScriptedModel([]), effects).run("Ring them.", run_id="request-1")
    assert (answered.text, answered.usage) == (result.text, result.usage)
