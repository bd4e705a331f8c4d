"""``overwinter clean``: dropping what nobody needs to go on."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from rich.text import Text

from overwinter.agents.dropping import drop_past
from overwinter.agents.retention import Retention
from overwinter.agents.run_index import read_index
from overwinter.cli.dry_files import CountingFiles, DryFiles
from overwinter.cli.finding import counted
from overwinter.cli.holders import Holders
from overwinter.cli.inspection import (
    Inspected,
    bring_in_logs,
    inspect_agent,
    inspect_workspace,
    open_workspace,
)
from overwinter.cli.keeping import keeper
from overwinter.cli.listing import as_json
from overwinter.cli.refusal import FAILED, Refusal
from overwinter.cli.rendering import complain, console, plural, say, size, visible, warn
from overwinter.cli.tables import print_table
from overwinter.errors import PersistenceError
from overwinter.persistence import is_temporary

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from overwinter.persistence import Workspace

__all__ = ["clean_workspace"]

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])")
_DAYS = {"m": 1 / 1440, "h": 1 / 24, "d": 1.0, "w": 7.0}
_UNFINISHED = frozenset({"running", "interrupted", "paused", "failed"})


class Cleaned(Struct, kw_only=True):
    """What went of one agent, by file and with its bytes; or why it was left alone."""

    agent: str
    what: str = "agent"
    removed: dict[str, int] = {}
    why_not: str = ""
    failed: bool = False

    @property
    def bytes(self) -> int:
        """What was freed."""
        return sum(self.removed.values())


def clean_workspace(
    chosen: str | None, *, older_than: str | None, keep_runs: int | None, dry_run: bool, as_data: bool
) -> int:
    """Drop old records and conversations, and what dead processes left behind. Returns the exit code.

    :raises Refusal: there is no workspace, or the age cannot be read.
    """
    days = None if older_than is None else _days(older_than)
    workspace = open_workspace(chosen)
    cleaned = [_sweep_runtimes(workspace, dry_run=dry_run)]
    inspected = inspect_workspace(workspace, warn, bring_in=False)
    for one in inspected:
        found = Cleaned(agent=one.folder.path.name, what=one.what, why_not=_why_not(one))
        if not found.why_not:
            _clean_agent(one, workspace, found, days, keep_runs, dry_run=dry_run)
        cleaned.append(found)
    if as_data:
        console().file.write(as_json(_as_data(workspace, cleaned, dry_run=dry_run)))
    else:
        _print(console(), workspace, cleaned, counted(inspected), dry_run=dry_run)
    return FAILED if any(one.failed for one in cleaned) else 0


def _days(age: str) -> float:
    match = _AGE.fullmatch(age.strip())
    if match is None or not float(match[1]):
        raise Refusal(f"--older-than {age}: give an age such as 30d, 12h or 2w (minutes are m)")
    return float(match[1]) * _DAYS[match[2]]


def _why_not(one: Inspected) -> str:
    if one.held_by is not None:
        return f"in use by process {one.held_by.pid}"
    if one.problems:
        return "damaged; overwinter verify tells more"
    if one.state is None:
        return "nothing of it is saved"
    if one.status in _UNFINISHED or one.state[1].accepted:
        return f"its run is not finished ({one.status})"
    return ""


def _clean_agent(
    one: Inspected,
    workspace: Workspace,
    found: Cleaned,
    days: float | None,
    runs: int | None,
    *,
    dry_run: bool,
) -> None:
    try:
        temporaries = _temporaries(one.folder.path)
        chosen = _policy(one, days, runs)
        if not chosen and not temporaries:
            return
        if dry_run:
            for policy in chosen:
                found.removed = _relative(one, _drop(one, policy, DryFiles()))
        else:
            with keeper(workspace) as keep, keep.holding(one.folder, one.incarnation):
                # Somebody may have been at work since it was looked at.
                one = inspect_agent(one.folder.path, workspace)
                if one.status not in _UNFINISHED and one.state is not None and not one.state[1].accepted:
                    for policy in chosen:
                        found.removed = _relative(one, _drop(one, policy, CountingFiles()))
                for path in temporaries:
                    path.unlink(missing_ok=True)  # those of the agent's own folder went with the claim
        found.removed |= _relative(one, temporaries)
    except (PersistenceError, OSError) as error:
        found.why_not, found.failed = str(error), True


def _policy(one: Inspected, days: float | None, runs: int | None) -> list[Retention]:
    """The retention that drops what both options let go, which is the past up to the earlier of two points."""
    asked = [
        *([Retention(days=days)] if days is not None else []),
        *([Retention(runs=runs)] if runs is not None else []),
    ]
    would = [(sum(_drop(one, each, DryFiles()).values()), each) for each in asked]
    least = min(would, key=lambda each: each[0], default=None)
    return [least[1]] if least is not None and least[0] else []


def _drop(one: Inspected, policy: Retention, files: CountingFiles) -> dict[Path, int]:
    """Drop the past as *policy* says, through *files*; what was removed, with its bytes."""
    assert one.state is not None
    body = one.state[1]
    present = {run.run_id for run in body.runs} | {body.run.run_id if body.run else ""}
    drop_past(
        one.folder,
        policy,
        index=read_index(one.folder, files=files),
        present=frozenset(present),
        agent=msgspec.json.encode(one.configuration),
        files=files,
        now=datetime.now(UTC),
    )
    return {path: count for path, count in files.removed.items() if not is_temporary(path.name)}


def _temporaries(folder: Path) -> dict[Path, int]:
    """What writers that died left half written, in the folder itself and in those that are overwinter's in it."""
    places = (folder, folder / "journal", folder / "history")
    return {
        path: path.stat().st_size
        for place in places
        if place.is_dir()
        for path in sorted(place.iterdir())
        if is_temporary(path.name)
    }


