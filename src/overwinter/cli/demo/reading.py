"""A reader's desk: one document, and the tools to read it and to write down what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from anyio import to_thread
from msgspec import Meta, Struct

from overwinter import Tool, ToolContext, ToolError, tool
from overwinter.cli.demo.witness import Witness
from overwinter.persistence import encode, pretty, replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.agents.records import StateBody
    from overwinter.cli.demo.texts import Document

__all__ = ["Finding", "ReadingDesk", "Summary"]

_FINDINGS = "findings.jsonl"
_SUMMARY = "summary.json"


class Measure(Struct, frozen=True):
    """What can be said of a document without reading it."""

    document: str
    title: str
    words: int
    characters: int
    parts: int


class Part(Struct, frozen=True):
    """One part of a document."""

    part: int
    parts: int
    text: str


class Finding(Struct, frozen=True):
    """Something that a reader thought worth keeping, and in which part it stands."""

    part: int
    text: str


class _Noted(Struct, frozen=True):
    """A line of ``findings.jsonl``; ``run`` and ``call`` say who wrote it."""

    run: str
    call: str
    part: int
    text: str


class _Part(Struct, frozen=True):
    part: int


class Summary(Struct, frozen=True):
    """What a reader hands on, and what stands in its ``summary.json``."""

    document: str
    title: str
    words: int
    summary: str
    keywords: list[str]
    findings: list[Finding]


class ReadingDesk:
    """The tools of one reader, and how far it is.

    :param witness: told what each tool did, when it has done it.
    """

    def __init__(self, document: Document, witness: Witness | None = None) -> None:
        self.document = document
        self.witness = witness or Witness()
        self.parts_read: set[int] = set()
        self.summary_path: Path | None = None

    @property
    def done(self) -> int:
        """Parts read, and one for the summary."""
        return len(self.parts_read) + (self.summary_path is not None)

    @property
    def total(self) -> int:
        """What ``done`` is at the end."""
        return len(self.document.parts) + 1

    @property
    def max_loops(self) -> int:
        """As many steps as reading part by part may take, with some to spare."""
        return 2 * self.total + 12

    @property
    def tools(self) -> list[Tool[..., Any]]:
        """What the reader's model may call."""
        return [
            tool(idempotent=True)(self.measure_document),
            tool(idempotent=True)(self.read_document),
            tool(self.note_finding),
            tool(idempotent=True)(self.write_summary),
        ]

    def go_on_from(self, body: StateBody, folder: Path) -> None:
        """Be as far as the tools' recorded results say."""
        for outcome in body.tool_results:
            if not outcome.ok or body.run is None or outcome.run_id != body.run.run_id:
                continue
            if outcome.tool == "read_document":
                self.parts_read.add(msgspec.json.decode(outcome.arguments, type=_Part).part)
            elif outcome.tool == "write_summary":
                self.summary_path = folder / _SUMMARY

    async def measure_document(self, context: ToolContext) -> Measure:
        """Tell the document's name, its title, its length and in how many parts it is read."""
        document = self.document
        measure = Measure(
            document.name, document.title, document.words, len(document.text), len(document.parts)
        )
        context.memory.set("document", msgspec.to_builtins(measure))
        await self.witness.did("measure_document", context)
        return measure

    async def read_document(
        self, part: Annotated[int, Meta(description="Which part, from 1.")], context: ToolContext
    ) -> Part:
        """Read one part of the document."""
        parts = self.document.parts
        if not 1 <= part <= len(parts):
            raise ToolError(f"there is no part {part}; the document has {len(parts)}")
        self.parts_read.add(part)
        await self.witness.did("read_document", context)
        return Part(part, len(parts), parts[part - 1])

    async def note_finding(
        self,
        finding: Annotated[str, Meta(description="One sentence worth keeping.")],
        part: Annotated[int, Meta(description="The part where it stands.")],
        context: ToolContext,
    ) -> str:
        """Keep a finding; it is handed on with your summary."""
        noted = _Noted(context.run_id, context.call_id, part, finding)
        await to_thread.run_sync(_append, context.workspace_dir / _FINDINGS, noted)
        await self.witness.did("note_finding", context)
        return "noted"

    async def write_summary(
        self,
        title: Annotated[str, Meta(description="The document's title.")],
        summary: Annotated[str, Meta(description="A summary of three to six sentences.")],
        keywords: Annotated[list[str], Meta(description="Up to eight words that it is about.")],
        context: ToolContext,
    ) -> str:
        """Write the summary of the whole document into your folder, for the editor. Do it once, at the end."""
        if not summary.strip():
            raise ToolError("the summary is empty; write what the document says")
        found = await to_thread.run_sync(_findings, context.workspace_dir / _FINDINGS, context.run_id)
        written = Summary(self.document.name, title, self.document.words, summary, keywords, found)
        path = context.workspace_dir / _SUMMARY
        await to_thread.run_sync(replace_file, path, [pretty(encode(written)), b"\n"])
        self.summary_path = path
        await self.witness.did("write_summary", context)
        return f"written to {path.name}"


def _append(path: Path, noted: _Noted) -> None:
    """A line more, each time this is called: to do it twice would be seen."""
    with path.open("ab") as file:
        file.write(encode(noted) + b"\n")


def _findings(path: Path, run_id: str) -> list[Finding]:
    """What was noted within a run."""
    if not path.exists():
        return []
    lines = [msgspec.json.decode(line, type=_Noted) for line in path.read_bytes().splitlines()]
    return [Finding(line.part, line.text) for line in lines if line.run == run_id]
