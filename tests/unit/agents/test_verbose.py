"""What verbose=True says."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from overwinter import Agent, tool
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.anyio
async def test_a_verbose_agent_logs_its_steps_and_saves(
    workspace_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @tool
    async def add(a: int, b: int) -> int:
        return a + b

    model = ScriptedModel([ScriptedModel.call("add", {"a": 1, "b": 2}), "three"])
    agent = Agent(
        "teller", model=model, tools=[add], verbose=True, autosave=True, workspace_dir=workspace_dir
    )
    with caplog.at_level(logging.INFO, "overwinter.agents.verbose"):
        await agent.run("1 + 2?")
    said = caplog.text
    for part in ("[teller] began: 1 + 2?", "calls add", "add ok", "autosaved", "finished: answered"):
        assert part in said


def test_without_any_logging_set_up_it_speaks_to_standard_error() -> None:
    program = (
        "import asyncio; from overwinter import Agent; from overwinter.testing import ScriptedModel;"
        "asyncio.run(Agent('teller', model=ScriptedModel(['hi']), verbose=True).run('say'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "[teller] began: say" in done.stderr
    assert done.stdout == ""
