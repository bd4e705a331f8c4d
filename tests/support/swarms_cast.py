"""Members of swarms whose answers depend on what they are asked alone, and who tell a ledger of their own all they do.

An answer has its request's key in it, ``reply:{key}:{key}``, so that whoever reads it later, on disk or in another
member's task, knows which call of a model it came from.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from tests.support.ledger import Entry

from overwinter import Agent, Message, ModelReply, NothingToResume, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from tests.support.ledger import Ledger

    from overwinter import ModelRequest

__all__ = ["KEYS", "Answer", "Cast", "Foreigner", "Notebook", "key_of"]

KEYS = re.compile(r"\breply:(\w+):")

#: What a model says: of what it is shown, and of the mark that its answer has to bear.
Answer: TypeAlias = "Callable[[Sequence[Message], str], str | Message]"


def key_of(*what: object) -> str:
    """The same for the same things in every process."""
    return hashlib.sha1(msgspec.json.encode(what)).hexdigest()[:16]


def mark(key: str) -> str:
    return f"reply:{key}:{key}"


class Notebook:
    """A ledger in memory, for members that nobody kills."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, entry: Entry) -> None:
        self.entries.append(entry)


class Cast:
    """Makes members and functions that tell ``ledger`` what they do, and say which answers they were shown.

    :param session: of the agents, so that several casts can be in one workspace.
    :param slowness: seconds that each takes, at most.
    :param shows: called with the keys of the answers that a model is shown.
    """

    def __init__(
        self,
        ledger: Ledger | Notebook,
        *,
        session: str = "",
        slowness: float = 0.0,
        shows: Callable[[list[str]], object] = list,
    ) -> None:
        self.shows = shows
        self._ledger = ledger
        self._session = session
        self._slowness = slowness
        self._members: set[str] = set()

    def agent(self, name: str, answer: Answer | None = None, **settings: Any) -> Agent[str]:
        """An agent of one step, unless it has tools."""
        self._members.add(name)
        settings.setdefault("agent_description", f"the one who is called {name}")
        return Agent(name, session=self._session, model=_Model(name, self, answer or _says), **settings)

    def foreigner(self, name: str) -> Foreigner:
        """A member that is neither agent nor swarm, and keeps nothing."""
        self._members.add(name)
        return Foreigner(name, self)

    async def tells(self, who: str, *asked: object) -> str:
        """Tell the ledger that *who* is asked that, take some time, and tell that it answers; the answer's key."""
        key = key_of(self._session, who, *asked)
        self._ledger.write(Entry("asked", who, key, key))
        if who in self._members:
            await self.comes_to(who, asked)
        await asyncio.sleep(random.random() * self._slowness)
        self._ledger.write(Entry("answered", who, key, key))
        return key

    async def comes_to(self, who: str, asked: Sequence[object]) -> None:
        """What becomes of the member *who* when it is asked that; for casts in which somebody fails."""

    def human(self, name: str = "person") -> Callable[[str], Any]:
        """An async function of a text whose answer bears a mark."""

        async def answers(shown: str) -> str:
            return f"{name} says {mark(await self.tells(name, shown))}"

        return answers

    def joins(self, name: str) -> Callable[..., str]:
        """A sync function of any texts whose answer bears a mark."""

        def join(*shown: Any) -> str:
            key = key_of(self._session, name, shown)
            for kind in ("asked", "answered"):
                self._ledger.write(Entry(kind, name, key, key))
            return f"{name} joins {mark(key)}"

        join.__name__ = name
        return join

    def splits(self, count: int) -> Callable[[str], list[str]]:
        """A sync function that makes items of a task."""
        join = self.joins("split")

        def split(task: str) -> list[str]:
            made = join(task)
            return [f"item {number} of {task}: {made}" for number in range(1, count + 1)]

        return split

    def condition(self, name: str, holds: Callable[[str], bool]) -> Callable[[str], bool]:
        """A sync condition on a text. Its answer bears no mark: the ledger has it as ``began``."""

        def check(text: str) -> bool:
            self._ledger.write(Entry("began", name, key_of(self._session, name, text), ""))
            return holds(text)

        check.__name__ = name
        return check


class _Model:
    """Answers by what it is shown, in whatever process."""

    price = None

    def __init__(self, agent: str, cast: Cast, answer: Answer) -> None:
        self.name = "cast"
        self._agent = agent
        self._cast = cast
        self._answer = answer

    async def prepare(self) -> None:
        pass

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        shown = [
            (each.role, each.content, [(call.name, call.arguments) for call in each.tool_calls])
            for each in request.messages
        ]
        self._cast.shows(list(dict.fromkeys(key for _, text, _ in shown for key in KEYS.findall(text))))
        key = await self._cast.tells(self._agent, shown)
        said = self._answer(request.messages, mark(key))
        message = said if isinstance(said, Message) else Message(role="assistant", content=said)
        if on_text is not None:
            on_text(message.content)
        return ModelReply(message, Usage(calls=1, input_tokens=len(shown), output_tokens=1, cost=0.001))


def _says(_: Sequence[Message], marked: str) -> str:
    return f"so it is: {marked}"


class Foreigner:
    """A member of one's own: it remembers nothing, so that only its swarm can know what it has done."""

    def __init__(self, name: str, cast: Cast) -> None:
        self.agent_name = name
        self._cast = cast

    async def run(self, task: str) -> str:
        return f"{self.agent_name} thinks {mark(await self._cast.tells(self.agent_name, task))}"

    async def stream(self, task: str) -> AsyncGenerator[Any, None]:
        yield await self.run(task)

    async def resume(self) -> str:
        raise NothingToResume(f"{self.agent_name} keeps nothing")

    async def save(self) -> None:
        pass
