"""Every error and warning a user of overwinter can meet.

The tree::

    OverwinterError
    ├── ConfigurationError (ValueError)     a setting that cannot work
    ├── ActorError
    │   ├── ActorStopped                    the receiver is gone
    │   ├── MailboxFull                     tell_nowait found no room
    │   ├── AskTimeout (TimeoutError)       no reply in time
    │   ├── AskDeadlock                     an actor asked itself
    │   ├── NameTaken                       two actors of one name
    │   ├── MessageRefused (TypeError)      a message that is not plain data
    │   └── RestartLimitReached             a supervisor gave up
    ├── RuntimeClosed                       the runtime is not running
    ├── PersistenceError
    │   ├── SaveError
    │   │   ├── SaveRejected (ValueError)   a value that cannot be stored; the old file is intact
    │   │   ├── SaveFailed                  the disk said no; the old file is intact
    │   │   └── SaveNotDurable              the new file is there, a power cut may undo it
    │   ├── StateNotFound (FileNotFoundError)
    │   ├── CorruptState                    a file that is not what was written
    │   ├── SchemaTooNew                    a file of a later overwinter
    │   ├── WorkspaceError                  a workspace that cannot be used
    │   ├── AgentInUse                      one agent, one writer
    │   ├── StaleState                      somebody else wrote meanwhile
    │   ├── VersionConflict                 a board's entry is not of the version that was expected
    │   ├── FlushTimeout (TimeoutError)     the disk is slower than the deadline
    │   └── ForkedRuntime                   a forked child must not write
    └── AgentError
        ├── ToolError                       raise it in a tool to tell the model what went wrong
        ├── ToolDefinitionError (TypeError) a function that cannot be a tool
        ├── ModelError                      the model could not be asked
        │   ├── ModelUnavailable            … and neither could its fallbacks
        │   └── ModelBusy                   its provider wants to be left alone for too long
        ├── PriceUnknown                    money is limited, and nobody knows what the model costs
        ├── OutputInvalid                   the answer never had the shape asked for
        ├── RunInterrupted                  the run was cut off; its state is saved
        ├── RunPaused                       a limit was met; resume() goes on
        ├── AgentPaused                     a paused run stands before this one
        ├── AgentExists                     a fork would take the place of an agent
        ├── AgentNotDefined                 nobody has said how the agent of that name is made
        ├── StepNotFound                    a step of the history that is not there
        ├── MemberFailed                    a member failed, and its swarm with it
        │   └── NobodyAnswered              all were skipped, and there is no result without them
        ├── MemberTimeout (TimeoutError)    a member took longer than its policy allows
        ├── SwarmChanged                    a swarm was cut off, and its members are others by now
        ├── TooManyHandoffs                 a conversation went round and round
        ├── OutcomeUnknown                  nobody knows what became of a call; a person has to say
        ├── NothingPending                  no call waits for a person
        └── NothingToResume                 the last run had ended

    OverwinterWarning (UserWarning)
    ├── UnfinishedRun                       a new run begins where an old one was cut off
    ├── CorruptFileSetAside                 a damaged file was moved away and its predecessor used
    └── PlatformLimitation                  something this system lacks
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "ActorError",
    "ActorStopped",
    "AgentError",
    "AgentExists",
    "AgentInUse",
    "AgentNotDefined",
    "AgentPaused",
    "AskDeadlock",
    "AskTimeout",
    "ConfigurationError",
    "CorruptFileSetAside",
    "CorruptState",
    "FlushTimeout",
    "ForkedRuntime",
    "MailboxFull",
    "MemberFailed",
    "MemberTimeout",
    "MessageRefused",
    "ModelBusy",
    "ModelError",
    "ModelUnavailable",
    "NameTaken",
    "NobodyAnswered",
    "NothingPending",
    "NothingToResume",
    "OutcomeUnknown",
    "OutputInvalid",
    "OverwinterError",
    "OverwinterWarning",
    "PersistenceError",
    "PlatformLimitation",
    "PriceUnknown",
    "RestartLimitReached",
    "RunInterrupted",
    "RunPaused",
    "RuntimeClosed",
    "SaveError",
    "SaveFailed",
    "SaveNotDurable",
    "SaveRejected",
    "SchemaTooNew",
    "StaleState",
    "StateNotFound",
    "StepNotFound",
    "SwarmChanged",
    "TooManyHandoffs",
    "ToolDefinitionError",
    "ToolError",
    "UnfinishedRun",
    "VersionConflict",
    "WorkspaceError",
]


class OverwinterError(Exception):
    """The root of every error raised by overwinter."""


class ConfigurationError(OverwinterError, ValueError):
    """A setting cannot work; the message names it and says what would."""


class ActorError(OverwinterError):
    """The root of what can go wrong between actors."""


class ActorStopped(ActorError):
    """The actor has stopped, or stopped before it handled the message."""


class MailboxFull(ActorError):
    """The mailbox has no room; use ``tell``, which waits, or slow down."""


class AskTimeout(ActorError, TimeoutError):
    """No reply came in time; the message may still be handled."""


class AskDeadlock(ActorError):
    """An actor asked itself and would wait for ever; use ``tell`` or call the method."""


class NameTaken(ActorError):
    """A live actor of this runtime already has the name."""


class MessageRefused(ActorError, TypeError):
    """A message is neither a msgspec Struct, a dataclass, an enum nor plain data."""


class RestartLimitReached(ActorError):
    """An actor failed more often than its supervision policy allows."""


class RuntimeClosed(OverwinterError):
    """The runtime is not running; use it inside ``async with Runtime() as runtime:``."""


class PersistenceError(OverwinterError):
    """The root of what can go wrong between memory and disk."""


class SaveError(PersistenceError):
    """A save did not come about as it should; see the subclasses for what the disk holds now."""

    def __init__(self, message: str, path: Path | str = "") -> None:
        super().__init__(message)
        self.path = str(path)


class SaveRejected(SaveError, ValueError):
    """A value cannot be stored and read back the same; ``field`` names it and the old file is intact."""

    def __init__(self, message: str, path: Path | str = "", field: str = "") -> None:
        super().__init__(message, path)
        self.field = field


class SaveFailed(SaveError):
    """The disk refused the save; the old file is intact and the cause is chained."""


class SaveNotDurable(SaveError):
    """The new file is visible, but its folder could not be synced: a power cut may undo it."""


class StateNotFound(PersistenceError, FileNotFoundError):
    """There is no saved state at that path; run the agent with ``autosave=True`` or call ``save()`` first."""


class CorruptState(PersistenceError):
    """Neither the file nor its previous generation is what was written; the damaged ones were set aside."""


class SchemaTooNew(PersistenceError):
    """The file was written by a later overwinter; both versions are named. Upgrade to read it."""

    def __init__(self, path: Path | str, found: int, supported: int) -> None:
        super().__init__(
            f"{path} has schema version {found}; this overwinter reads up to version {supported}. "
            "Upgrade overwinter to open it; the file was left as it is."
        )
        self.path = str(path)
        self.found = found
        self.supported = supported


class WorkspaceError(PersistenceError):
    """The workspace cannot be created, read or written; the message says which folder and why."""


class AgentInUse(PersistenceError):
    """Another live runtime holds the agent; ``pid`` and ``host`` name it.

    :param kind: what it is: ``agent``, or what an actor keeps, ``board`` or ``snapshot``.
    """

    def __init__(self, agent_name: str, *, pid: int, host: str, runtime_id: str, kind: str = "agent") -> None:
        advice = {
            "board": "open it in one process and have all others ask that one, or take a board of another name",
            "snapshot": "close the runtime that holds it, or take another name",
        }.get(
            kind, "stop that one, wait with lease_timeout=, or give this agent another agent_name or session"
        )
        super().__init__(
            f"{kind} {agent_name!r} is in use by process {pid} on {host} (runtime {runtime_id}). "
            f"One {kind} has one writer: {advice}."
        )
        self.agent_name = agent_name
        self.pid = pid
        self.host = host
        self.runtime_id = runtime_id


class StaleState(PersistenceError):
    """The agent was written by somebody else since it was last held; call ``load()`` and go on."""


class VersionConflict(PersistenceError):
    """Somebody else has written the entry since; read it again. 0 as a version says that there is no entry."""

    def __init__(self, board: str, key: str, *, expected: int, found: int) -> None:
        there_is = f"has version {found}" if found else "is not there"
        wanted = f"version {expected} was expected" if expected else "none was expected"
        super().__init__(
            f"{key!r} on board {board!r} {there_is}, and {wanted}: somebody else wrote it meanwhile. Nothing was "
            "changed; read it again, and write with the version that it has then."
        )
        self.key = key
        self.expected = expected
        self.found = found


class FlushTimeout(PersistenceError, TimeoutError):
    """Not everything reached the disk before the deadline; it is still being tried."""


class ForkedRuntime(PersistenceError):
    """This process was forked from the runtime's; start a Runtime of its own here."""


