"""Mending what a check has found: nothing is deleted but what nobody can use, and what is damaged is set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.cli.verify.journals import folded
from overwinter.cli.verify.mending import Mending
from overwinter.cli.writing import assembled, metadata_of, plain
from overwinter.persistence import agent_id_for, replace_file, set_aside, write_once
from overwinter.persistence.document import METADATA_KEY
from overwinter.persistence.files import FILES
from overwinter.persistence.lines import read_line
from overwinter.persistence.names import swarm_id_for
from overwinter.persistence.segments import segment_numbers, segment_path

if TYPE_CHECKING:
    from overwinter.cli.keeping import Keeper
    from overwinter.cli.verify.agents import CheckedAgent
    from overwinter.persistence.journal import JournalGap

__all__ = ["repair_agent"]

_ENDLESS = 1 << 62


def repair_agent(found: CheckedAgent, keep: Keeper) -> None:
    """Mend what can be mended of one agent, and note with each finding what was done. Blocking.

    :raises AgentInUse: somebody holds it.
    :raises WorkspaceError: its folder cannot be written.
    :raises SaveError: a file cannot be replaced; what was there before is intact.
    """
    with keep.holding(found.folder, found.incarnation) as held:
        # Whoever has the agent in memory is to load it again: it may know more than is left.
        held.sequence = None
        _Repair(found).run()


class _Repair(Mending):
    def __init__(self, found: CheckedAgent) -> None:
        super().__init__(found)
        self._found = found

    def run(self) -> None:
        found, folder = self._found, self.folder
        self._mend_journal()
        if found.state.edited:
            self._accept_edited()
        elif self.is_damaged(folder.state_path):
            self._rebuild_state()
        if self.is_damaged(folder.previous_path):
            self.set_aside(folder.previous_path)
        if self.is_damaged(folder.config_path):
            self._rebuild_config()
        if found.identity is None and self.is_damaged(folder.identity_path):
            self._rebuild_identity()
        for path in found.history_damaged:
            self.set_aside(path)
        self.settle_leftovers()

    def _mend_journal(self) -> None:
        """Leave one stretch of records without a gap: that which the state needs."""
        journal, best = self._found.journal, self._found.best
        known = best.metadata.sequence if best is not None and best.metadata is not None else 0
        for gap in journal.gaps:
            if gap.before <= known + 1:
                self._cut(gap, range(gap.before, _ENDLESS), "what stands before it was set aside")
            else:
                lost = sum(line.sequence > gap.after for line in journal.lines)
                told = f"the {lost:,} records behind it cannot be used and were set aside"
                self._cut(gap, range(gap.after + 1), told)
                journal.lines = [line for line in journal.lines if line.sequence <= gap.after]
                break

    def _cut(self, gap: JournalGap, keep: range, how: str) -> None:
        """Keep of every segment the records that are to stay; one that loses some is set aside as it was."""
        folder = self.folder.journal_dir
        for number in segment_numbers(folder):
            path = segment_path(folder, number)
            whole = FILES.read_bytes(path)
            kept = self._lines_of(whole, keep)
            if kept == whole:
                continue
            set_aside(path, self.now)
            if kept:
                replace_file(path, [kept])
        for finding in self.report.findings:
            if finding.path == gap.path and f"record {gap.after} " in finding.what:
                finding.mended = how

    def _lines_of(self, content: bytes, keep: range) -> bytes:
        wanted = {line.sequence: line for line in self._found.journal.lines if line.sequence in keep}
        found: list[bytes] = []
        for text in content.splitlines(keepends=True):
            line = read_line(text)
            if line is not None and wanted.get(line.sequence) == line:
                found.append(text)
        return b"".join(found)

    def _accept_edited(self) -> None:
        """Seal the state as it was edited; the generation before it is kept in history, and then is the same."""
        state = self._found.state
        assert state.metadata is not None
        document = msgspec.json.decode(state.edited, type=dict[str, Any])
        document.pop(METADATA_KEY)
        pieces = assembled(state.metadata, document)
        previous = self._found.previous
        if previous.sound and previous.metadata is not None:
            kept = self.folder.history_dir / f"{previous.metadata.sequence:06d}.json"
            self.folder.history_dir.mkdir(0o700, exist_ok=True)
            write_once(kept, [FILES.read_bytes(previous.path)])
        replace_file(previous.path, pieces)
        replace_file(state.path, pieces)
        self.mended(previous.path, "replaced by the edited state")
        self.mended(state.path, "accepted as it is, with a new checksum")

    def _rebuild_state(self) -> None:
        """Make the state anew of its previous generation and the journal, or of the journal alone."""
        path, previous, journal = self.folder.state_path, self._found.previous, self._found.journal
        base = previous if previous.sound else None
        since = base.metadata.sequence if base is not None and base.metadata is not None else 0
        lines = journal.after(since)
        if lines is None or (base is None and not lines) or journal.bad_record:
            if path.exists():
                moved = set_aside(path, self.now)
                self.report.add(path, f"nothing is left to make it of; it was set aside as {moved.name}")
            return
        body = folded(base.body if base else None, since, lines, path)
        body.agent = body.agent or self._found.config or {}
        reached = lines[-1].sequence if lines else since
        made_of = "its previous generation and the journal" if base is not None else "the journal"
        pieces = assembled(metadata_of(self.folder, body, reached), plain(body))
        aside = self.set_aside(path)
        replace_file(path, pieces)
        told = f"set aside as {aside} and " if aside else ""
        for finding in self.report.findings:
            if finding.path == path and finding.level == "damaged":
                finding.mended = f"{told}made anew of {made_of}, up to record {reached}"

    def _rebuild_config(self) -> None:
        path, best = self.folder.config_path, self._found.best
        aside = self.set_aside(path)
        if best is None or best.body is None or best.metadata is None or not best.body.agent:
            return
        content = {"loop_count": best.body.loop_count, **best.body.agent}
        replace_file(path, assembled(best.metadata, content, checksum=False))
        for finding in self.report.findings:
            if finding.path == path and finding.mended:
                finding.mended = f"set aside as {aside} and made anew of the state"

    def _rebuild_identity(self) -> None:
        """Write anew whose folder it is, as the state or the lease says."""
        best, lease = self._found.best, self._found.lease
        said = best.metadata if best is not None else None
        agent_id = said.agent_id if said else lease.agent_id if lease else ""
        name = said.agent_name if said else lease.agent_name if lease else ""
        session = (
            str(best.body.agent.get("session", "")) if best is not None and best.body is not None else ""
        )
        fits = agent_id in (agent_id_for(name, session), swarm_id_for(name, session))
        self.rebuild_identity(agent_id, name, session if fits else "")
