"""``overwinter watch``."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from overwinter.cli.boards import Row, board_lines
from overwinter.cli.finding import find_agent
from overwinter.cli.inspection import open_workspace
from overwinter.cli.listing import as_json
from overwinter.cli.members import Branch, branch_lines, forest
from overwinter.cli.rendering import console, number, plural, visible
from overwinter.cli.tree import draws_lines
from overwinter.cli.watch.watched import Watchfulness

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from overwinter.cli.watch.watched import Watched
    from overwinter.persistence import Workspace

__all__ = ["watch"]

# At most this part of the time is spent looking: a workspace of 100,000 agents is looked at less often.
_SHARE = 0.2


def watch(
    name: str | None,
    chosen: str | None,
    *,
    session: str | None,
    once: bool,
    interval: float,
    as_data: bool,
) -> None:
    """Show who is at work, again and again until Ctrl-C, or once.

    :param interval: seconds from one look to the next.
    :raises Refusal: there is no workspace, or nobody of that name in it, or more than one.
    """
    workspace = open_workspace(chosen)
    view, to = _View(workspace, name, session), console()
    if as_data:
        to.file.write(as_json({"workspace": str(workspace.root), "rows": [*map(view.told, view.look())]}))
        return
    lines = draws_lines(to)
    if once or not to.is_terminal or to.is_dumb_terminal:
        _print(to, view.rows(view.look(), lines=lines), workspace)
        while not once:
            time.sleep(interval)
            to.print()
            _print(to, view.rows(view.look(), lines=lines), workspace)
        return
    first = view.look()  # what cannot be watched is refused before the screen is taken
    _live(to, view, first, interval, lines=lines)


class _View:
    """What of a workspace is watched: everybody, or one with all that is in it."""

    def __init__(self, workspace: Workspace, name: str | None, session: str | None) -> None:
        self.workspace = workspace
        self._name = name
        self._session = session
        self._watchfulness = Watchfulness(workspace)

    def look(self) -> list[Branch[Watched]]:
        """Look again. Blocking.

        :raises Refusal: who is to be watched is not there.
        """
        found = self._watchfulness.look()
        trees, alone = forest(found)
        every = [*trees, *(Branch(one.folder.name, one.what, one) for one in alone)]
        if self._name is None:
            return every
        one = find_agent(found, self._name, self._session, str(self.workspace.root))
        return [next(branch for tree in every for branch in tree.everybody() if branch.one is one)]

    def rows(self, trees: Sequence[Branch[Watched]], *, lines: bool) -> list[Row]:
        """A row for each, in the order of the trees."""
        return [self._row(branch, lead) for tree in trees for lead, branch in branch_lines(tree, lines=lines)]

    def told(self, branch: Branch[Watched]) -> dict[str, Any]:
        """A tree as plain data."""
        row, one = self._row(branch, ""), branch.one
        return {
            "name": branch.name,
            "kind": branch.kind,
            "session": one.folder.session if one is not None else "",
            "folder": str(one.folder.path) if one is not None else None,
            "pattern": row.pattern or None,
            "status": row.status or None,
            "run_id": one.glance.run_id if one is not None else None,
            "doing": row.doing,
            "steps": row.steps,
            "tokens": row.tokens,
            "cost": row.cost,
            "mailbox": row.mailbox,
            "saves": row.saves,
            "held_by": msgspec.structs.asdict(one.held_by) if one is not None and one.held_by else None,
            "members": [self.told(member) for member in branch.members],
        }

    def _row(self, branch: Branch[Watched], lead: str) -> Row:
        row, one = Row(name=branch.name, lead=lead, is_swarm=branch.kind == "swarm", status="-"), branch.one
        if one is None:
            return row
        glance = one.glance
        row.pattern = str(one.swarm.get("pattern") or "")
        row.status, row.steps = one.status, glance.steps
        row.doing = glance.doing if row.status != "interrupted" else ""  # nobody is at that any more
        row.tokens, row.cost = glance.usage.total_tokens, glance.usage.cost if glance.usage.calls else 0.0
        if one.held_by is not None:
            published = self._watchfulness.runtimes.status_of(one.held_by)
            if published is not None:
                row.saves = published.saves.get(f"{one.folder.path.parent.name}/{one.folder.path.name}")
                row.mailbox = published.mailboxes.get(one.folder.agent_id, 0) + glance.waiting
                if one.folder.agent_id in published.waits:
                    row.doing = f"waits for its turn at {published.waits[one.folder.agent_id]}"
        return row


def _live(to: Console, view: _View, first: list[Branch[Watched]], interval: float, *, lines: bool) -> None:
    from rich.console import Group
    from rich.live import Live

    trees = first
    with Live(console=to, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while True:
            began = time.monotonic()
            picture = _picture(view.rows(trees, lines=lines), view.workspace, to.width, to.height)
            live.update(Group(*picture), refresh=True)
            took = time.monotonic() - began
            time.sleep(max(interval - took, took * (1 - _SHARE) / _SHARE))
            trees = view.look()


def _print(to: Console, rows: Sequence[Row], workspace: Workspace) -> None:
    for line in _picture(rows, workspace, to.width, 1 << 20):
        to.print(line, soft_wrap=True)


def _picture(rows: Sequence[Row], workspace: Workspace, width: int, height: int) -> Iterator[Text]:
    at_work = sum(row.status == "running" for row in rows)
    saved = [row.is_swarm for row in rows if row.status != "-"]
    told = f"{plural(sum(saved), 'swarm')}, {plural(saved.count(False), 'agent')}, {number(at_work)} at work"
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    heading = Text(f"{now}  {told}  {visible(str(workspace.root), lines=False)}", "dim")
    heading.truncate(width, overflow="ellipsis")
    yield heading
    if rows:
        yield Text("")
        yield from board_lines(rows, width, height - 2)
