"""What a person decides about an agent's calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from overwinter.agents.commands import DecideCall
from overwinter.agents.handle import AgentHandle, OutputT
from overwinter.errors import ConfigurationError, SaveRejected
from overwinter.persistence.codec import encode_checked

if TYPE_CHECKING:
    from overwinter.agents.records import Pending

__all__ = ["PersonInTheLoop"]


class PersonInTheLoop(AgentHandle[OutputT]):
    """The calls of an agent that wait for a person, and what the person says.

    A call waits while its tool was made with ``requires_approval=True`` and nobody allowed it, while it asks a
    question (:data:`~overwinter.ask_human`), or, with ``on_unknown="ask"`` or ``"raise"``, while nobody knows what
    became of it. When nothing else is left to do the run pauses, for as long as it takes, over restarts too.

    The three that decide work on a fresh object, which loads the saved state first, and while the run goes on: a call
    that is approved then starts at once. What was decided is on disk when they return. They do not go on with a run
    that is paused: :meth:`Agent.resume` does. ``call_id`` may be left out when only one call can be meant.

    They raise ``NothingPending`` when no such call waits, or several could be meant; ``StateNotFound`` when nothing was
    ever saved; ``AgentInUse`` when another process holds the agent. Cancelled, the decision may have been taken or not:
    :meth:`pending` tells.
    """

    def pending(self) -> tuple[Pending, ...]:
        """The calls that wait for a person, each with its ``call_id``, ``kind``, ``tool``, ``arguments`` (JSON),
        ``question``, and ``at``, when it was asked (ISO 8601, UTC).

        Of a fresh object it is empty until :meth:`load`.
        """
        return tuple(self._state.pending.values())

    async def approve(self, call_id: str = "") -> None:
        """Allow the call: it runs, once. Of a call of unknown outcome it says that it did not happen."""
        await self._decide("approved", "", call_id)

    async def deny(self, reason: str = "", call_id: str = "") -> None:
        """Forbid the call: it does not run, and the model is told so, and why."""
        await self._decide("denied", reason, call_id)

    async def answer(self, text: str, call_id: str = "") -> None:
        """Answer the question: *text* is the call's result. Of a call of unknown outcome it is what came of it."""
        await self._decide("answered", text, call_id)

    async def _decide(
        self, decision: Literal["approved", "denied", "answered"], text: str, call_id: str
    ) -> None:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"what a person says is a string, not {type(text).__name__}")
        try:
            encode_checked(text, what="text")
        except SaveRejected as error:
            raise ConfigurationError(f"what the person says cannot be stored: {error}") from error
        await self.load_if_fresh()
        await self._ask(DecideCall(decision, text, call_id))