class AgentError(OverwinterError):
    """The root of what can go wrong while an agent works."""


class ToolError(AgentError):
    """Raise this in a tool: the model is told its text and nothing else."""


class ToolDefinitionError(AgentError, TypeError):
    """A function cannot be made a tool; the message names the function and the parameter."""


class ModelError(AgentError):
    """The model could not be asked, or its reply not be read.

    ``retryable`` tells whether the same request may succeed later, ``status_code`` is the HTTP status where
    there was one, and ``retry_after`` is in seconds where the provider named a delay.
    """

    def __init__(
        self,
        message: str,
        *,
        model: str = "",
        retryable: bool = False,
        status_code: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.model = model
        self.retryable = retryable
        self.status_code = status_code
        self.retry_after = retry_after


class ModelUnavailable(ModelError):
    """The model and all its fallbacks failed; the last failure is chained."""


class ModelBusy(ModelError):
    """The model was not asked: its provider wants to be left alone, for longer or more often than the policy waits.

    It told so to another call of the runtime. ``retry_after`` is how many seconds are left of that.
    """

    def __init__(self, model: str, *, retry_after: float) -> None:
        super().__init__(
            f"{model}: not asked, because the provider refused other calls (429) and said to come back in "
            f"{retry_after:.1f} s; wait longer with retry=RetryPolicy(longest_wait=..., max_attempts=...), name "
            "fallback_models, or call it less often with Runtime(rate_limits=...)",
            model=model,
            retryable=True,
            status_code=429,
            retry_after=retry_after,
        )


class PriceUnknown(AgentError):
    """Money is limited and the price of the model is not known, so that it was not asked; ``model`` names it."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"the price of model {model!r} is unknown, and the budget limits the cost, so it was not asked. Tell its "
            f"price, as in model=LiteLLMModel({model!r}, price=Price.per_million(input=..., output=...)), or a "
            "`price` attribute of a model of your own; or ask it all the same with "
            "Budget(cost=..., allow_unknown_price=True). Nothing of the run is lost: resume() goes on."
        )
        self.model = model


class OutputInvalid(AgentError):
    """The model's answer did not have the shape of ``output_type``, however often it was asked."""


class RunInterrupted(AgentError):
    """The run was interrupted; what was saved of it is on disk and ``resume()`` goes on from there."""

    def __init__(self, message: str, run_id: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id


class RunPaused(AgentError):
    """The run stands at a limit, and ``resume()`` with a higher one goes on; or it waits for a person.

    ``limit`` names the limit, or what is waited for: ``"approval"``, ``"question"`` or ``"unknown"``.
    """

    def __init__(self, message: str, run_id: str = "", limit: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id
        self.limit = limit


class AgentPaused(AgentError):
    """A paused run stands before this one; call ``resume()``, ``cancel()``, or run with ``queue=True``."""


class AgentExists(AgentError):
    """There is an agent of that name already, and a fork would take its place; give the fork another name."""

    def __init__(self, agent_name: str, path: Path) -> None:
        super().__init__(
            f"there is an agent {agent_name!r} in {path} already, and a fork would take its place; give the fork "
            "another agent_name or session"
        )
        self.agent_name = agent_name


class AgentNotDefined(AgentError):
    """Nobody has said how the agent of that name is made, and its files do not say it either; ``define`` it."""

    def __init__(self, agent_name: str, why: str) -> None:
        super().__init__(
            f"agent {agent_name!r} is not alive here, and cannot be made from its files: {why}. Say how it is made: "
            f"runtime.define({agent_name!r}, lambda name, session: Agent(name, ..., session=session, autosave=True)), "
            "or Runtime(agents=...) for all of them."
        )
        self.agent_name = agent_name


class StepNotFound(AgentError):
    """There is no such step, or it is not kept any more; ``first`` and ``last`` tell the range there is."""

    def __init__(self, agent_name: str, step: int, *, first: int, last: int) -> None:
        there_is = f"it has the steps {first} to {last}" if last else "nothing of it was saved"
        if first <= step <= last:
            there_is += ", but this one, or what it was made from, was dropped or is damaged"
        super().__init__(f"agent {agent_name!r} has no step {step}; {there_is}. See `await agent.history()`.")
        self.step = step
        self.first = first
        self.last = last


class MemberFailed(AgentError):
    """A member of a swarm failed for good, and the swarm's run with it; ``__cause__`` is its last error.

    What the other members finished is recorded: ``resume()`` tries this member again, and nothing else.
    """

    def __init__(self, swarm: str, member: str, *, key: str, error: str) -> None:
        super().__init__(f"member {member!r} of swarm {swarm!r} failed at {key!r}: {error}")
        self.swarm = swarm
        self.member = member
        self.key = key


class NobodyAnswered(MemberFailed):
    """All members of a swarm from which its result would have come failed and were skipped; ``errors`` says with what.

    ``resume()`` asks them again.
    """

    def __init__(self, swarm: str, errors: Mapping[str, str]) -> None:
        Exception.__init__(
            self,
            f"swarm {swarm!r} has no result, because nobody answered: "
            + "; ".join(f"{member!r} failed: {error}" for member, error in errors.items())
            + ". What else was done is recorded, and resume() asks them again",
        )
        self.swarm = swarm
        self.member = next(iter(errors), "")
        self.key = ""
        self.errors = dict(errors)


class MemberTimeout(AgentError, TimeoutError):
    """A member of a swarm took longer than the ``timeout`` of its policy; what it did so far is kept."""


class SwarmChanged(AgentError):
    """A swarm that was cut off has other members, or does other things, than when it began.

    Go on with the swarm as it was, or give the run up with ``cancel()`` and start a new one.
    """


class TooManyHandoffs(AgentError):
    """A conversation was handed on more often than ``max_handoffs`` allows; ``path`` names who had it, in order."""

    def __init__(self, swarm: str, path: Sequence[str], limit: int) -> None:
        super().__init__(
            f"the conversation of swarm {swarm!r} was handed on more than {limit} times ({' -> '.join(path)}), and "
            "nobody answered. Tell the agents apart better, in what their handoffs say of when to use "
            "them; a swarm with a higher max_handoffs goes on with it by resume()."
        )
        self.path = tuple(path)


class OutcomeUnknown(AgentError):
    """A call that may not be repeated had begun when its process ended, so that nobody knows what became of it.

    Nothing of the run is lost. Find out, and say so: ``answer(text, call_id)`` when it did happen (the text is its
    result), ``approve(call_id)`` when it did not and is to run now, or ``deny(reason, call_id)``; then ``resume()``.
    """

    def __init__(self, agent_name: str, *, call_id: str, tool: str, arguments: str) -> None:
        super().__init__(
            f"agent {agent_name!r} was cut off in the middle of {tool}({arguments}), call {call_id}, and nobody knows "
            "whether it took effect. Find out, and then call one of: agent.answer(result, call_id) if it did, "
            "agent.approve(call_id) if it did not and is to run now, agent.deny(reason, call_id) to give it up; "
            "resume() then goes on."
        )
        self.call_id = call_id
        self.tool = tool
        self.arguments = arguments


class NothingPending(AgentError):
    """No such call waits for a person; ``agent.pending()`` says which do."""


class NothingToResume(AgentError):
    """The last run had ended; start a new one with ``run(task)``."""


class OverwinterWarning(UserWarning):
    """The root of the warnings issued by overwinter."""


class UnfinishedRun(OverwinterWarning):
    """A new run begins although an earlier one was cut off."""


class CorruptFileSetAside(OverwinterWarning):
    """A damaged file was moved to ``*.corrupt-<time>``; its previous generation is used."""


class PlatformLimitation(OverwinterWarning):
    """This system lacks something that a promise of overwinter rests on."""
