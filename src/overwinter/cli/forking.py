"""``overwinter fork``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from overwinter.agents.fork import forked
from overwinter.agents.journal_records import StateReplaced
from overwinter.cli.addressing import Everybody
from overwinter.cli.finding import look_up
from overwinter.cli.history import state_at
from overwinter.cli.inspection import inspect_agent, inspect_workspace
from overwinter.cli.keeping import keeper
from overwinter.cli.refusal import FAILED, Refusal
from overwinter.cli.rendering import console, say, styled_status, visible
from overwinter.cli.writing import append_record, assembled, metadata_of, plain
from overwinter.persistence import agent_id_for, open_identity, replace_file

if TYPE_CHECKING:
    from typing import Any

    from overwinter.agents.records import StateBody
    from overwinter.cli.inspection import Inspected
    from overwinter.persistence import AgentFolder, Workspace

__all__ = ["fork_agent"]


def fork_agent(
    name: str, at: int | None, new_name: str, chosen: str | None, *, session: str | None, new_session: str
) -> None:
    """Make a new agent that begins with what the agent *name* knew at a step.

    Its settings are the other's. A call that was open is closed with what is known of it, and a run that had not
    finished can be resumed in the fork.

    :param at: the step; the last unless given.
    :raises Refusal: there is no workspace, or no agent of that name, or more than one; it has no such step; or the new
        one is there already.
    """
    if not new_name.strip():
        raise Refusal("--name is empty; give the new agent a name")
    workspace, one = look_up(name, chosen, session)
    if one.is_swarm:
        raise Refusal(f"{one.folder.name!r} is a swarm, which has members at work; fork one of these")
    state = state_at(one, at)
    step = state.sequence
    now = datetime.now(UTC)
    body = forked(state, now.isoformat()).state.body()
    body.agent = _settings(one, new_name, new_session)
    folder = _write(workspace, new_name, new_session, body, now)
    to = console()
    told = f"{visible(one.folder.name, lines=False)}, step {step}"
    say(
        to,
        Text.assemble(
            (visible(new_name, lines=False), "bold"),
            f" begins where {told} was: ",
            styled_status(body.status),
        ),
    )
    say(to, Text(visible(str(folder.path)), "dim"))
    if body.status in ("interrupted", "paused", "failed") or body.accepted:
        everybody = Everybody(inspect_workspace(workspace, bring_in=False), chosen)
        goes_on = everybody.resume(inspect_agent(folder.path, workspace))
        to.print(Text(f"Go on with:  {goes_on}", "dim"), soft_wrap=True)


def _settings(one: Inspected, name: str, session: str) -> dict[str, Any]:
    settings = one.configuration
    return {**settings, "agent_name": name, "session": session, "agent_id": agent_id_for(name, session)}


def _write(workspace: Workspace, name: str, session: str, body: StateBody, now: datetime) -> AgentFolder:
    wanted = workspace.folder(name, agent_id_for(name, session), session=session)
    if _is_taken(wanted):
        raise Refusal(
            f"there is an agent {name!r} already, in {wanted.path}; give the fork another --name or --new-session",
            code=FAILED,
        )
    folder, identity = open_identity(wanted, now=now)
    with keeper(workspace) as keep, keep.holding(folder, identity.incarnation) as held:
        if _is_taken(folder):
            raise Refusal(f"there is an agent {name!r} now, in {folder.path}", code=FAILED)
        held.sequence = 1
        # As it will be read again: the memory's values are encoded already.
        whole = msgspec.json.decode(msgspec.json.encode(body), type=type(body))
        append_record(held.claim, StateReplaced(at=now.isoformat(), body=whole), 1, base=True)
        metadata = metadata_of(folder, body, 1)
        replace_file(folder.state_path, assembled(metadata, plain(body)))
        config = {"loop_count": body.loop_count, **body.agent}
        replace_file(folder.config_path, assembled(metadata, config, checksum=False))
    return folder


def _is_taken(folder: AgentFolder) -> bool:
    own = (folder.state_path, folder.previous_path, folder.journal_dir)
    return any(os.path.lexists(path) for path in own)
