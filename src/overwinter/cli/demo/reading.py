"""A reader's desk: one document, and the tools to read it and to write down what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from anyio import to_thread
from msgspec import Meta, Struct

from overwinter import Tool, ToolContext, ToolError, tool
from overwinter.persistence import encode, pretty, replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter.cli.demo.texts import Document

__all__ = ["Finding", "ReadingDesk", "Summary"]

_FINDINGS = "findings"


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


class Summary(Struct, frozen=True):
    """What a reader hands on, and what stands in its ``summary.json``."""

    document: str
    title: str
    words: int
    summary: str
    keywords: list[str]
    findings: list[Finding]


class ReadingDesk:
    """The tools of one reader, and how far it is."""

    def __init__(self, document: Document) -> None:
        self.document = document
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

    def measure_document(self) -> Measure:
        """Tell the document's name, its title, its length and in how many parts it is read."""
        document = self.document
        return Measure(document.name, document.title, document.words, len(document.text), len(document.parts))

    def read_document(self, part: Annotated[int, Meta(description="Which part, from 1.")]) -> Part:
        """Read one part of the document."""
        parts = self.document.parts
        if not 1 <= part <= len(parts):
            raise ToolError(f"there is no part {part}; the document has {len(parts)}")
        self.parts_read.add(part)
        return Part(part, len(parts), parts[part - 1])

    async def note_finding(
        self,
        finding: Annotated[str, Meta(description="One sentence worth keeping.")],
        part: Annotated[int, Meta(description="The part where it stands.")],
        context: ToolContext,
    ) -> str:
        """Keep a finding in your memory; it is handed on with your summary."""
        findings: list[dict[str, Any]] = context.memory.get(_FINDINGS, [])
        context.memory.set(_FINDINGS, [*findings, {"part": part, "text": finding}])
        return f"noted, {len(findings) + 1} in all"

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
        found = msgspec.convert(context.memory.get(_FINDINGS, []), list[Finding])
        written = Summary(self.document.name, title, self.document.words, summary, keywords, found)
        path = context.workspace_dir / "summary.json"
        await to_thread.run_sync(replace_file, path, [pretty(encode(written)), b"\n"])
        self.summary_path = path
        return f"written to {path.name}"
