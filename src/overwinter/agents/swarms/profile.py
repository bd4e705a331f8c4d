"""Who a swarm is: what an agent's profile says, without a model, and who its members are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from overwinter.agents.profile import Profile, Settings, check_settings
from overwinter.agents.swarms.results import MemberResult, SwarmResult
from overwinter.errors import ConfigurationError
from overwinter.persistence.codec import encode
from overwinter.persistence.names import storable_name, swarm_id_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from overwinter.agents.loop import RunLoop
    from overwinter.agents.models.protocol import ModelReply, ModelRequest
    from overwinter.agents.records import Pending
    from overwinter.agents.results import RunResult
    from overwinter.agents.state import AgentState

__all__ = ["SwarmProfile"]

OutputT = TypeVar("OutputT")

#: The settings of an agent that a swarm has too.
_SETTINGS = (
    "agent_name",
    "session",
    "agent_id",
    "agent_description",
    "autosave",
    "durability",
    "verbose",
    "lease_timeout",
    "budget",
    "retention",
)


class SwarmProfile(Profile[OutputT]):
    """The settings of one swarm, and what it hands to those who run agents and swarms alike."""

    kind = "swarms"

    def __init__(
        self,
        settings: Settings,
        *,
        pattern: str,
        output_type: type[OutputT],
        make_loop: Callable[..., RunLoop],
        closing: Callable[[], Awaitable[None]],
        pending: Callable[[], tuple[Pending, ...]],
        read: Callable[[str], Callable[[str], Any]],
    ) -> None:
        check_settings(settings)
        if not settings.agent_id:
            settings.agent_id = swarm_id_for(settings.agent_name, settings.session)
        self.make_loop = make_loop
        self.closing = closing
        self._pending = pending
        self._reader_of = read
        self._swarm = {"pattern": msgspec.Raw(encode(pattern))}
        super().__init__(
            settings,
            output_type=output_type,
            tools=(),
            model=_Nobody(pattern),
            fallback_models=(),
            stopping_condition=None,
            model_args={},
            retry=None,
        )

    def tell(self, more: Mapping[str, Any]) -> None:
        """Have *more*, plain data, stand in ``config.json`` under ``swarm``.

        :raises ConfigurationError: it cannot be stored.
        """
        self._swarm |= {name: msgspec.Raw(self._checked(value)) for name, value in more.items()}
        self.renew()

    def make_result(self, state: AgentState, **told: Any) -> RunResult[Any]:
        """The result of a run that stands in the state, with what each member did."""
        works = state.works_of(told["run_id"]).values()
        members = tuple(MemberResult(work, self._reader_of(work.by or work.member)) for work in works)
        return SwarmResult(agent_name=self.name, members=members, **told)

    def pending(self, state: AgentState) -> tuple[Pending, ...]:  # noqa: ARG002
        """The calls of the members that wait for a person."""
        return self._pending()

    def _described(self) -> dict[str, Any]:
        settings = msgspec.to_builtins(self.settings)
        return {
            **{name: settings[name] for name in _SETTINGS},
            "agent_name": storable_name(self.settings.agent_name),
            "session": storable_name(self.settings.session),
            "agent_id": storable_name(self.settings.agent_id),
            "output_type": self.output.name,
            "output_schema": self.output.schema,
        }

    def rest(self) -> None:
        """Keep all: a swarm can have thousands of members, and there are few swarms."""

    def _encode(self) -> bytes:
        # What it was told was checked then, and may be long: a swarm can have thousands of members.
        return super()._encode().removesuffix(b"}") + b',"swarm":' + encode(self._swarm) + b"}"


class _Nobody:
    """The model of a swarm, which asks none itself."""

    price = None

    def __init__(self, name: str) -> None:
        self.name = name

    async def prepare(self) -> None:
        """Nothing needs to be loaded."""

    async def complete(self, request: ModelRequest, *, on_text: object = None) -> ModelReply:
        """Nobody asks it."""
        self._refuse(request, on_text)

    def _refuse(self, *_: object) -> NoReturn:
        raise ConfigurationError(f"{self.name} is a swarm and has no model of its own; ask its members")
