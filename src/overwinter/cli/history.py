"""``overwinter history`` and ``overwinter diff``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from overwinter.agents.diff import diff_states
from overwinter.agents.history import GAP
from overwinter.agents.past import read_history, read_state_at
from overwinter.cli.finding import look_up
from overwinter.cli.listing import as_json
from overwinter.cli.refusal import Refusal
from overwinter.cli.rendering import console, plural, say, styled_status, visible
from overwinter.cli.tables import print_table
from overwinter.errors import StepNotFound
from overwinter.persistence.files import FILES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from overwinter.agents.history import HistoryStep
    from overwinter.agents.state import AgentState
    from overwinter.cli.inspection import Inspected

__all__ = ["diff_agent", "history_of", "state_at"]

_DIFF_STYLES = {"+": "green", "-": "red"}


def history_of(name: str, chosen: str | None, *, session: str | None, last: int, as_data: bool) -> None:
    """Print what happened to an agent, step by step.

    :param last: how many of the newest steps; 0 for all.
    :raises Refusal: there is no workspace, or no agent of that name, or more than one.
    """
    _, one = look_up(name, chosen, session)
    steps = read_history(one.folder, files=FILES)
    shown = steps[-last:] if last else steps
    if as_data:
        told = [msgspec.structs.asdict(step) for step in shown]
        console().file.write(as_json({"agent_name": one.folder.name, "steps": told}))
        return
    to = console()
    if not steps:
        say(to, f"Nothing is on record of {visible(one.folder.name, lines=False)}")
        return
    _print(to, shown)
    if len(shown) < len(steps):
        earlier = plural(len(steps) - len(shown), "earlier step")
        say(to, Text(f"\n{earlier} not shown; --all shows them", "dim"))


def diff_agent(
    name: str, before: int, after: int, chosen: str | None, *, session: str | None, as_data: bool
) -> None:
    """Print what changed in an agent between two steps.

    :raises Refusal: there is no workspace, or no agent of that name, or more than one, or it has no such step.
    """
    _, one = look_up(name, chosen, session)
    changed = diff_states(*(state_at(one, step) for step in (before, after)))
    if as_data:
        console().file.write(as_json(msgspec.to_builtins(changed)))
        return
    to = console()
    for line in str(changed).splitlines():
        to.print(Text(visible(line, lines=False), _DIFF_STYLES.get(line[:1], "")), soft_wrap=True)


def state_at(one: Inspected, step: int | None) -> AgentState:
    """What an agent knew at a step, the last unless given. Blocking.

    :raises Refusal: it has no such step, or it is not kept any more.
    """
    try:
        return read_state_at(one.folder, step, files=FILES)
    except StepNotFound as error:
        told = f"it has the steps {error.first} to {error.last}" if error.last else "nothing of it was saved"
        raise Refusal(
            f"{one.what} {one.folder.name!r} has no step {error.step}, or it is not kept any more; {told}, which "
            "overwinter history lists"
        ) from error


def _print(to: Console, steps: Sequence[HistoryStep]) -> None:
    days = len({_local(step.at)[:10] for step in steps if step.at}) > 1
    rows = [
        (
            "" if step.kind == GAP else str(step.step),
            _local(step.at) if days else _local(step.at)[11:],
            str(step.loop) if step.loop else "",
            styled_status(step.kind.replace("_", " ")),
            Text(visible(step.summary, lines=False), "dim" if step.kind == GAP else ""),
        )
        for step in steps
    ]
    print_table(to, (">step", "at", ">loop", "what", "told"), rows, gives_way="told")


def _local(at: str) -> str:
    """A time of this place, to the second; empty where there is none."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return ""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
