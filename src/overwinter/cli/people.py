"""``overwinter pending``, ``approve``, ``deny`` and ``answer``: what a person has to say."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from rich.text import Text

from overwinter.agents.journal_records import PersonAnswered
from overwinter.cli.addressing import Everybody, command
from overwinter.cli.finding import find_agent
from overwinter.cli.inspection import inspect_agent, inspect_workspace, open_workspace
from overwinter.cli.keeping import keeper
from overwinter.cli.listing import as_json
from overwinter.cli.refusal import FAILED, Refusal
from overwinter.cli.rendering import ago, console, plural, say, visible, warn
from overwinter.cli.tables import print_indented
from overwinter.cli.writing import append_record
from overwinter.errors import AgentInUse
from overwinter.persistence import encode_checked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from overwinter.agents.records import Pending
    from overwinter.cli.inspection import Inspected


__all__ = ["Decided", "decide", "list_pending", "print_left", "question_of", "whole_of"]

Decided = Literal["approved", "denied", "answered"]

_COMMAND: dict[Decided, str] = {"approved": "approve", "denied": "deny", "answered": "answer"}
_FITTING: dict[Decided, tuple[str, ...]] = {
    "approved": ("approval", "unknown"),
    "denied": ("approval", "question", "unknown"),
    "answered": ("question", "unknown"),
}
_LONGEST = 600


def list_pending(chosen: str | None, *, as_data: bool) -> None:
    """Print every call of a workspace that waits for a person.

    :raises Refusal: there is no workspace.
    """
    workspace = open_workspace(chosen)
    found = inspect_workspace(workspace, warn)
    everybody = Everybody(found, chosen)
    waiting = [(one, call) for one in found for call in _pending(one)]
    if as_data:
        told = [_told(one, call, everybody) for one, call in waiting]
        console().file.write(as_json({"workspace": str(workspace.root), "pending": told}))
        return
    to = console()
    if not waiting:
        say(to, f"Nobody in {visible(str(workspace.root))} waits for a person")
    for number, (one, call) in enumerate(waiting):
        if number:
            to.print()
        _print_call(to, one, call, everybody, chosen)


def decide(
    decision: Decided, name: str, call_id: str, text: str, chosen: str | None, *, session: str | None
) -> Inspected:
    """Write down what a person decided about a call that waits, and return its agent.

    :param name: whose call it is: an agent's, or a swarm's in whose run one of its members waits, however deep.
    :param call_id: which call; may be empty where only one can be meant.
    :param text: the reason of a denial, or the answer.
    :raises Refusal: no such call waits, or several could be meant, or a process is at work on the agent.
    """
    encode_checked(text, what="what you say")
    workspace = open_workspace(chosen)
    found = inspect_workspace(workspace, warn)
    everybody = Everybody(found, chosen)
    one = find_agent(found, name, session, str(workspace.root))
    ids = {call.call_id for each in everybody.waiting_in(one) for call in _pending(each)}
    if decision == "answered" and text in ids and call_id not in ids | {""}:
        text, call_id = call_id, text  # the other way round is understood as well
    if one.is_swarm:
        one = _member_meant(decision, one, call_id, everybody, chosen)
    _choose(decision, one, call_id)
    try:
        with keeper(workspace) as keep, keep.holding(one.folder, one.incarnation) as held:
            one = inspect_agent(one.folder.path, workspace)
            call = _choose(decision, one, call_id)
            assert one.state is not None
            held.sequence = max(one.state[0].sequence, held.claim.journal.sequence) + 1
            record = PersonAnswered(
                at=datetime.now(UTC).isoformat(), call_id=call.call_id, decision=decision, text=text
            )
            append_record(held.claim, record, held.sequence)
    except AgentInUse as error:
        raise Refusal(
            f"{one.what} {one.folder.name!r} is at work in process {error.pid} on {error.host}: answer it there, with "
            f"agent.{_COMMAND[decision]}(...), or stop that process first",
            code=FAILED,
        ) from error
    told = f"{visible(one.folder.name, lines=False)}: {visible(call.tool, lines=False)} {decision}"
    say(console(), Text(told, "green" if decision != "denied" else "yellow"))
    return inspect_agent(one.folder.path, workspace)


def print_left(one: Inspected, chosen: str | None) -> None:
    """Say what there is to do next, once something was decided: for an agent, or the swarm for which it works."""
    everybody = Everybody(inspect_workspace(open_workspace(chosen), bring_in=False), chosen)
    one = everybody.again(one)
    whole = everybody.whole_of(one)
    left = [(each, call) for each in everybody.waiting_in(whole) for call in _pending(each)]
    to = console()
    if left:
        say(to, f"{plural(len(left), 'call')} more {'waits' if len(left) == 1 else 'wait'} for you:")
        for each, call in left:
            _print_call(to, each, call, everybody, chosen)
    else:
        to.print(Text(f"Go on with:  {everybody.go_on(one)}", "dim"), soft_wrap=True)


def whole_of(one: Inspected, chosen: str | None) -> Inspected:
    """What goes on with the run of an agent: the outermost swarm for which it works, or the agent itself."""
    everybody = Everybody(inspect_workspace(open_workspace(chosen), bring_in=False), chosen)
    return everybody.whole_of(everybody.again(one))


def _member_meant(
    decision: Decided, swarm: Inspected, call_id: str, everybody: Everybody, chosen: str | None
) -> Inspected:
    """The one who waits in the run of a swarm; where several could be meant, the commands that name each."""
    waiting, who = everybody.waiting_in(swarm), f"swarm {swarm.folder.name!r}"
    if not waiting:
        raise Refusal(f"no call of {who} waits for a person, and none of its members'", code=FAILED)
    calls = [(one, call) for one in waiting for call in _pending(one)]
    named = [(one, call) for one, call in calls if not call_id or call.call_id == call_id]
    if not named:
        told = _listed([call for _, call in calls])
        raise Refusal(f"no call {call_id!r} of {who} waits for a person; {told}", code=FAILED)
    fitting = [(one, call) for one, call in named if call.kind in _FITTING[decision]] or named
    if len({id(one) for one, _ in fitting}) > 1:
        ways = [
            f"{_decision(decision, one, call, everybody, chosen)}  ({question_of(call)})"
            for one, call in fitting
        ]
        raise Refusal(f"several members of {who} wait for a person; name one:", *ways)
    return fitting[0][0]


def _decision(
    decision: Decided, one: Inspected, call: Pending, everybody: Everybody, chosen: str | None
) -> str:
    """The command that decides the call, with TEXT for the answer."""
    text = ("TEXT",) if decision == "answered" else ()
    call_id = shlex.quote(visible(call.call_id, lines=False))
    return command(_COMMAND[decision], everybody.words(one, (*text, call_id)), chosen=chosen)


def _choose(decision: Decided, one: Inspected, call_id: str) -> Pending:
    waiting, who = _pending(one), f"{one.what} {one.folder.name!r}"
    if not waiting:
        raise Refusal(f"no call of {who} waits for a person", code=FAILED)
    named = [call for call in waiting if not call_id or call.call_id == call_id]
    if not named:
        raise Refusal(f"no call {call_id!r} of {who} waits for a person; {_listed(waiting)}", code=FAILED)
    fitting = [call for call in named if call.kind in _FITTING[decision]]
    if not fitting:
        raise Refusal(
            f"{_COMMAND[decision]} does not fit what {who} waits for; {_listed(named)}", code=FAILED
        )
    if len(fitting) > 1:
        raise Refusal(f"several calls of {who} wait for a person, name one; {_listed(fitting)}")
    return fitting[0]


def _listed(waiting: Sequence[Pending]) -> str:
    return "; ".join(f"{call.call_id}: {question_of(call)}" for call in waiting)


def question_of(call: Pending) -> str:
    """What is to be decided about a call, in words."""
    made = f"{call.tool}({_cut(call.arguments)})"
    if call.kind == "question":
        return f"{_cut(call.question or made)} (to be answered)"
    if call.kind == "approval":
        return f"{made} (to be approved or denied)"
    return f"{made} (had begun when its process died: what became of it?)"


def _pending(one: Inspected) -> list[Pending]:
    return one.state[1].pending if one.state is not None else []


def _print_call(to: Console, one: Inspected, call: Pending, everybody: Everybody, chosen: str | None) -> None:
    name = visible(one.folder.name, lines=False)
    since = f"  {ago(call.at, datetime.now(UTC))}" if call.at else ""
    held = f"  at work in process {one.held_by.pid}" if one.held_by else ""
    session = f"  session {visible(one.folder.session, lines=False)}" if one.folder.session else ""
    whole = everybody.whole_of(one)
    within = f"  in swarm {visible(whole.folder.name, lines=False)}" if whole is not one else ""
    call_id = visible(call.call_id, lines=False)
    to.print(
        Text.assemble((name, "bold"), f"  {call_id}", (f"{session}{within}{since}{held}", "dim")),
        soft_wrap=True,
    )
    print_indented(to, Text(visible(question_of(call)), "magenta"), indent=2)
    for decision in _COMMAND:
        if call.kind in _FITTING[decision]:
            way = _decision(decision, one, call, everybody, chosen)
            to.print(Text(f"  {way}", "dim"), soft_wrap=True)  # never broken: it is there to be copied


def _told(one: Inspected, call: Pending, everybody: Everybody) -> dict[str, Any]:
    whole = everybody.whole_of(one)
    return {
        "agent_name": one.folder.name,
        "session": one.folder.session,
        "swarm": whole.folder.name if whole is not one else None,
        **msgspec.structs.asdict(call),
        "held_by": msgspec.structs.asdict(one.held_by) if one.held_by else None,
    }


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
