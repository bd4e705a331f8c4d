"""Actors, mailboxes, references and supervision. Knows nothing of agents or files."""

from __future__ import annotations

from overwinter.runtime.actor import Actor
from overwinter.runtime.address import Address
from overwinter.runtime.clock import Cancellable, Clock, SystemClock
from overwinter.runtime.context import ActorContext
from overwinter.runtime.dead_letters import DeadLetter, DeadLetters
from overwinter.runtime.jobs import Job
from overwinter.runtime.messages import Terminated
from overwinter.runtime.reference import ActorRef
from overwinter.runtime.reply import Reply
from overwinter.runtime.supervision import Backoff, Escalate, Policy, Restart, Resume, Stop, Supervision
from overwinter.runtime.system import ActorSystem, SystemStatistics

__all__ = [
    "Actor",
    "ActorContext",
    "ActorRef",
    "ActorSystem",
    "Address",
    "Backoff",
    "Cancellable",
    "Clock",
    "DeadLetter",
    "DeadLetters",
    "Escalate",
    "Job",
    "Policy",
    "Reply",
    "Restart",
    "Resume",
    "Stop",
    "Supervision",
    "SystemClock",
    "SystemStatistics",
    "Terminated",
]
