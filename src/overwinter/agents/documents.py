"""The two files of an agent, made from what it is and what it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from overwinter._version import __version__
from overwinter.persistence.codec import encode, pretty
from overwinter.persistence.document import SCHEMA_VERSION, Metadata
from overwinter.persistence.fragments import Fragments
from overwinter.persistence.messages import ReplaceDocument
from overwinter.persistence.names import storable_name

if TYPE_CHECKING:
    from overwinter.agents.profile import Profile
    from overwinter.agents.state import AgentState
    from overwinter.persistence import AgentFolder
    from overwinter.runtime import Clock

__all__ = ["Documents"]


class Documents:
    """Makes ``config.json`` and the state file of one agent.

    Each call takes the next sequence number. What was encoded of the conversation, the tool results and the
    list of runs is kept, so a document costs what is new since the last.
    """

    def __init__(self, profile: Profile[Any], state: AgentState, folder: AgentFolder, clock: Clock) -> None:
        self._profile = profile
        self._state = state
        self._folder = folder
        self._clock = clock
        self._generation = -1
        self._lists: tuple[Fragments, ...] = ()

    def config(self) -> ReplaceDocument:
        """Every setting, and how far the run is."""
        members = (
            _members({"loop_count": self._state.loop_count}) + b",\n" + _inner(self._profile.encoded) + b"\n"
        )
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
            members=(self._head(), *self._encoded_lists()),
            keep_previous=True,
            checksum=True,
        )

    def _metadata(self) -> Metadata:
        state = self._state
        state.sequence += 1
        return Metadata(
            timestamp=self._clock.now().isoformat(),
            loop_count=state.loop_count,
            agent_id=storable_name(self._profile.agent_id),
            agent_name=storable_name(self._profile.name),
            run_id=state.run_id,
            status=state.status,
            sequence=state.sequence,
            schema_version=SCHEMA_VERSION,
            overwinter_version=__version__,
        )

    def _head(self) -> bytes:
        """All but the lists: short, and encoded anew each time."""
        state = self._state
        head = {
            "agent": msgspec.Raw(self._profile.encoded),
            "status": state.status,
            "task": state.task,
            "loop_count": state.loop_count,
            "run": state.run,
            "usage": state.usage,
            "memory": state.memory.encoded(),
            "accepted": state.accepted,
            "begun_calls": sorted(state.begun_calls),
            "partial_text": state.partial_text,
        }
        return _members(head) + b",\n"

    def _encoded_lists(self) -> list[bytes]:
        state = self._state
        if self._generation != state.generation:
            self._lists = (Fragments("conversation"), Fragments("tool_results"), Fragments("runs"))
            self._generation = state.generation
        conversation, tool_results, runs = self._lists
        conversation.update(state.conversation)
        tool_results.update(state.tool_results)
        runs.update(state.runs)
        return [
            *conversation.pieces(last=False),
            *tool_results.pieces(last=False),
            *runs.pieces(last=True),
        ]


def _members(value: dict[str, Any]) -> bytes:
    return _inner(encode(value))


def _inner(encoded: bytes) -> bytes:
    """The members of a JSON object, pretty-printed, without its braces and without a final newline."""
    return pretty(encoded).removeprefix(b"{\n").removesuffix(b"\n}")
