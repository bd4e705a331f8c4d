"""A run as a stream of its events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from overwinter.agents.events import RunEnded, RunStarted
from overwinter.agents.results import RunResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from overwinter.agents.events import Event

__all__ = ["stream_events"]


async def stream_events(
    run: Callable[[], Coroutine[Any, Any, object]],
    watch: Callable[[Callable[[Event], None]], Callable[[], None]],
    run_id: str,
) -> AsyncGenerator[Event, None]:
    """Yield the events of one run as they happen, and raise what the run raises.

    Without ``run_id`` it is the run that starts next. The events of the runs that are part of it come along.

    Closing the generator early, or cancelling whoever iterates, cancels the run and waits until it is saved.
    """
    queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(event: Event) -> None:
        nonlocal run_id
        if not run_id and isinstance(event, RunStarted):
            run_id = event.run_id
        if run_id and (event.run_id == run_id or event.run_id.startswith(f"{run_id}:")):
            queue.put_nowait(event)

    unwatch = watch(put)
    task = asyncio.create_task(run())
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (event := await queue.get()) is not None:
            yield event
            if isinstance(event, RunEnded) and event.run_id == run_id:
                break
        result: Any = await task
        if event is None and isinstance(result, RunResult):
            # It had ended before, and there was nothing to see of it.
            yield _ended(result)  # pyright: ignore[reportUnknownArgumentType]
    finally:
        unwatch()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # it was raised above, or nobody is left to raise it to


def _ended(result: RunResult[Any]) -> RunEnded:
    return RunEnded(
        agent_name=result.agent_name,
        run_id=result.run_id,
        loop=result.loop_count,
        status=result.status,
        stop_reason=result.stop_reason,
        result=result,
    )
