"""A streaming run that is cancelled at any await keeps the text that was streamed, and can be resumed."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import pytest
from tests.faults.test_agents_cancellation import (
    assert_all_is_whole,
    assert_it_goes_on,
    at_every_step,
    call,
    cut_off,
    folder,
    leftovers,
    worker,
)

from overwinter import Runtime
from overwinter.events import ReplyReceived, StreamRestarted, TextDelta

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.test_agents_cancellation import Place, Steps

    from overwinter import Agent

__all__ = ["folder"]

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the stepping loop is that of POSIX systems"),
    pytest.mark.allow_blocking,  # between two steps the test looks at the disk from the loop
]

SAID = "Bees keep warm all winter long."
SCRIPT = [[SAID, call("add", {"a": 1, "b": 2})], "Done."]
partial: set[str] = set()


async def heard(agent: Agent[str], texts: list[str]) -> None:
    """Listen to a run; *texts* holds what was streamed of the reply under way."""
    async with contextlib.aclosing(agent.stream("work")) as told:
        async for event in told:
            if isinstance(event, TextDelta):
                texts.append(event.text)
            elif isinstance(event, (ReplyReceived, StreamRestarted)):
                texts.clear()


def assert_the_text_is_kept(workspace_dir: Path, texts: list[str], steps: Steps) -> None:
    saved = assert_all_is_whole(workspace_dir, steps)
    streamed = "".join(texts)
    if saved is None:
        assert not streamed, steps
        return
    # A word may be on its way to the listener, and the whole reply too.
    kept = saved.state.partial_text
    whole = [entry.content for entry in saved.state.conversation if entry.role == "assistant"]
    assert kept.startswith(streamed) or (not kept and streamed in (whole[-1:] or [""])[0]), (
        kept,
        texts,
        steps,
    )
    assert SAID.startswith(kept) or "Done.".startswith(kept), (kept, steps)
    if kept:
        assert saved.state.status == "interrupted"
        partial.add(kept)


async def streaming_alone(workspace_dir: Path, steps: Steps) -> bool:
    agent, model = worker(workspace_dir, SCRIPT)
    texts: list[str] = []
    through = await cut_off(lambda: heard(agent, texts), steps)
    assert not await leftovers(), steps
    if not through:
        assert_the_text_is_kept(workspace_dir, texts, steps)
        await assert_it_goes_on(workspace_dir, agent, model, steps)
        assert not agent.state.partial_text, steps
    return through


async def streaming_on_a_runtime(workspace_dir: Path, steps: Steps) -> bool:
    agent, model = worker(workspace_dir, SCRIPT, durability="sync")
    texts: list[str] = []
    async with Runtime(workspace_dir, run_grace=0.0) as runtime:
        await runtime.spawn(agent)
        through = await cut_off(lambda: heard(agent, texts), steps)
    assert not await leftovers(), steps
    if not through:
        assert_the_text_is_kept(workspace_dir, texts, steps)
        await assert_it_goes_on(workspace_dir, agent, model, steps)
    return through


@pytest.mark.parametrize("place", [streaming_alone, streaming_on_a_runtime])
def test_a_stream_cancelled_at_any_step_keeps_the_text_that_was_streamed(folder: Path, place: Place) -> None:
    """F57: cancelled at any await while it streams, a run is resumable and its state holds the partial text that was
    streamed; when the reply has been had, the partial text is gone."""
    partial.clear()
    assert at_every_step(place, folder, "task") > 15
    sys.stdout.write(f"{place.__name__}: {len(partial)} different partial texts kept\n")
    assert len(partial) > 1
