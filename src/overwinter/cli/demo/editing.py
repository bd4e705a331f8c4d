"""The editor's desk: the readers' summaries, and the tool that writes the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from anyio import to_thread
from msgspec import Meta, Struct

from overwinter import Tool, ToolContext, ToolError, tool
from overwinter.agents.models.extraction import shared_words
from overwinter.agents.models.prose import single_line
from overwinter.cli.demo.reading import ReadingDesk, Summary
from overwinter.cli.demo.witness import Witness
from overwinter.cli.rendering import plural, visible
from overwinter.persistence import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from overwinter.agents.records import StateBody

__all__ = ["EditingDesk", "Section"]

_SHARED_WORDS = 8
_REPORT = "report.md"


class Listed(Struct, frozen=True):
    """A summary that can be read."""

    document: str
    title: str
    words: int


class SharedWord(Struct, frozen=True):
    """A word, and in how many of the documents it stands."""

    word: str
    documents: int


class _Read(Struct, frozen=True):
    document: str


class Section(Struct, frozen=True):
    """One document in the report."""

    document: Annotated[str, Meta(description="The document's name, as list_summaries tells it.")]
    summary: Annotated[str, Meta(description="What it says.")]


class EditingDesk:
    """The tools of the editor, and how far it is.

    :param colophon: a line for the end of the report that says how it was made.
    :param witness: told what each tool did, when it has done it.
    """

    def __init__(
        self, desks: Sequence[ReadingDesk], *, colophon: str, witness: Witness | None = None
    ) -> None:
        self._desks = {desk.document.name: desk for desk in desks}
        self._colophon = colophon
        self._witness = witness or Witness()
        self.summaries_read: set[str] = set()
        self.report_path: Path | None = None

    @property
    def done(self) -> int:
        """Summaries read, and one for the report."""
        return len(self.summaries_read) + (self.report_path is not None)

    @property
    def total(self) -> int:
        """What ``done`` is at the end."""
        return len(self._desks) + 1

    @property
    def max_loops(self) -> int:
        """As many steps as reading one summary after another may take, with some to spare."""
        return 2 * self.total + 12

    @property
    def tools(self) -> list[Tool[..., Any]]:
        """What the editor's model may call."""
        return [
            tool(idempotent=True)(self.list_summaries),
            tool(idempotent=True)(self.count_shared_words),
            tool(idempotent=True)(self.read_summary),
            tool(idempotent=True)(self.write_report),
        ]

    def go_on_from(self, body: StateBody, folder: Path) -> None:
        """Be as far as the tools' recorded results say."""
        for outcome in body.tool_results:
            if not outcome.ok or body.run is None or outcome.run_id != body.run.run_id:
                continue
            if outcome.tool == "read_summary":
                self.summaries_read.add(msgspec.json.decode(outcome.arguments, type=_Read).document)
            elif outcome.tool == "write_report":
                self.report_path = folder / _REPORT

    async def list_summaries(self, context: ToolContext) -> list[Listed]:
        """List the summaries that the readers have written."""
        summaries = [await to_thread.run_sync(_load, desk) for desk in self._desks.values()]
        await self._witness.did("list_summaries", context)
        return [Listed(summary.document, summary.title, summary.words) for summary in summaries]

    async def count_shared_words(self, context: ToolContext) -> list[SharedWord]:
        """Count the words that most of the documents share, over their whole texts."""
        texts = [desk.document.text for desk in self._desks.values()]
        shared = await to_thread.run_sync(shared_words, texts, _SHARED_WORDS)
        await self._witness.did("count_shared_words", context)
        return [SharedWord(word, held) for word, held in shared]

    async def read_summary(
        self, document: Annotated[str, Meta(description="The document's name.")], context: ToolContext
    ) -> Summary:
        """Read a reader's summary of one document, with its keywords and findings."""
        desk = self._desks.get(document)
        if desk is None:
            raise ToolError(f"there is no document {document!r}; the documents are: {', '.join(self._desks)}")
        summary = await to_thread.run_sync(_load, desk)
        self.summaries_read.add(document)
        await self._witness.did("read_summary", context)
        return summary

    async def write_report(
        self,
        title: Annotated[str, Meta(description="A title for the report.")],
        sections: Annotated[list[Section], Meta(description="One for each document.")],
        in_common: Annotated[str, Meta(description="What the documents have in common.")],
        context: ToolContext,
    ) -> str:
        """Write the report. It needs a section for each document."""
        self._check(sections)
        report = self._compose(title, sections, in_common)
        path = context.workspace_dir / _REPORT
        await to_thread.run_sync(replace_file, path, [report.encode("utf-8", "replace")])
        self.report_path = path
        await self._witness.did("write_report", context)
        return f"written to {path.name}"

    def _check(self, sections: Sequence[Section]) -> None:
        named = [section.document for section in sections]
        unknown = [name for name in named if name not in self._desks]
        missing = [name for name in self._desks if name not in named]
        if unknown:
            raise ToolError(f"these are no documents: {', '.join(unknown)}")
        if missing:
            raise ToolError(f"these documents have no section: {', '.join(missing)}")

    def _compose(self, title: str, sections: Sequence[Section], in_common: str) -> str:
        lines = [f"# {single_line(title)}", ""]
        for section in sections:
            document = self._desks[section.document].document
            lines += [f"## {single_line(document.title)}", ""]
            lines += [f"*{document.name}, {plural(document.words, 'word')}*", ""]
            lines += [visible(section.summary.strip()), ""]
        lines += [
            "## What they have in common",
            "",
            visible(in_common.strip()),
            "",
            "---",
            "",
            self._colophon,
            "",
        ]
        return "\n".join(lines)


def _load(desk: ReadingDesk) -> Summary:
    if desk.summary_path is None:
        raise ToolError(f"{desk.document.name} has no summary")
    return msgspec.json.decode(desk.summary_path.read_bytes(), type=Summary)
