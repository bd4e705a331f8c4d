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

__all__ = ["Documents", "EncodedLists", "metadata_of", "state_members"]

_AT_ONCE = 48


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

    def encode_some(self) -> bool:
        """Encode a part of what is new in the lists, for about a millisecond; whether that was all.

        :raises SaveRejected: something in it cannot be stored; ``field`` names it.
        """
        return self._lists.update(self._state, most=_AT_ONCE)

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

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: tuple[Fragments, ...] = ()

    @property
    def _held(self) -> tuple[Fragments, ...]:
        # Made when first needed: an agent that is never saved needs none.
        if not self._made:
            self._made = tuple(Fragments(name) for name in _LISTS)
        return self._made

    def update(self, state: AgentState, *, checked: bool = False, most: int | None = None) -> bool:
        """Encode what is new; ``SaveRejected`` names what cannot be. What was just read is ``checked``.

        Returns whether nothing is left, which with ``most``, so many at most, there may be.
        """
        taken = 0
        for held in self._held:
            left = None if most is None else most - taken
            taken += held.update(getattr(state, held.name), checked=checked, most=left)
        return most is None or taken < most

    def replace(self, other: EncodedLists) -> None:
        """Become *other*: the lists were replaced as a whole, and it holds the new ones."""
        self._made = other._made

    def pieces(self) -> list[bytes]:
        """The last members of the state's document."""
        told = [held for held in self._held if len(held) or held.name not in _FOR_SWARMS]
        return [piece for held in told for piece in held.pieces(last=held is told[-1])]


def _members(value: dict[str, Any]) -> bytes:
    return _inner(encode(value))


def _inner(encoded: bytes) -> bytes:
    """The members of a JSON object, pretty-printed, without its braces and without a final newline."""
    return pretty(encoded).removeprefix(b"{\n").removesuffix(b"\n}")
