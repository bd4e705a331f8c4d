"""The commands of the person in the loop: ``pending``, ``approve``, ``deny``, ``answer``."""

# ruff: noqa: TC001  (typer looks at the annotations when the command is called)
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from overwinter.cli.options import FromOption, JsonOption, NameArgument, SessionOption, WorkspaceOption
from overwinter.cli.refusal import told_plainly

if TYPE_CHECKING:
    from typer import Typer

    from overwinter.cli.people import Decided

__all__ = ["add_to"]

CallArgument = Annotated[
    str,
    typer.Argument(
        metavar="[CALL_ID]", help="Which call; not needed where only one waits.", show_default=False
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the run at once, with the whole swarm's.")
]


def add_to(app: Typer) -> None:
    """Make these commands of *app*."""
    app.command("pending")(_pending)
    app.command("approve")(_approve)
    app.command("deny")(_deny)
    app.command("answer")(_answer)


def _pending(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List every call of a workspace that waits for a person."""
    from overwinter.cli.people import list_pending

    with told_plainly():
        list_pending(workspace, as_data=as_json)


def _approve(
    name: NameArgument,
    call_id: CallArgument = "",
    resume: ResumeOption = False,
    source: FromOption = None,
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
) -> None:
    """Let a call run that waits for a person's word: an agent's, or that of a swarm's member, however deep.

    Of a call that had begun when its process died, it says that it did not happen and is to run now.
    """
    _decide("approved", name, call_id, "", resume, source, workspace, session)


def _deny(
    name: NameArgument,
    call_id: CallArgument = "",
    reason: Annotated[
        str,
        typer.Option("--reason", "-r", metavar="TEXT", help="Why; the model is told.", show_default=False),
    ] = "",
    resume: ResumeOption = False,
    source: FromOption = None,
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
) -> None:
    """Forbid a call that waits for a person's word: it does not run, and the model is told so.

    NAME is the agent's whose call it is, or the swarm's in whose run one of its members waits.
    """
    _decide("denied", name, call_id, reason, resume, source, workspace, session)


def _answer(
    name: NameArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The answer.")],
    call_id: CallArgument = "",
    resume: ResumeOption = False,
    source: FromOption = None,
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
) -> None:
    """Answer a question that an agent asked, or a member of a swarm, however deep.

    Of a call that had begun when its process died, it says that it did happen, and what came of it.
    """
    _decide("answered", name, call_id, text, resume, source, workspace, session)


def _decide(
    decision: Decided,
    name: str,
    call_id: str,
    text: str,
    resume: bool,
    source: str | None,
    workspace: str | None,
    session: str | None,
) -> None:
    from overwinter.cli.people import decide, print_left, whole_of

    with told_plainly():
        one = decide(decision, name, call_id, text, workspace, session=session)
        if not resume:
            print_left(one, workspace)
            return
        from overwinter.cli.resuming import Limits, resume_agent

        whole = whole_of(one, workspace).folder
        code = resume_agent(
            whole.path.name, workspace, session=whole.session, source=source, limits=Limits(), as_data=False
        )
    raise typer.Exit(code)
