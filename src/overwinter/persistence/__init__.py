"""The room where everything meets the disk: names, the workspace, the codec, atomic files, leases, the actor.

It knows nothing of agents.
"""

from __future__ import annotations

from overwinter.persistence.actor import PersistenceActor
from overwinter.persistence.atomic import is_temporary, replace_file, set_aside, write_once
from overwinter.persistence.autosaver import Autosaver
from overwinter.persistence.codec import MAX_DEPTH, encode, encode_checked, find_unstorable, pretty
from overwinter.persistence.credential_names import is_credential_name
from overwinter.persistence.document import (
    METADATA_KEY,
    SCHEMA_VERSION,
    LoadedDocument,
    Metadata,
    assemble,
    load_document,
    members,
    read_document,
)
from overwinter.persistence.files import FILES, FileOperations, probe_files
from overwinter.persistence.fragments import Fragments
from overwinter.persistence.health import StorageEvent
from overwinter.persistence.identity import Identity, list_folders, open_identity
from overwinter.persistence.journal import (
    JournalEnd,
    JournalGap,
    JournalReading,
    find_end,
    mend,
    read_journal,
)
from overwinter.persistence.journal_file import JournalFile
from overwinter.persistence.journal_writer import JournalWriter
from overwinter.persistence.lease import Claim, Lease
from overwinter.persistence.lines import (
    JOURNAL_VERSION,
    JournalLine,
    LogLine,
    journal_line,
    log_line,
    read_line,
    read_log_line,
)
from overwinter.persistence.lock import FileLock, locked
from overwinter.persistence.messages import (
    Appended,
    AppendRecords,
    Flush,
    Flushed,
    PersistenceMessage,
    ReplaceDocument,
    Saved,
)
from overwinter.persistence.migrations import register_migration
from overwinter.persistence.names import NAMESPACE, agent_id_for, folder_name, id_digits, slug, storable_name
from overwinter.persistence.replay import replay_dead_runtimes
from overwinter.persistence.retention import SegmentInfo, drop_segments, journal_bytes, list_segments
from overwinter.persistence.runtime_lock import RuntimeLock
from overwinter.persistence.secrets import REDACTED, Secret, credential_values, redact, reveal, scrub
from overwinter.persistence.snapshot import Snapshot
from overwinter.persistence.statistics import PersistenceStatistics
from overwinter.persistence.storage import Storage
from overwinter.persistence.workspace import AgentFolder, Workspace, create_folder, sweep_temporaries

__all__ = [
    "FILES",
    "JOURNAL_VERSION",
    "MAX_DEPTH",
    "METADATA_KEY",
    "NAMESPACE",
    "REDACTED",
    "SCHEMA_VERSION",
    "AgentFolder",
    "AppendRecords",
    "Appended",
    "Autosaver",
    "Claim",
    "FileLock",
    "FileOperations",
    "Flush",
    "Flushed",
    "Fragments",
    "Identity",
    "JournalEnd",
    "JournalFile",
    "JournalGap",
    "JournalLine",
    "JournalReading",
    "JournalWriter",
    "Lease",
    "LoadedDocument",
    "LogLine",
    "Metadata",
    "PersistenceActor",
    "PersistenceMessage",
    "PersistenceStatistics",
    "ReplaceDocument",
    "RuntimeLock",
    "Saved",
    "Secret",
    "SegmentInfo",
    "Snapshot",
    "Storage",
    "StorageEvent",
    "Workspace",
    "agent_id_for",
    "assemble",
    "create_folder",
    "credential_values",
    "drop_segments",
    "encode",
    "encode_checked",
    "find_end",
    "find_unstorable",
    "folder_name",
    "id_digits",
    "is_credential_name",
    "is_temporary",
    "journal_bytes",
    "journal_line",
    "list_folders",
    "list_segments",
    "load_document",
    "locked",
    "log_line",
    "members",
    "mend",
    "open_identity",
    "pretty",
    "probe_files",
    "read_document",
    "read_journal",
    "read_line",
    "read_log_line",
    "redact",
    "register_migration",
    "replace_file",
    "replay_dead_runtimes",
    "reveal",
    "scrub",
    "set_aside",
    "slug",
    "storable_name",
    "sweep_temporaries",
    "write_once",
]
