"""Journals of other versions of overwinter: older ones are read, newer ones left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.persistence.test_journal import journal_of
from tests.unit.persistence.test_lines import of_version

from overwinter.errors import PersistenceError, SchemaTooNew
from overwinter.persistence import find_end, mend, read_journal, register_migration
from overwinter.persistence import migrations as migrations_module
from overwinter.persistence.segments import segment_path

if TYPE_CHECKING:
    from pathlib import Path


def test_records_of_an_earlier_version_are_read_through_their_migrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K11: each is given the record and returns the record."""
    for module in ("lines", "journal"):
        monkeypatch.setattr(f"overwinter.persistence.{module}.JOURNAL_VERSION", 3)
    monkeypatch.setattr(migrations_module, "_migrations", {})
    register_migration("record", 1, lambda found: {**found, "since": 2})

    def rename(found: dict[str, Any]) -> dict[str, Any]:
        found["name"] = found.pop("title")
        return found

    register_migration("record", 2, rename)
    register_migration("state", 2, lambda found: {})
    journal_dir = journal_of(
        tmp_path,
        [
            of_version(1, b'{"title":"a"}', 1),
            of_version(2, b'{"title":"b"}', 2),
            of_version(3, b'{"name":"c"}', 3),
        ],
    )
    reading = read_journal(journal_dir)
    assert [each.record for each in reading.lines] == [
        b'{"since":2,"name":"a"}',
        b'{"name":"b"}',
        b'{"name":"c"}',
    ]
    assert {each.schema_version for each in reading.lines} == {3}


def test_records_of_an_earlier_version_without_a_migration_are_refused(tmp_path: Path) -> None:
    """K11: and the file is left as it is."""
    journal_dir = journal_of(tmp_path, [of_version(0, b"{}", 1)])
    with pytest.raises(PersistenceError, match="schema version 0, and this overwinter has no migration"):
        read_journal(journal_dir)
    assert find_end(journal_dir).sequence == 1


def test_records_of_a_later_version_are_refused(tmp_path: Path) -> None:
    """K11: and never cut off, though they stand at the end."""
    journal_dir = journal_of(tmp_path, [[1], of_version(2, b"{}", 2)])
    content = segment_path(journal_dir, 1).read_bytes()
    for use in (read_journal, find_end, mend):
        with pytest.raises(SchemaTooNew, match=r"000001\.jsonl has schema version 2; .* up to version 1"):
            use(journal_dir)
    assert segment_path(journal_dir, 1).read_bytes() == content
