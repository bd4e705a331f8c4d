"""``overwinter verify``, from its arguments to its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from overwinter.cli.holders import Holders
from overwinter.cli.inspection import agent_folders, bring_in_logs, open_workspace
from overwinter.cli.keeping import keeper
from overwinter.cli.listing import as_json
from overwinter.cli.refusal import Refusal, os_reason
from overwinter.cli.rendering import console, plural, say, visible
from overwinter.cli.tables import print_indented
from overwinter.cli.verify.actors import CheckedActor, check_actor, repair_actor
from overwinter.cli.verify.agents import CheckedAgent, check_agent
from overwinter.cli.verify.findings import Report
from overwinter.cli.verify.journals import check_log
from overwinter.cli.verify.repair import repair_agent
from overwinter.errors import PersistenceError
from overwinter.persistence.segments import segment_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from overwinter.cli.verify.findings import Finding
    from overwinter.persistence import Workspace

__all__ = ["DAMAGED", "REPAIRED", "SOUND", "verify_workspace"]

SOUND, DAMAGED, REPAIRED = 0, 1, 3
_STYLES = {"damaged": "bold red", "left over": "yellow", "note": "dim"}


def verify_workspace(
    chosen: str | None, names: list[str], *, repair: bool, as_data: bool, verbose: bool
) -> int:
    """Check every file of a workspace, or of some of its agents. Returns the exit code.

    :raises Refusal: there is no workspace, or no such agent.
    """
    workspace = open_workspace(chosen)
    paths = _chosen(workspace, names)
    holders = Holders(workspace)
    total = Report()
    if repair:
        bring_in_logs(workspace, lambda told: total.add(workspace.runtimes_dir, told, "left over"))
    if not names:
        _check_logs(workspace, holders, total)
    for path in paths:
        total.merge(_check(path, workspace, holders, repair=repair))
    code = DAMAGED if total.damaged else REPAIRED if total.mended else SOUND
    if as_data:
        console().file.write(as_json(_as_data(workspace, total, code)))
    else:
        _print(console(), workspace, total, verbose=verbose, repair=repair)
    return code


def _chosen(workspace: Workspace, names: list[str]) -> list[Path]:
    paths = [*agent_folders(workspace), *agent_folders(workspace, ("actors",))]
    if not names:
        return paths
    chosen: list[Path] = []
    for name in names:
        found = [path for path in paths if name in _called(path)]
        if not found:
            raise Refusal(
                f"there is no agent or swarm {name!r} in {workspace.root}; `overwinter ls` lists those there are"
            )
        chosen += [path for path in found if path not in chosen]
    return chosen


def _called(path: Path) -> set[str]:
    names = {path.name, path.name.rpartition("-")[0]}
    return names | {f"{path.parent.name}/{name}" for name in names}


def _check(path: Path, workspace: Workspace, holders: Holders, *, repair: bool) -> Report:
    found = _look_at(path, holders)
    if isinstance(found, Report):
        return found
    report = found.report
    wanted = [one for one in report.findings if one.level != "note"]
    if not wanted or not repair:
        return report
    if found.holder is not None:
        told = f"process {found.holder.pid} on {found.holder.host} is at work on it: stop that, and repair it then"
        report.add(path, told, "note")
        return report
    try:
        with keeper(workspace) as keep:
            if isinstance(found, CheckedActor):
                repair_actor(found, keep)
            else:
                repair_agent(found, keep)
    except (PersistenceError, OSError) as error:
        report.add(path, f"it could not be repaired: {error}")
        return report
    # What is still wrong now stays wrong, and what the repair has set aside needs no mention twice.
    again = _look_at(path, holders)
    left = again.findings if isinstance(again, Report) else again.report.findings
    known = {(one.path, one.what) for one in report.findings}
    report.findings += [one for one in left if one.level == "damaged" and (one.path, one.what) not in known]
    return report


def _look_at(path: Path, holders: Holders) -> CheckedAgent | CheckedActor | Report:
    try:
        return check_actor(path, holders) if path.parent.name == "actors" else check_agent(path, holders)
    except OSError as error:
        report = Report.of(path)
        report.add(path, f"it cannot be read: {os_reason(error)}")
        return report


def _check_logs(workspace: Workspace, holders: Holders, total: Report) -> None:
    """The logs of dead runtimes; those of the living are being written."""
    try:
        folders = sorted(path for path in workspace.runtimes_dir.iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        total.add(workspace.runtimes_dir, f"it cannot be read: {os_reason(error)}")
        return
    for folder in folders:
        if not holders.lives(folder.name):
            if segment_numbers(folder):
                check_log(folder, total)
            else:
                total.add(folder, "a dead runtime left it behind", "left over")


def _print(to: Console, workspace: Workspace, total: Report, *, verbose: bool, repair: bool) -> None:
    shown = [one for one in total.findings if verbose or one.level != "note"]
    for finding in shown:
        _print_finding(to, workspace, finding)
    if shown:
        to.print()
    checked = ", ".join(
        (
            plural(total.agents, "agent"),
            *([plural(total.swarms, "swarm")] if total.swarms else []),
            *([plural(total.actors, "actor")] if total.actors else []),
            plural(total.files, "file"),
            plural(total.records, "record"),
        )
    )
    in_use = f" ({total.in_use} in use)" if total.in_use else ""
    say(to, Text.assemble(f"{checked} checked{in_use}: ", _verdict(total)))
    if not repair and (total.damaged or any(one.level == "left over" for one in total.findings)):
        say(to, Text("overwinter verify --repair mends what can be mended", "dim"))


def _verdict(total: Report) -> Text:
    counts = [
        (len(total.damaged), "damaged", "bold red"),
        (len(total.mended), "repaired", "yellow"),
        (sum(one.level == "left over" and not one.mended for one in total.findings), "left over", "yellow"),
    ]
    told = [Text(f"{count:,} {word}", style) for count, word, style in counts if count]
    if not total.damaged and not total.mended:
        told.insert(0, Text("sound", "bold green"))
    return Text(", ").join(told)


def _print_finding(to: Console, workspace: Workspace, finding: Finding) -> None:
    try:
        place = str(finding.path.relative_to(workspace.root))
    except ValueError:
        place = str(finding.path)
    word = "repaired" if finding.mended else finding.level
    style = "yellow" if finding.mended else _STYLES[finding.level]
    say(to, Text.assemble((f"{word}  ", style), visible(place, lines=False)))
    print_indented(to, Text(visible(finding.what, lines=False)), indent=4)
    if finding.mended:
        print_indented(to, Text(f"→ {visible(finding.mended, lines=False)}", "green"), indent=4)


def _as_data(workspace: Workspace, total: Report, code: int) -> dict[str, Any]:
    return {
        "workspace": str(workspace.root),
        "verdict": {SOUND: "sound", DAMAGED: "damaged", REPAIRED: "repaired"}[code],
        "agents": total.agents,
        "swarms": total.swarms,
        "actors": total.actors,
        "files": total.files,
        "records": total.records,
        "in_use": total.in_use,
        "findings": [{**msgspec.structs.asdict(one), "path": str(one.path)} for one in total.findings],
    }
