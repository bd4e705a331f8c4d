"""Which documents the demo takes, and how it decodes them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.cli.demo.texts import Document, load_documents, shipped_documents
from overwinter.cli.refusal import Refusal

if TYPE_CHECKING:
    from pathlib import Path


def test_the_shipped_essays_are_essays() -> None:
    """C1: without files there are six essays of 400 to 900 words, each with a title of its own."""
    found = shipped_documents()
    assert len(found) == 6
    assert len({document.title for document in found}) == 6
    assert all(400 <= document.words <= 900 for document in found)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        ("Füße, 14 °C".encode(), "Füße, 14 °C"),
        (b"\xef\xbb\xbfBees", "Bees"),
        ("Grüße".encode("utf-16"), "Grüße"),
        ("Grüße".encode("utf-32"), "Grüße"),
        ("Größe".encode("latin-1"), "Größe"),
        ("“Bees”".encode("cp1252"), "“Bees”"),
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        (b"\x1b[31mred\x1b[0m\tand a tab", "\x1b[31mred\x1b[0m\tand a tab"),
    ],
)
def test_text_is_read_in_any_common_encoding(tmp_path: Path, data: bytes, text: str) -> None:
    """C7: UTF-8, with and without a mark, UTF-16, UTF-32 and the encodings of western Europe are read as text."""
    path = tmp_path / "bees.txt"
    path.write_bytes(data)
    (document,) = load_documents([path])
    assert document.text == text


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0", b"\x01\x02\x03\x04" * 50, b"\xff\xfe\x00"])
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes) -> None:
    """C6: binary data is refused by name."""
    path = tmp_path / "bees.bin"
    path.write_bytes(data)
    with pytest.raises(Refusal, match=r"bees\.bin: it (is not a text file|says that it is)"):
        load_documents([path])


def test_every_bad_file_is_named(tmp_path: Path) -> None:
    """C6: a missing file, a folder and a file that is too large are each named with the reason."""
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(5 << 20)
    good = tmp_path / "good.txt"
    good.write_text("Bees.")
    with pytest.raises(Refusal) as refused:
        load_documents([tmp_path / "missing.txt", good, tmp_path, large])
    missing, folder, too_large = refused.value.lines
    assert missing == f"{tmp_path / 'missing.txt'}: no such file or directory"
    assert folder.startswith(f"{tmp_path}: it is a folder")
    assert too_large == f"{large}: it has 5.2 MB; the demo reads files of up to 4.2 MB"
    assert refused.value.code == 2


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "mkfifo"), reason="there are no FIFOs")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """C6: a FIFO nobody writes to does not hang the command."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refusal, match="not a regular file"):
        load_documents([tmp_path / "pipe"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    """C6: permission is asked for before any work begins."""
    path = tmp_path / "secret.txt"
    path.write_text("Bees.")
    path.chmod(0)
    with pytest.raises(Refusal, match=r"secret\.txt: permission denied"):
        load_documents([path])


def test_documents_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """C3: two files of one name are called by their paths, and one that is given twice by a number."""
    paths = [tmp_path / "a" / "bees.md", tmp_path / "b" / "bees.md", tmp_path / "wax.md"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("Bees.")
    names = [document.name for document in load_documents([*paths, paths[0]])]
    assert names == [str(paths[0]), str(paths[1]), "wax.md", f"{paths[0]} (2)"]


@pytest.mark.skipif(sys.platform != "linux", reason="only there may a name be any bytes")
def test_a_name_that_is_no_text_is_shown_escaped(tmp_path: Path) -> None:
    """C24: control characters and bytes that are no UTF-8 in a file's name reach no terminal and no file raw."""
    path = tmp_path / os.fsdecode(b"b\xff\x1b[31m.txt")
    path.write_text("Bees.")
    (document,) = load_documents([path])
    assert document.name == r"b\udcff\x1b[31m.txt"


@given(st.text(alphabet="ab \n", max_size=9000))
def test_the_parts_are_the_text(text: str) -> None:
    """C3: the parts are all of a text, in order, and none is empty."""
    parts = Document("a", text).parts
    assert "".join(parts) == text
    assert all(parts)


def test_a_long_text_has_longer_parts_and_not_more() -> None:
    """C7: a text of a megabyte is read in some fifty parts, without a blank in it too."""
    for text in ("a" * 1_000_000, "Bees keep honey. " * 60_000):
        parts = Document("a", text).parts
        assert "".join(parts) == text
        assert len(parts) <= 100
