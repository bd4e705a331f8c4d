"""Documents and records that a command writes itself, while it holds the agent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter._version import __version__
from overwinter.agents.journal_records import encode_record
from overwinter.persistence import Metadata, assemble, encode, members
from overwinter.persistence.document import SCHEMA_VERSION
from overwinter.persistence.journal_file import JournalFile
from overwinter.persistence.lines import journal_line

if TYPE_CHECKING:
    from overwinter.agents.journal_records import JournalRecord
    from overwinter.agents.records import StateBody
    from overwinter.persistence import AgentFolder
    from overwinter.persistence.lease import Claim

__all__ = ["append_record", "assembled", "metadata_of", "plain"]


def plain(body: StateBody) -> dict[str, Any]:
    """The members of a state file as plain data."""
    members_of: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    return members_of


def metadata_of(folder: AgentFolder, body: StateBody, sequence: int) -> Metadata:
    """What a document written now says of itself."""
    return Metadata(
        timestamp=datetime.now(UTC).isoformat(),
        loop_count=body.loop_count,
        agent_id=folder.agent_id,
        agent_name=folder.name,
        run_id=body.run.run_id if body.run else "",
        status=body.status,
        sequence=sequence,
        schema_version=SCHEMA_VERSION,
        overwinter_version=__version__,
    )


def assembled(metadata: Metadata, content: dict[str, Any], *, checksum: bool = True) -> list[bytes]:
    """The pieces of a whole document with these members."""
    return assemble(metadata, members({name: encode(value) for name, value in content.items()}), checksum)


def append_record(held: Claim, record: JournalRecord, sequence: int, *, base: bool = False) -> None:
    """Append one record to the journal of an agent that is held, durably. Blocking.

    :raises OSError: the disk refused.
    """
    journal = JournalFile(held.folder.journal_dir, held.journal)
    journal.append([journal_line(sequence, encode_record(record), base=base)], sequence)
    journal.sync()
