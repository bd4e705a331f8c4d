"""What stands on disk after a kill, read without overwinter's own readers: JSON, checksums, and what they say.

Only the end of the last segment of a journal or a log may be torn, and of the other files nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
from tests.support.processes import temporaries

from overwinter.persistence import read_document

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Facts", "read_facts"]

_LOG_CHECKED_FROM = len(b'{"checksum":"12345678",')
_REPLY = re.compile(r"\breply:([\w-]+):(\w+)")
_RESULT = re.compile(r"\bresult:([\w.-]+):(\w+)")


class Facts:
    """All that a workspace tells, from the journals, the logs and the state files together.

    :ivar replies: the nonces of recorded replies; ``answered`` the keys of the requests that they answer.
    :ivar results: the nonces of recorded tool results; ``ended`` the ids of the calls that ended.
    :ivar started: the ids of the calls whose start is recorded.
    :ivar accepted: the runs whose task is recorded; ``finished`` those that are recorded as finished.
    :ivar works: how often each ``(run, key)`` of a swarm's work is recorded as finished; ``decided`` has those of
        its decisions. Both are from the records alone.
    :ivar sequences: the highest sequence of each agent's state and records, and that of its configuration.
    :ivar torn: ends of segments that are not whole, which a kill may leave.
    :ivar damaged: what no kill may leave.
    :ivar temporaries: temporary files, which a kill may leave.
    """

    def __init__(self) -> None:
        self.replies: set[str] = set()
        self.answered: set[str] = set()
        self.results: set[str] = set()
        self.ended: set[str] = set()
        self.started: set[str] = set()
        self.accepted: set[str] = set()
        self.finished: set[str] = set()
        self.unknown: set[str] = set()
        self.works: Counter[tuple[str, str]] = Counter()
        self.decided: Counter[tuple[str, str]] = Counter()
        self.sequences: dict[str, int] = {}
        self.torn: list[str] = []
        self.damaged: list[str] = []
        self.temporaries: list[str] = []
        self.logs = 0
        self._runs: dict[str, str] = {}

    @property
    def nonces(self) -> set[str]:
        """Everything that was said and is recorded."""
        return self.replies | self.results

    def lost_since(self, before: Facts) -> list[str]:
        """What was there before and is not any more; a sequence that went backwards is among it."""
        names = ("replies", "results", "ended", "started", "finished")
        lost = [f"{name}: {gone}" for name in names if (gone := getattr(before, name) - getattr(self, name))]
        for name, sequence in before.sequences.items():
            if (now := self.sequences.get(name, 0)) < sequence:
                lost.append(f"sequences: {name} was at {sequence} and is at {now}")
        return lost

    def reached(self, name: str, sequence: int) -> None:
        self.sequences[name] = max(sequence, self.sequences.get(name, 0))

    def reply(self, text: str) -> None:
        for key, nonce in _REPLY.findall(text):
            self.answered.add(key)
            self.replies.add(nonce)

    def result(self, call_id: str, text: str) -> None:
        self.ended.add(call_id)
        self.started.add(call_id)
        if "outcome is unknown" in text:
            self.unknown.add(call_id)
        for told, nonce in _RESULT.findall(text):
            self.results.add(nonce)
            if told != call_id:
                self.damaged.append(f"the result of {told} stands as that of {call_id}")

    def record(self, folder: str, record: dict[str, Any]) -> None:
        kind = record["type"]
        if kind == "task_accepted":
            self.accepted.add(record["run_id"])
        elif kind == "model_replied":
            self.reply(record["message"].get("content", ""))
        elif kind == "tools_started":
            self.started.update(record["call_ids"])
        elif kind == "tool_finished":
            self.result(record["call_id"], record["output"])
        elif kind == "member_finished":
            self.works[self._runs[folder], record["key"]] += 1
            self.reply(record["text"])
        elif kind == "decided":
            self.decided[self._runs[folder], record["key"]] += 1
            self.reply(msgspec.json.encode(record["value"]).decode())
        elif kind in ("run_began", "run_resumed"):
            self._runs[folder] = record["run_id"]
        elif kind == "run_ended" and record["status"] == "finished":
            self.finished.add(self._runs[folder])
        elif kind == "state_replaced":
            self.body(record["body"])

    def body(self, body: dict[str, Any]) -> None:
        for said in body["conversation"]:
            if said["role"] == "assistant":
                self.reply(said.get("content", ""))
            elif said["role"] == "tool":
                self.unknown |= {said["tool_call_id"]} if "outcome is unknown" in said["content"] else set()
        for outcome in body["tool_results"]:
            self.result(outcome["call_id"], outcome["output"])
        self.started.update(body["begun_calls"])
        self.accepted.update(task["run_id"] for task in body["accepted"])
        self.finished.update(run["run_id"] for run in body["runs"] if run["status"] == "finished")


def read_facts(root: Path) -> Facts:
    """Everything that stands in the workspace. Nobody may be at work there. Blocking."""
    facts = Facts()
    lines: dict[str, dict[int, dict[str, Any]]] = {}
    for folder in sorted([*(root / "agents").glob("*"), *(root / "swarms").glob("*")]):
        name = f"{folder.parent.name}/{folder.name}"
        _read_documents(facts, name, folder)
        for line in _segments(facts, folder / "journal", _journal_sound):
            lines.setdefault(name, {})[line["sequence"]] = line["record"]
    for folder in sorted((root / ".runtimes").glob("*")):
        for logged in _segments(facts, folder, _log_sound):
            facts.logs += 1
            line = logged["line"]
            lines.setdefault(logged["folder"], {})[line["sequence"]] = line["record"]
    for name, records in lines.items():
        sequences = sorted(records)
        if sequences != [*range(sequences[0], sequences[-1] + 1)]:
            facts.damaged.append(f"{name}: the records have gaps: {sequences}")
        facts.reached(name, sequences[-1])
        for sequence in sequences:
            facts.record(name, records[sequence])
    facts.temporaries = [str(path) for path in temporaries(root)]
    return facts


def _read_documents(facts: Facts, name: str, folder: Path) -> None:
    for path in folder.iterdir():
        if ".corrupt-" in path.name:
            facts.damaged.append(f"{path} was set aside")
        if path.name.startswith(".overwinter-") or not path.is_file():
            continue
        try:
            content = msgspec.json.decode(path.read_bytes())
            if path.name.endswith(("_state.json", "_state.json.previous")):
                read_document(path.read_bytes(), path, checksum_required=True)
                facts.body(content)
                facts.reached(name, content["_autosave_metadata"]["sequence"])
            elif path.name == "config.json":
                facts.reached(f"{name}/config.json", content["_autosave_metadata"]["sequence"])
        except Exception as error:
            facts.damaged.append(f"{path}: {error!r}")


def _segments(facts: Facts, folder: Path, is_sound: Any) -> Iterable[dict[str, Any]]:
    segments = sorted(folder.glob("[0-9]*.jsonl"))
    for path in segments:
        *whole, rest = path.read_bytes().split(b"\n")
        for number, line in enumerate(whole, 1):
            if is_sound(line):
                yield msgspec.json.decode(line)
            else:
                facts.damaged.append(f"{path}, line {number}: {line[:200]!r}")
        if rest:
            (facts.torn if path == segments[-1] else facts.damaged).append(f"{path}: {rest[:200]!r}")


def _journal_sound(line: bytes) -> bool:
    try:
        head = msgspec.json.decode(line)
        record = line[line.index(b'"record":') + len(b'"record":') : -1]
        begun = b"%d:%d:%d:" % (head["sequence"], head["schema_version"], head.get("base", False))
        return bool(crc32(begun + record) == int(head["checksum"], 16))
    except (ValueError, KeyError):
        return False


def _log_sound(line: bytes) -> bool:
    try:
        head = msgspec.json.decode(line)
        return bool(crc32(line[_LOG_CHECKED_FROM:]) == int(head["checksum"], 16)) and _journal_sound(
            line[line.index(b',"line":') + len(b',"line":') : -1]
        )
    except (ValueError, KeyError):
        return False
