"""A new agent that begins where another one was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.agents.journal_records import CallsClosed, TaskWithdrawn, ToolFinished
from overwinter.agents.profile import Settings
from overwinter.agents.restore import Restored
from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from overwinter.agents.profile import Profile
    from overwinter.agents.state import AgentState

__all__ = ["fork_options", "forked"]

# An id of its own is derived from its name; the models are handed over as they are.
_OWN = ("agent_id", "fallback_models", "model_name")


def fork_options(
    profile: Profile[Any], agent_name: str, session: str | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """The constructor's arguments for a fork of the agent with that profile.

    :raises ConfigurationError: it would have the name, the session and the id of the agent itself.
    """
    settings = profile.settings
    options: dict[str, Any] = {
        name: getattr(settings, name) for name in Settings.__struct_fields__ if name not in _OWN
    }
    options |= {
        "output_type": profile.output.output_type,
        "tools": profile.toolbox.tools,
        "stopping_condition": profile.stopping_condition,
        "model_args": profile.model_args,
        "retry": profile.retry,
    }
    if not {"model", "model_name"} & overrides.keys():
        options["model"] = profile.models[0]
        options["model_name"] = settings.model_name
    if "fallback_models" not in overrides:
        options["fallback_models"] = profile.models[1:]
    options |= overrides
    options["agent_name"] = agent_name or settings.agent_name
    options["session"] = settings.session if session is None else session
    same = (options["agent_name"], options["session"]) == (settings.agent_name, settings.session)
    if same and not options.get("agent_id"):
        raise ConfigurationError(
            f"a fork of agent {profile.name!r} needs a name or a session of its own, as in "
            f"fork(agent_name={profile.name + '-2'!r})"
        )
    return options


def forked(state: AgentState, at: str) -> Restored:
    """*state*, which nobody else uses, as that of a new agent: nothing is under way or accepted, no call may still run.

    A call that waits for a person waits in the new agent too: nobody's word has been given for what happens there.
    """
    state.found_dead()
    for task in tuple(state.accepted):
        # It is the old agent's to do; here it would be done a second time.
        state.apply(TaskWithdrawn(at=at, run_id=task.run_id))
    if state.pending:
        for call in state.unfinished_calls:
            if call.id not in state.pending:
                state.apply(ToolFinished(at=at, call_id=call.id, output=state.word_of(call.id), ok=False))
    elif state.open_calls:
        state.apply(CallsClosed(at=at))
    state.sequence = 0
    restored = Restored(state, None, 0, ())
    restored.encode()
    return restored
