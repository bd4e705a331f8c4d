"""The documents that the swarm reads: found, checked and decoded before any work begins."""

from __future__ import annotations

import codecs
import os
import re
import stat
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING

from overwinter.agents.models.prose import heading_of
from overwinter.cli.refusal import Refusal, os_reason
from overwinter.cli.rendering import size, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Document", "distinct", "load_documents", "shipped_documents"]

_LARGEST = 4 << 20
_SMALLEST_PART = 1_200
_MOST_PARTS = 48
_PROBE = 1 << 16
_FEW_CONTROLS = 0.02

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


class Document:
    """One text under a name that no other of the swarm has. It is read in parts, as it would be too long in one."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    @cached_property
    def title(self) -> str:
        """Its heading, or its name."""
        return heading_of(self.text) or self.name

    @cached_property
    def words(self) -> int:
        """How many words it has, as spaces part them."""
        return len(self.text.split())

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The whole text in pieces of some thousand characters, cut between paragraphs where that can be."""
        longest = max(_SMALLEST_PART, len(self.text) // _MOST_PARTS + 1)
        pieces: list[str] = []
        start = 0
        while start < len(self.text):
            end = _cut(self.text, start, longest)
            pieces.append(self.text[start:end])
            start = end
        return tuple(pieces)


def shipped_documents() -> list[Document]:
    """The essays that come with overwinter."""
    folder = resources.files("overwinter.cli") / "documents"
    found = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".md")), key=lambda entry: entry.name
    )
    return [Document(entry.name, entry.read_text(encoding="utf-8")) for entry in found]


def load_documents(files: Sequence[Path]) -> list[Document]:
    """The texts in *files*, in their order.

    :raises Refusal: one is missing, is no file, may not be read, is too large or is no text; it names each.
    """
    texts: list[str] = []
    problems: list[str] = []
    for path in files:
        try:
            texts.append(_decode(_read(path)))
        except OSError as error:
            problems.append(f"{path}: {os_reason(error)}")
        except ValueError as error:
            problems.append(f"{path}: {error}")
    if problems:
        raise Refusal(*problems)
    return [Document(name, text) for name, text in zip(_names(files), texts, strict=True)]


def distinct(name: str, taken: Sequence[str], numbered: str) -> str:
    """*name*, or where it is taken, the first that is free of those made of it and a number."""
    chosen, number = name, 1
    while chosen in taken:
        number += 1
        chosen = numbered.format(name, number)
    return chosen


def _read(path: Path) -> bytes:
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise ValueError(f"it is a folder; give the files in it, as in {path.name or path}/*.md")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    if found.st_size > _LARGEST:
        raise ValueError(f"it has {size(found.st_size)}; the demo reads files of up to {size(_LARGEST)}")
    return path.read_bytes()


def _decode(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return _tidy(data.decode(encoding))
            except UnicodeDecodeError as error:
                raise ValueError(f"it says that it is {encoding}, and is not: {error.reason}") from error
    if b"\0" in data:
        raise ValueError("it is not a text file; the demo reads plain text and Markdown")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    if len(_CONTROLS.findall(text[:_PROBE])) > _FEW_CONTROLS * min(len(text), _PROBE):
        raise ValueError("it is not a text file; the demo reads plain text and Markdown")
    return _tidy(text)


def _tidy(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _names(files: Sequence[Path]) -> list[str]:
    """The files' names; where two are the same, the paths as they were given, and a number where those are too."""
    names: list[str] = []
    for path in files:
        alike = sum(other.name == path.name for other in files) > 1
        name = visible(os.fspath(path) if alike else path.name, lines=False)
        names.append(distinct(name, names, "{} ({})"))
    return names


def _cut(text: str, start: int, longest: int) -> int:
    """Where the part that begins at *start* ends."""
    end = start + longest
    if end >= len(text):
        return len(text)
    for between in ("\n\n", "\n", " "):
        found = text.rfind(between, start + longest // 2, end)
        if found > 0:
            return found + len(between)
    return end
