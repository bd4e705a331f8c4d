"""``overwinter run``: a swarm that a file describes does a task."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from rich.text import Text

from overwinter.agents.runtime import Runtime
from overwinter.agents.signals import run_to_end
from overwinter.cli.addressing import command
from overwinter.cli.boards import board_lines
from overwinter.cli.inspection import Inspected, bring_in_logs, inspect_agent
from overwinter.cli.notices import notices
from overwinter.cli.refusal import BAD_INPUT, FAILED, INTERRUPTED, Refusal, os_reason
from overwinter.cli.rendering import complain, console, visible, warn
from overwinter.cli.run_board import RunBoard, Teller
from overwinter.cli.run_outcome import tell_outcome
from overwinter.cli.scripts.building import build
from overwinter.cli.scripts.reading import read_again, read_script
from overwinter.cli.tree import draws_lines
from overwinter.errors import OverwinterError, UnfinishedRun
from overwinter.persistence import Workspace

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from overwinter.agents.rates import RateLimit
    from overwinter.agents.results import RunResult
    from overwinter.agents.swarms.base import Swarm
    from overwinter.cli.scripts.description import Script

__all__ = ["Wanted", "run_script"]

_UNFINISHED = ("interrupted", "failed", "paused")


class Wanted(Struct, frozen=True, kw_only=True):
    """What the command line asks for beside the file."""

    task: str | None = None
    task_file: Path | None = None
    run_id: str | None = None
    resume: bool = False
    model: str | None = None
    as_data: bool = False


def run_script(file: Path, wanted: Wanted, chosen: str | None) -> int:
    """Let the swarm of *file* do its task, or go on with what was cut off. Returns the exit code.

    :raises Refusal: the file is wrong, in its lines; there is no task, or nothing to go on with.
    """
    script = _read(file, wanted.model)
    swarm = build(script)
    workspace = Workspace(chosen)
    task = _task(script, wanted)
    earlier = _look(swarm, workspace) if script.autosave else None
    model = () if wanted.model is None else ("--model", shlex.quote(visible(wanted.model, lines=False)))
    again = command("run", shlex.quote(visible(str(file), lines=False)), *model, chosen=chosen)
    resumes = _goes_on(swarm, earlier, task, wanted, again)
    if not resumes and task is None:
        raise Refusal(f'there is no task: give one with --task, or as task = "..." under [swarm] of {file}')
    run = _Run(swarm, workspace, task or "", wanted.run_id, resumes=resumes, rate_limits=script.rate_limits)
    began = time.monotonic()
    try:
        with notices(warn, instead=_UnfinishedRuns(again)), _shown(run, wanted):
            run_to_end(run.work, hint="use the library instead")
    except KeyboardInterrupt:
        saved = "all is saved, and the same command goes on" if script.autosave else "nothing was to be saved"
        complain(f"interrupted; {saved}")
        raise Refusal(code=INTERRUPTED) from None
    return tell_outcome(
        swarm,
        run.result,
        run.error,
        again=again if script.autosave and (not run.error or _can_go_on(run, earlier, workspace)) else "",
        chosen=chosen,
        seconds=time.monotonic() - began,
        as_data=wanted.as_data,
    )


def _can_go_on(run: _Run, earlier: Inspected | None, workspace: Workspace) -> bool:
    """Whether there is anything to go on with of a run that ended with an error: it was not refused before it began."""
    now = _look(run.swarm, workspace)
    if now is None or now.status not in _UNFINISHED:
        return False
    return run.resumes or _run_of(now) != (_run_of(earlier) if earlier is not None else "")


def _run_of(one: Inspected) -> str:
    """The id of the last run."""
    run = one.state[1].run if one.state is not None else None
    return run.run_id if run is not None else ""


class _Run:
    """One run of the swarm on a runtime of its own."""

    def __init__(
        self,
        swarm: Swarm[Any],
        workspace: Workspace,
        task: str,
        run_id: str | None,
        *,
        resumes: bool,
        rate_limits: Mapping[str, RateLimit],
    ) -> None:
        self.swarm = swarm
        self.resumes = resumes
        self.board: RunBoard | None = None
        self.result: RunResult[Any] | None = None
        self.error = ""
        self._workspace = workspace
        self._task = task
        self._run_id = run_id
        self._rate_limits = rate_limits

    async def work(self) -> None:
        """Do the task, or finish what was cut off."""
        async with Runtime(self._workspace.root, rate_limits=self._rate_limits) as runtime:
            if self.board is not None:
                runtime.watch(self.board.take)
            await runtime.spawn(self.swarm)
            try:
                if self.resumes:
                    self.result = await self.swarm.resume()
                else:
                    self.result = await self.swarm.run(self._task, run_id=self._run_id)
            except OverwinterError as error:
                self.error = str(error)
            except Exception as error:  # noqa: BLE001 - what a member raised is told, not thrown about
                self.error = f"{type(error).__name__}: {error}"


def _read(file: Path, model: str | None) -> Script:
    if file.suffix == ".py":
        raise Refusal(f"{file} is a program: start it with python; overwinter run takes a file in TOML")
    script = read_script(file)
    if model is None:
        return script
    # Everybody uses it: what the agents have of their own goes.
    data = dict(script.data)
    data["defaults"] = {**data.get("defaults", {}), "model": model}
    data["agents"] = [{key: each[key] for key in each if key != "model"} for each in data.get("agents", ())]
    return read_again(data, str(file))


def _task(script: Script, wanted: Wanted) -> str | None:
    if wanted.task is not None and wanted.task_file is not None:
        raise Refusal("give either --task or --task-file")
    if wanted.task_file is None:
        return wanted.task if wanted.task is not None else script.task
    try:
        if str(wanted.task_file) == "-":
            return sys.stdin.read()
        return wanted.task_file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refusal(f"{wanted.task_file} cannot be read: {os_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise Refusal(f"{wanted.task_file} is no text in UTF-8") from error


def _look(swarm: Swarm[Any], workspace: Workspace) -> Inspected | None:
    """What stands of the swarm in the workspace, if anything does."""
    if not workspace.root.is_dir():
        return None
    bring_in_logs(workspace, warn)
    folder = workspace.folder(swarm.agent_name, swarm.agent_id, "swarms", session=swarm.session)
    found = inspect_agent(folder.path, workspace) if folder.identity_path.exists() else None
    return found if found is not None and found.folder.agent_id == swarm.agent_id else None


def _goes_on(
    swarm: Swarm[Any], earlier: Inspected | None, task: str | None, wanted: Wanted, again: str
) -> bool:
    """Whether a run that was cut off is to be finished, in place of a new one."""
    name = swarm.agent_name
    if earlier is not None and earlier.held_by is not None:
        held = earlier.held_by
        raise Refusal(f"swarm {name!r} is at work in process {held.pid} on {held.host}", code=FAILED)
    body = earlier.state[1] if earlier is not None and earlier.state is not None else None
    run = body.run if body is not None else None
    cut_off = earlier is not None and run is not None and earlier.status in _UNFINISHED
    if wanted.resume:
        if not cut_off and not (body is not None and body.accepted):
            raise Refusal(f"swarm {name!r} has nothing to resume", code=FAILED)
        if wanted.task is not None or wanted.task_file is not None or wanted.run_id is not None:
            raise Refusal(
                "--resume goes on with the task there was; leave --task and --run-id out", code=BAD_INPUT
            )
        return True
    if not cut_off or run is None:
        return False
    if wanted.run_id not in (None, run.run_id):
        return False
    if task is None:
        raise Refusal(f"the last run of swarm {name!r} was cut off: {again} --resume goes on with it")
    if task == run.task:
        warn(f"swarm {name!r} goes on with run {run.run_id}, which is {earlier.status if earlier else ''}")
        return True
    return False


class _UnfinishedRuns:
    """Says once, in the words of this command, that a run was left unfinished; members are parts of it."""

    def __init__(self, again: str) -> None:
        self._again = again
        self._said = False

    def __call__(self, told: Warning | str) -> bool:
        if not isinstance(told, UnfinishedRun):
            return False
        if not self._said:
            self._said = True
            warn(f"its last run was cut off, with another task; {self._again} --resume goes on with that one")
        return True


@contextmanager
def _shown(run: _Run, wanted: Wanted) -> Generator[None]:
    """Show how the swarm is getting on: a table that changes on a terminal, and lines elsewhere."""
    to = console(stderr=True)
    if wanted.as_data:
        yield
    elif to.is_terminal and not to.is_dumb_terminal:
        from rich.console import Group
        from rich.live import Live

        board = run.board = RunBoard(run.swarm, lambda _: None, lines=draws_lines(to))

        def table() -> Group:
            return Group(*board_lines(board.rows(), to.width, to.height - 1, columns=()))

        with Live(
            get_renderable=table, console=to, refresh_per_second=8, transient=True, redirect_stdout=False
        ):
            yield
        to.print(table(), soft_wrap=True)
        to.print()
    else:
        teller = Teller(lambda sentence: to.print(Text(sentence), soft_wrap=True))
        run.board = RunBoard(run.swarm, teller.say, lines=False)
        try:
            yield
        finally:
            teller.close()
