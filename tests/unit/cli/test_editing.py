"""The desks of the swarm: what their tools do, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from overwinter import Agent, Runtime
from overwinter.cli.demo.reading import ReadingDesk, Summary
from overwinter.cli.demo.swarm import Swarm
from overwinter.cli.demo.texts import Document
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

call = ScriptedModel.call
BEES = Document("bees.md", "# Bees\n\nBees keep honey.\n")
SUMMARY = {"title": "Bees", "summary": "Bees keep honey.", "keywords": ["bees"]}


async def read(workspace_dir: Path, *replies: Any) -> tuple[Agent[str], ReadingDesk]:
    desk = ReadingDesk(BEES)
    agent = Agent("reader", model=ScriptedModel([*replies, "Done."]), tools=desk.tools, autosave=True)
    async with Runtime(workspace_dir) as runtime:
        await runtime.spawn(agent)
        await agent.run("Read.")
    return agent, desk


async def test_a_summary_is_a_file_of_its_reader(workspace_dir: Path) -> None:
    """C4: a reader's summary stands in the reader's own folder, with what it had noted."""
    note = call("note_finding", {"finding": "Bees keep honey.", "part": 1})
    agent, desk = await read(workspace_dir, [note], [call("write_summary", SUMMARY)])
    assert desk.summary_path == agent.workspace_dir / "summary.json"
    summary = msgspec.json.decode(await anyio.Path(desk.summary_path).read_bytes(), type=Summary)
    assert (summary.document, summary.summary, summary.words) == ("bees.md", "Bees keep honey.", 5)
    assert [finding.text for finding in summary.findings] == ["Bees keep honey."]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (call("read_document", {"part": 2}), "there is no part 2; the document has 1"),
        (call("read_document", {"part": "one"}), "are not valid"),
        (call("write_summary", {**SUMMARY, "summary": " "}), "the summary is empty"),
    ],
)
async def test_a_model_is_told_what_it_did_wrong(workspace_dir: Path, wrong: Any, told: str) -> None:
    """C9: what a model asks for and cannot have is answered with what to do instead."""
    agent, desk = await read(workspace_dir, [wrong])
    (outcome,) = agent.state.tool_results
    assert told in outcome.output
    assert not outcome.ok
    assert desk.done == 0


async def edit(workspace_dir: Path, *replies: Any) -> Swarm:
    swarm = Swarm([BEES], model_name="gpt-none")
    desk = swarm.readers[0].desk
    models = {desk: ScriptedModel([[call("write_summary", SUMMARY)], "Done."])}
    models[swarm.editing] = ScriptedModel([*replies, "Done."])
    for worker in swarm.workers:
        worker.agent = Agent(worker.name, model=models[worker.desk], tools=worker.desk.tools, autosave=True)
    async with Runtime(workspace_dir) as runtime:
        await swarm.work(runtime, concurrency=1)
    return swarm


def report(*documents: str, text: str = "Bees keep honey.") -> Any:
    sections = [{"document": name, "summary": text} for name in documents]
    return [call("write_report", {"title": "Bees\nand more", "sections": sections, "in_common": "Nothing."})]


async def test_a_report_has_a_section_for_each_document(workspace_dir: Path) -> None:
    """C1: the report has a title in one line, a section for each document, and what they have in common."""
    swarm = await edit(workspace_dir, report("bees.md", text="They keep\x1b[31m honey."))
    assert swarm.failures == []
    assert swarm.editing.report_path is not None
    written = await anyio.Path(swarm.editing.report_path).read_text(encoding="utf-8")
    lines = [line for line in written.splitlines() if line]
    assert lines[:5] == [
        "# Bees and more",
        "## Bees",
        "*bees.md, 5 words*",
        r"They keep\x1b[31m honey.",
        lines[4],
    ]
    assert lines[4] == "## What they have in common"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (report(), "these documents have no section: bees.md"),
        (report("bees.md", "wax.md"), "these are no documents: wax.md"),
        ([call("read_summary", {"document": "wax.md"})], "the documents are: bees.md"),
    ],
)
async def test_an_editor_is_told_what_is_missing(workspace_dir: Path, wrong: Any, told: str) -> None:
    """C9: a report without a document is refused, and written once it has all."""
    swarm = await edit(workspace_dir, wrong, report("bees.md"))
    assert swarm.failures == []
    assert told in swarm.editor.agent.state.tool_results[0].output
    assert swarm.editing.report_path is not None
    assert "Bees keep honey." in await anyio.Path(swarm.editing.report_path).read_text(encoding="utf-8")


async def test_an_answer_without_the_work_is_a_failure(workspace_dir: Path) -> None:
    """C8: a model that answers without writing what it was to write has failed, and so it is told."""
    swarm = await edit(workspace_dir, "I would rather not.")
    ((worker, error),) = swarm.failures
    assert worker.name == "editor"
    assert "answered without doing its work: 'Done.'" in str(error) or "I would rather not." in str(error)


async def test_a_model_that_never_ends_is_stopped(workspace_dir: Path) -> None:
    """C8: a reader that goes on for ever is paused at a limit that fits its document."""
    desk = ReadingDesk(BEES)
    swarm = Swarm([BEES], model_name="gpt-none")
    swarm.readers[0].agent = Agent(
        "reader-bees",
        model=ScriptedModel([[call("measure_document")]], loop=True),
        tools=desk.tools,
        max_loops=desk.max_loops,
        autosave=True,
    )
    async with Runtime(workspace_dir) as runtime:
        await swarm.work(runtime, concurrency=1)
    ((_, error),) = swarm.failures
    assert "paused at its limit 'max_loops' after 16 loops" in str(error)


def test_readers_are_named_after_their_documents() -> None:
    """C5: a reader has the name of its document, so that a later run finds the same agent; no two have the same."""
    names = ["bees.md", "bees.txt", "bees-2.md", "a/b.md", ".md", "é" * 80 + ".md", "noending"]
    swarm = Swarm([Document(name, "x") for name in names], model_name="")
    found = [reader.name for reader in swarm.readers]
    assert found[:5] == ["reader-bees", "reader-bees-2", "reader-bees-2-2", "reader-b", "reader-md"]
    assert len(set(found)) == len(names)
    assert all(len(name) <= 50 for name in found)