def _relative(one: Inspected, removed: dict[Path, int]) -> dict[str, int]:
    return {path.relative_to(one.folder.path).as_posix(): count for path, count in removed.items()}


def _sweep_runtimes(workspace: Workspace, *, dry_run: bool) -> Cleaned:
    """Bring in the logs of dead runtimes, and remove what is left of these."""
    found = Cleaned(agent=".runtimes")
    holders = Holders(workspace)
    if not workspace.runtimes_dir.is_dir():
        return found
    dead = [
        folder
        for folder in sorted(workspace.runtimes_dir.iterdir())
        if folder.is_dir() and not holders.lives(folder.name)
    ]
    sizes = {
        path.relative_to(workspace.runtimes_dir).as_posix(): path.stat().st_size
        for folder in dead
        for path in sorted(folder.iterdir())
    }
    if not dry_run:
        found.failed = not bring_in_logs(workspace, warn)
    found.removed = {
        name: count
        for name, count in sizes.items()
        if dry_run or not (workspace.runtimes_dir / name).exists()
    }
    return found


def _print(
    to: Console, workspace: Workspace, cleaned: list[Cleaned], all_of_them: str, *, dry_run: bool
) -> None:
    touched = [one for one in cleaned if one.removed]
    if touched:
        rows = [
            (visible(one.agent, lines=False), _told(one), str(len(one.removed)), size(one.bytes))
            for one in touched
        ]
        print_table(to, ("folder", "what", ">files", ">bytes"), rows, gives_way="what")
        to.print()
    left = [one for one in cleaned if one.why_not]
    for one in left:
        if one.failed:
            complain(f"{one.agent}: {one.why_not}")
        else:
            say(
                to,
                Text(
                    f"left alone  {visible(one.agent, lines=False)}: {visible(one.why_not, lines=False)}",
                    "dim",
                ),
            )
    count = sum(len(one.removed) for one in cleaned)
    total = size(sum(one.bytes for one in cleaned))
    if not count:
        say(to, f"Nothing to drop of {all_of_them} in {visible(str(workspace.root))}")
    elif dry_run:
        say(
            to,
            Text(f"{plural(count, 'file')} of {total} would go; nothing was touched (--dry-run)", "yellow"),
        )
    else:
        say(to, Text(f"{plural(count, 'file')} of {total} dropped", "green"))


def _told(one: Cleaned) -> str:
    """Which files went, the whole names of few and the number of many."""
    if one.agent == ".runtimes":
        return plural(len({name.partition("/")[0] for name in one.removed}), "dead runtime")
    kinds = {
        "journal/": ("journal segment", "journal segments"),
        "history/": ("earlier conversation", "earlier conversations"),
    }
    counts: dict[str, int] = {}
    for name in one.removed:
        kind = "" if is_temporary(name.rpartition("/")[2]) else name.partition("/")[0] + "/"
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(
        plural(count, *kinds.get(kind, ("leftover temporary", "leftover temporaries")))
        for kind, count in counts.items()
    )


def _as_data(workspace: Workspace, cleaned: list[Cleaned], *, dry_run: bool) -> dict[str, Any]:
    return {
        "workspace": str(workspace.root),
        "dry_run": dry_run,
        "files": sum(len(one.removed) for one in cleaned),
        "bytes": sum(one.bytes for one in cleaned),
        "agents": [
            {"folder": one.agent, "what": one.what, "removed": one.removed, "left_alone": one.why_not or None}
            for one in cleaned
        ],
    }
