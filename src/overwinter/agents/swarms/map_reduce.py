"""Many items, each done by a copy of one agent, and brought together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Unpack, cast

import msgspec

from overwinter.agents.swarms.answers import anyone, under_names
from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.checks import at_least_one
from overwinter.agents.swarms.drawing import END, START, node_of
from overwinter.agents.swarms.graph import Edge, Graph, Node
from overwinter.agents.swarms.member import Member
from overwinter.agents.swarms.options import OutputT
from overwinter.agents.swarms.portions import portions
from overwinter.errors import ConfigurationError, NobodyAnswered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from overwinter.agents.events import Event
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.results import MemberResult, SwarmResult
    from overwinter.agents.swarms.team import Team

__all__ = ["Copied", "MapReduce"]

#: What makes items of a task, sync or async.
Split: TypeAlias = Callable[[str], Iterable[str] | Awaitable[Iterable[str]]]
#: What makes the result of the texts that the items came to, in their order, sync or async.
Reduce: TypeAlias = Callable[[list[str]], str | Awaitable[str]]

REDUCE = """\
These are the results of {count} pieces of work{missing}. Bring them together into one.

{results}"""

REDUCE_PART = """\
These are some of the results of many pieces of work. Bring them together into one, which will be brought together \
with others like it.

{results}"""


class Copied(Member, Protocol):
    """A member of which there can be copies, such as an :class:`~overwinter.Agent`."""

    @property
    def session(self) -> str:
        """The session it was given."""
        ...

    @property
    def is_saved(self) -> bool:
        """Whether it is saved as things happen."""
        ...

    def in_session(self, session: str, *, autosave: bool | None = None) -> Member:
        """A new one like it, of another session, saved if ``autosave`` says so."""
        ...


class MapReduce(Swarm[OutputT]):
    """Each item of the task is done by a copy of ``mapper``, ``at_once`` of them at a time; ``reducer`` brings together
    what came of them.

    A copy is told its item as it is, knows nothing of the others, and is let go of when it is done. It is saved only if
    the agent it is a copy of was made with ``autosave=True``; otherwise the swarm's own journal keeps what came of each
    item, and one that was cut off begins anew. An item that is skipped is left out of what the reducer is given, which
    is told how many are missing; when all are skipped the run fails, and so it does when the reducer is.

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param mapper: an agent.
    :param reducer: an agent, or a function of the list of the texts, sync or async, whose result is recorded. Unless
        given, the result is a JSON list of the texts in the order of the items, with ``null`` for one that was skipped.
    :param split: makes items of the task, sync or async; they are recorded. Unless given, the task is a JSON list, or
        ``run`` is given a list of texts.
    :param at_once: how many items are done at the same time.
    :param reduce_chars: how many characters of results an agent that reduces is told at once. Where there are more,
        copies of it bring portions together first, and then what came of those; at least two results are a portion.
    :raises ConfigurationError: a setting cannot work; the message names it.
    """

    def __init__(
        self,
        name: str,
        mapper: Copied,
        reducer: Member | Reduce | None = None,
        split: Split | None = None,
        *,
        at_once: int = 100,
        reduce_chars: int = 100_000,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        for member in (mapper, reducer):
            if member is mapper or hasattr(member, "agent_name"):
                _check_copied(name, member)
        self._mapper = mapper
        self._reducer = cast("Copied", reducer) if hasattr(reducer, "agent_name") else None
        self._reduce = cast("Reduce", reducer) if self._reducer is None and reducer is not None else None
        if self._reduce is not None and not callable(self._reduce):
            raise ConfigurationError(f"reducer is an agent, a function or None, not {reducer!r}")
        self._split = split
        self._at_once = at_least_one("at_once", at_once)
        self._reduce_chars = at_least_one("reduce_chars", reduce_chars)
        members = [mapper] if self._reducer is None else [mapper, self._reducer]
        super().__init__(
            name, members, described={"at_once": at_once, "reduce_chars": reduce_chars}, **options
        )
        # Later on they may be saved because the swarm is, which says nothing of their copies.
        self._saved = [member for member in members if member.is_saved]

    async def run(
        self, task: str | Sequence[str], *, run_id: str | None = None, queue: bool = False
    ) -> SwarmResult[OutputT]:
        """Do *task*, a text or a list of items; see :meth:`Agent.run <overwinter.Agent.run>`."""
        return await super().run(_as_text(task), run_id=run_id, queue=queue)

    def run_sync(self, task: str | Sequence[str], *, queue: bool = False) -> SwarmResult[OutputT]:
        """:meth:`run` for a script without an event loop."""
        return super().run_sync(_as_text(task), queue=queue)

    def stream(
        self, task: str | Sequence[str], *, run_id: str | None = None, queue: bool = False
    ) -> AsyncGenerator[Event, None]:
        """:meth:`run`, as a stream of the events of the swarm and of all copies."""
        return super().stream(_as_text(task), run_id=run_id, queue=queue)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Split, map, reduce."""
        if self._split is None:
            items = _listed(task)
        else:
            items = await team.decide("split", lambda: self._split_up(task), list[str], thread=True)
        asks = self._asks(self._mapper, items, "map", team)
        results = await team.ask_all(asks, at_once=self._at_once, leave=True)
        team.progress(len(items), len(items))
        if results:
            anyone(self.agent_name, results)
        if self._reduce is not None:
            reduce, texts = self._reduce, [result.text for result in results if result.ok]
            return await team.decide("reduce", lambda: reduce(texts), str, thread=True)
        if self._reducer is None:
            return msgspec.json.encode([result.text if result.ok else None for result in results]).decode()
        if not results:
            raise ConfigurationError(
                f"swarm {self.agent_name!r} has no items, and so its reducer has nothing to reduce"
            )
        return await self._bring_together(self._reducer, results, team)

    @property
    def copied(self) -> tuple[Member, ...]:
        """The mapper, of which each item has a copy."""
        return (self._mapper,)

    def graph(self) -> Graph:
        """The mapper between the task and what reduces."""
        mapper = node_of(self._mapper)
        start = Edge(START.id, mapper.id, f"each item, {self._at_once} at once")
        if self._reducer is not None:
            end = node_of(self._reducer)
        else:
            what = "JSON list" if self._reduce is None else getattr(self._reduce, "__name__", "function")
            end = Node("reduce", what, "function")
        return Graph((START, mapper, end, END), (start, Edge(mapper.id, end.id), Edge(end.id, END.id)))

    def _asks(
        self, member: Copied, tasks: Sequence[str], stage: str, team: Team
    ) -> Iterator[tuple[Member, str, str]]:
        # The run's id is in it, for a copy of an earlier run would remember that one.
        session = "/".join(filter(None, (member.session, self.agent_name, self.session, team.run_id)))
        for number, task in enumerate(tasks, 1):
            # Each who takes one after the first at_once has just finished one.
            if stage == "map" and number > self._at_once:
                team.progress(number - self._at_once, len(tasks))
            key = f"{stage}/{number:05d}"
            if team.is_done(key):
                yield member, task, key
            else:
                yield member.in_session(f"{session}/{key}", autosave=member in self._saved), task, key

    def _split_up(self, task: str) -> list[str] | Awaitable[list[str]]:
        assert self._split is not None
        items = self._split(task)
        return _awaited(items) if isawaitable(items) else list(items)

    async def _bring_together(self, reducer: Copied, results: Sequence[MemberResult], team: Team) -> str:
        texts = [result.text for result in results if result.ok]
        count, missing = len(texts), len(results) - len(texts)
        level = 0
        while len(parts := portions(texts, self._reduce_chars)) > 1:
            level += 1
            told = [REDUCE_PART.format(results=_numbered(part)) for part in parts]
            asks = self._asks(reducer, told, f"reduce-{level}", team)
            reduced = await team.ask_all(asks, at_once=self._at_once, leave=True)
            texts = [self._reduced(result) for result in reduced]
        lacking = f" ({missing} more failed, and are missing here)" if missing else ""
        last = REDUCE.format(count=count, missing=lacking, results=_numbered(texts))
        return self._reduced(await team.ask(reducer, last, key="reduce"))

    def _reduced(self, result: MemberResult) -> str:
        if not result.ok:
            raise NobodyAnswered(self.agent_name, {result.member: result.error})
        return result.text


def _check_copied(swarm: str, member: Any) -> None:
    if not callable(getattr(member, "in_session", None)):
        raise ConfigurationError(
            f"swarm {swarm!r} works with copies of {getattr(member, 'agent_name', member)!r}, which has no "
            "in_session() to make them; give an Agent"
        )


def _as_text(task: str | Sequence[str]) -> str:
    if isinstance(task, str):
        return task
    try:
        return msgspec.json.encode(list(task)).decode()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the items cannot be stored: {error}") from error


def _listed(task: str) -> list[str]:
    try:
        items = msgspec.json.decode(task, type=list[Any])
    except msgspec.MsgspecError as error:
        raise ConfigurationError(
            f"the task is no JSON list ({error}); run it with a list of texts, or give split=, which makes items of it"
        ) from error
    return [item if isinstance(item, str) else msgspec.json.encode(item).decode() for item in items]


def _numbered(texts: Sequence[str]) -> str:
    return under_names((str(number), text) for number, text in enumerate(texts, 1))


async def _awaited(items: Awaitable[Iterable[str]]) -> list[str]:
    return list(await items)
