"""Reading all that is sound in a journal, whatever is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from overwinter.errors import SchemaTooNew, WorkspaceError
from overwinter.persistence import journal_line, lines, migrations, register_migration
from overwinter.persistence.journal import read_all

if TYPE_CHECKING:
    from pathlib import Path


def line(sequence: int, *, base: bool = False) -> bytes:
    return journal_line(sequence, b'{"n":%d}' % sequence, base=base)


def test_what_is_sound_is_read_by_sequence_and_the_rest_passed_over(tmp_path: Path) -> None:
    (tmp_path / "000001.jsonl").write_bytes(
        line(1) + b"#" + line(2) + line(3) + line(5, base=True) + line(6)[:-9]
    )
    (tmp_path / "000002.jsonl").write_bytes(line(5, base=True) + line(4) + line(7))
    assert [each.sequence for each in read_all(tmp_path)] == [1, 3, 4, 5, 7]
    assert read_all(tmp_path / "nowhere") == []


def test_older_ones_are_migrated_and_later_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_migrations", {})
    register_migration("record", 0, lambda record: record | {"new": True})
    for version in (0, 2):
        with monkeypatch.context() as patched:
            patched.setattr(lines, "JOURNAL_VERSION", version)
            written = line(1)
        (tmp_path / "000001.jsonl").write_bytes(written)
        if version:
            with pytest.raises(SchemaTooNew):
                read_all(tmp_path)
        else:
            assert [each.record for each in read_all(tmp_path)] == [b'{"n":1,"new":true}']


def test_a_journal_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "000001.jsonl").mkdir()
    with pytest.raises(WorkspaceError, match="cannot be read"):
        read_all(tmp_path)
