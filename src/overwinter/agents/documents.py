"""The two files of an agent, made from what it is and what it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from overwinter._version import __version__
from overwinter.agents.records import StateBody
from overwinter.persistence.codec import encode, encode_checked, pretty
from overwinter.persistence.document import SCHEMA_VERSION, Metadata
from overwinter.persistence.fragments import Fragments
from overwinter.persistence.messages import ReplaceDocument
from overwinter.persistence.names import storable_name

if TYPE_CHECKING:
    from datetime import datetime

    from overwinter.agents.profile import Profile
    from overwinter.agents.state import AgentState
    from overwinter.persistence import AgentFolder
    from overwinter.runtime import Clock

__all__ = ["ENCODED_A_SECOND", "ENCODED_A_TURN", "Documents", "EncodedLists", "metadata_of", "state_members"]

#: How many elements are encoded in a turn of the loop, of all agents together: about a millisecond's work.
ENCODED_A_TURN = 48
#: How many at least in a second: a sixth of the loop's time, and as many as a thousand agents at work come to say.
ENCODED_A_SECOND = 10_000


class Documents:
    """Makes ``config.json`` and the state file of one agent.

    Both carry the sequence of the last record that is folded into them. What was encoded of the conversation, the
    tool results and the list of runs is kept in ``lists``, so a document costs what is new since the last.
    """

    def __init__(
        self,
        profile: Profile[Any],
        state: AgentState,
        folder: AgentFolder,
        clock: Clock,
        lists: EncodedLists,
    ) -> None:
        self._profile = profile
        self._state = state
        self._folder = folder
        self._clock = clock
        self._lists = lists

    def config(self) -> ReplaceDocument:
        """Every setting, and how far the run is."""
        members = _members({"loop_count": self._state.loop_count}) + b",\n" + self._profile.members + b"\n"
        return ReplaceDocument(
            path=str(self._folder.config_path), metadata=self._metadata(), members=(members,)
        )

    def state(self) -> ReplaceDocument:
        """Everything: the configuration, and all that the agent knows.

        :raises SaveRejected: something in it cannot be stored; ``field`` names it.
        """
        return ReplaceDocument(
            path=str(self._folder.state_path),
            metadata=self._metadata(),
            members=state_members(self._state, self._profile.encoded, self._lists),
            keep_previous=True,
            checksum=True,
        )

    @property
    def unencoded(self) -> int:
        """How many elements of the lists are new."""
        return self._lists.missing(self._state)

    def encode_some(self, most: int) -> None:
        """Encode so many of them at most.

        :raises SaveRejected: something in it cannot be stored; ``field`` names it.
        """
        self._lists.update(self._state, most=most)

    def rest(self) -> None:
        """Let go of what is quickly made again: for now nothing is to be saved."""
        self._profile.rest()

    def _metadata(self) -> Metadata:
        return metadata_of(self._state, self._profile.agent_id, self._profile.name, self._clock.now())


def metadata_of(state: AgentState, agent_id: str, agent_name: str, now: datetime) -> Metadata:
    """What a document of that state says of itself."""
    return Metadata(
        timestamp=now.isoformat(),
        loop_count=state.loop_count,
        agent_id=storable_name(agent_id),
        agent_name=storable_name(agent_name),
        run_id=state.run_id,
        status=state.status,
        sequence=state.sequence,
        schema_version=SCHEMA_VERSION,
        overwinter_version=__version__,
    )


def state_members(state: AgentState, agent: bytes, lists: EncodedLists) -> tuple[bytes, ...]:
    """The members of a state's document; *agent* is the configuration, encoded.

    :raises SaveRejected: something in it cannot be stored; ``field`` names it.
    """
    head = _head(state, agent)
    lists.update(state)
    return (head, *lists.pieces())


def _head(state: AgentState, agent: bytes) -> bytes:
    """All but the lists: short, and encoded anew each time."""
    body = state.body()
    head = {"agent": msgspec.Raw(agent)} | {
        name: getattr(body, name) for name in StateBody.__struct_fields__ if name not in _NOT_IN_HEAD
    }
    if not head["begun_work"]:
        del head["begun_work"]
    try:
        return _members(head) + b",\n"
    except (ValueError, TypeError, msgspec.MsgspecError):
        # Checked where it came in; should something have slipped by, it is named.
        for name, value in head.items():
            if name not in _ENCODED:
                encode_checked(value, what=name, type=type(value))
        raise


_LISTS = ("conversation", "tool_results", "runs", "choices", "works")
_FOR_SWARMS = ("choices", "works")  # an agent's file does not speak of them
_ENCODED = ("agent", "memory")
_NOT_IN_HEAD = ("agent", *_LISTS)


class EncodedLists:
    """What only grows in an agent's state, encoded once; it outlives the runtimes that save it."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        # Made when there is something to hold: most agents have but a conversation and runs.
        self._held: tuple[Fragments, ...] = ()

    def missing(self, state: AgentState) -> int:
        """How many elements of the lists are not encoded yet."""
        held = {one.name: len(one) for one in self._held}
        return sum(max(0, len(getattr(state, name)) - held.get(name, 0)) for name in _LISTS)

    def update(self, state: AgentState, *, checked: bool = False, most: int | None = None) -> None:
        """Encode what is new, or so much of it; ``SaveRejected`` names what cannot be.

        :param checked: it was just read.
        :param most: so many elements at most.
        """
        taken = 0
        for name in _LISTS:
            elements = getattr(state, name)
            if elements:
                left = None if most is None else most - taken
                taken += self._of(name).update(elements, checked=checked, most=left)

    def replace(self, other: EncodedLists) -> None:
        """Become *other*: the lists were replaced as a whole, and it holds the new ones."""
        self._held = other._held

    def pieces(self) -> list[bytes]:
        """The last members of the state's document."""
        held = {one.name: one for one in self._held}
        told = [
            held.get(name) or Fragments(name) for name in _LISTS if name in held or name not in _FOR_SWARMS
        ]
        return [piece for one in told for piece in one.pieces(last=one is told[-1])]

    def _of(self, name: str) -> Fragments:
        for one in self._held:
            if one.name == name:
                return one
        made = Fragments(name)
        self._held = (*self._held, made)
        return made


def _members(value: dict[str, Any]) -> bytes:
    return _inner(encode(value))


def _inner(encoded: bytes) -> bytes:
    """The members of a JSON object, pretty-printed, without its braces and without a final newline."""
    return pretty(encoded).removeprefix(b"{\n").removesuffix(b"\n}")
