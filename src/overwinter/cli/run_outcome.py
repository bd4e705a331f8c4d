"""What came of a swarm that was run: its result for programs, and words about it for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from overwinter.cli.addressing import command
from overwinter.cli.listing import as_json
from overwinter.cli.refusal import FAILED
from overwinter.cli.rendering import complain, console, money, number, plural, say, visible, warn
from overwinter.cli.resuming import PAUSED

if TYPE_CHECKING:
    from rich.console import Console

    from overwinter.agents.results import RunResult
    from overwinter.agents.swarms.base import Swarm

__all__ = ["tell_outcome"]


def tell_outcome(
    swarm: Swarm[Any],
    result: RunResult[Any] | None,
    error: str,
    *,
    again: str,
    chosen: str | None,
    seconds: float,
    as_data: bool,
) -> int:
    """Print what came of a run: its result, or the *error* with which it ended. Returns the exit code.

    :param again: the command that goes on with it, empty where nothing was saved or there is nothing to go on with.
    :param chosen: the workspace that was named on the command line.
    :param seconds: how long it took.
    """
    to = console(stderr=True)
    if as_data:
        console().file.write(as_json(_as_data(swarm, result, error)))
    if result is None:
        complain(error)
        if again:
            say(to, Text(f"All that was done is saved; go on with:  {again} --resume", "dim"))
        return FAILED
    if not as_data:
        _tell_result(swarm, result, again, command("pending", chosen=chosen), seconds, to)
    return 0 if result.status == "finished" else PAUSED


def _tell_result(
    swarm: Swarm[Any], result: RunResult[Any], again: str, pending: str, seconds: float, to: Console
) -> None:
    usage, failed = result.usage, getattr(result, "failed", ())
    parts = [
        plural(result.loop_count, "piece of work", "pieces of work"),
        f"{number(usage.total_tokens)} tokens",
    ]
    parts += [money(usage.cost), f"{seconds:.1f} s"]
    say(to, Text(f"{visible(swarm.agent_name, lines=False)} {result.status}: {', '.join(parts)}", "dim"))
    for work in failed:
        warn(f"{work.member} failed at {work.key} and was done without: {work.error}")
    if result.status == "finished":
        console().print(Text(visible(result.text)), soft_wrap=True)
    elif not again:
        say(to, f"It is paused ({result.stop_reason}), and nothing of it was saved (autosave = false)")
    elif result.pending:
        say(to, f"It waits for a person: {pending} lists what for; then {again} --resume")
    else:
        limit = result.stop_reason
        raised = f"at the limit {limit}: raise that in the file, and" if limit != "pause" else "and can"
        say(to, f"It is paused {raised} go on with:  {again} --resume")


def _as_data(swarm: Swarm[Any], result: RunResult[Any] | None, error: str) -> dict[str, Any]:
    members = getattr(result, "members", ())
    return {
        "swarm": swarm.agent_name,
        "folder": str(swarm.workspace_dir),
        "status": result.status if result is not None else "failed",
        "stop_reason": result.stop_reason if result is not None else "",
        "error": error,
        "run_id": result.run_id if result is not None else "",
        "text": result.text if result is not None else "",
        "usage": msgspec.to_builtins(result.usage) if result is not None else None,
        "members": [
            {
                "key": work.key,
                "member": work.member,
                "by": work.by,
                "status": work.status,
                "text": work.text,
                "error": work.error,
                "attempts": work.attempts,
                "seconds": work.seconds,
                "usage": msgspec.to_builtins(work.usage),
            }
            for work in members
        ],
    }
