"""The commands that let agents and swarms work: ``demo``, ``run``, ``resume``, ``fork``."""

# ruff: noqa: TC001  (typer looks at the annotations when the command is called)
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overwinter.cli.options import (
    FromOption,
    JsonOption,
    MaxLoopsOption,
    NameArgument,
    SessionOption,
    WorkspaceOption,
)
from overwinter.cli.refusal import Refusal, told_plainly

if TYPE_CHECKING:
    from typer import Typer

__all__ = ["add_to"]


def add_to(app: Typer) -> None:
    """Make these commands of *app*."""
    app.command("demo")(_demo)
    app.command("run")(_run)
    app.command("resume")(_resume)
    app.command("fork")(_fork)


def _demo(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", help="Text files to read; by default six essays that come with it."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A model by its litellm name, such as gpt-4o-mini; by default the offline one, which is built in.",
            show_default=False,
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the report goes.")] = Path(
        "overwinter_report.md"
    ),
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, help="How many readers work at once.")] = 4,
    kill: Annotated[
        bool, typer.Option("--kill/--no-kill", help="Whether the plug is pulled in the middle.")
    ] = True,
) -> None:
    """A swarm reads documents, is killed with kill -9 in the middle, goes on, and writes a report.

    One agent reads each document, and an editor writes of them all. They work in a process of their own; while a tool
    is in flight it is killed and started again. A ledger, which the model and the tools keep by themselves, shows at
    the end that nothing recorded was lost or repeated.

    Exit code: 0 when the report is written and the ledger agrees, 1 when not, 2 for wrong usage.
    """
    from overwinter.cli.demo.command import run_demo

    with told_plainly():
        code = run_demo(
            files or [], model=model, workspace=workspace, out=out, concurrency=concurrency, kill=kill
        )
    raise typer.Exit(code)


def _run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The description of a swarm, in TOML.")],
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", metavar="TEXT", help="What is to be done.", show_default=False),
    ] = None,
    task_file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The file that says so; - for standard input.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was cut off.")] = False,
    run_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="A name of your own for the run: what has finished under it is not done again.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="One model for all agents. offline, which is built in, tries the file out: its answers are sentences "
            "of what it was sent, and it can make neither a director's plan nor a router's choice.",
            show_default=False,
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a swarm do a task that is described in a file: its agents, its pattern, what becomes of failures.

    How it is getting on is told on standard error, and the result on standard output. Cut off, by Ctrl-C, kill -9 or a
    failing model, it is finished by the same command with the same task, or with --resume: at its last step, and
    nothing recorded twice. What a file may say stands in docs/swarm-files.md; no code of it is ever run.

    Exit code: 0 when the run finished, 3 when it is paused (at a limit, or for a person), 1 when it failed, 2 for wrong
    usage or a wrong file, 130 after Ctrl-C.
    """
    from overwinter.cli.running import Wanted, run_script

    with told_plainly():
        wanted = Wanted(
            task=task, task_file=task_file, run_id=run_id, resume=resume, model=model, as_data=as_json
        )
        code = run_script(file, wanted, workspace)
    raise typer.Exit(code)


def _resume(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The agent or swarm; or give --all.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everybody who was cut off, at once.")] = False,
    source: FromOption = None,
    max_loops: MaxLoopsOption = None,
    budget_cost: Annotated[
        float | None, typer.Option(metavar="USD", help="What the run may cost in all.", show_default=False)
    ] = None,
    budget_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens the run may use in all.", show_default=False)
    ] = None,
    budget_seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds the run may be at work.", show_default=False),
    ] = None,
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Finish a run that was cut off, paused at a limit, or failed: at its last step, and nothing recorded twice.

    An agent without tools of its own, or a swarm that a file described, is made from its config.json; keys come from
    the environment. Any other needs its program: name it with --from. Nothing that a state file says is ever imported.

    With --all everything goes on that was interrupted, has failed, or whose person has answered; what was paused at a
    limit does when a higher one is given.

    Exit code: 0 when all finished, 3 when some are paused (at a limit, or for a person), 1 when one failed or could not
    be resumed, 2 for wrong usage.
    """
    from overwinter.cli.resuming import Limits, resume_agent, resume_all

    with told_plainly():
        if everything == (name is not None):
            raise Refusal("give either the NAME of an agent or --all")
        limits = Limits(max_loops=max_loops, cost=budget_cost, tokens=budget_tokens, seconds=budget_seconds)
        if name is None:
            code = resume_all(workspace, source=source, limits=limits, as_data=as_json)
        else:
            code = resume_agent(
                name, workspace, session=session, source=source, limits=limits, as_data=as_json
            )
    raise typer.Exit(code)


def _fork(
    name: NameArgument,
    new_name: Annotated[str, typer.Option("--name", metavar="NEW", help="What the new agent is called.")],
    at: Annotated[
        int | None,
        typer.Option(
            "--at", metavar="STEP", min=1, help="The step; by default the last.", show_default=False
        ),
    ] = None,
    new_session: Annotated[
        str, typer.Option("--new-session", metavar="S", help="The new agent's session.", show_default=False)
    ] = "",
    workspace: WorkspaceOption = None,
    session: SessionOption = None,
) -> None:
    """Make a new agent that begins with what another knew at a step.

    It has the other's settings, and a folder of its own. The other one goes on as if nothing had happened.
    """
    from overwinter.cli.forking import fork_agent

    with told_plainly():
        fork_agent(name, at, new_name, workspace, session=session, new_session=new_session)
