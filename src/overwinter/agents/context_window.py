"""The context window of one run: when it is reduced, and what its requests carry."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from overwinter.agents import events
from overwinter.agents.context import (
    DropToolResults,
    KeepLast,
    Summarize,
    name_of,
    start_of_last,
    start_of_results,
)
from overwinter.agents.estimate import tokens_of
from overwinter.agents.journal_records import ContextReduced
from overwinter.agents.models.protocol import Message, Usage
from overwinter.agents.request_view import MessageView, shown
from overwinter.agents.summary import summary_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overwinter.agents.context import ContextPolicy
    from overwinter.agents.models.protocol import ModelReply
    from overwinter.agents.records import Entry, Reduction
    from overwinter.agents.stage import Stage
    from overwinter.agents.summary import Summarizer

__all__ = ["ContextWindow"]

logger = logging.getLogger("overwinter.agents")


class ContextWindow:
    """What the requests of one run carry of its conversation.

    Each reduction is a record before it has an effect, and what is carried follows from the state alone, so that a run
    that is resumed carries what it would have carried, and no summary is asked for twice. What a step costs does not
    depend on how long the conversation is.
    """

    def __init__(self, stage: Stage, summarizer: Summarizer) -> None:
        profile = stage.profile
        self._stage = stage
        self._state = stage.state
        self._summarizer = summarizer
        self._policies = profile.settings.context or ()
        self._prompt = profile.prompt
        self._task = ("", 0)
        self._fruitless: int | None = None

    async def reduce(self) -> bool:
        """Reduce what the next request carries as far as the policies want it, each in its turn.

        Returns whether a model was asked for that. Cancelled, what was recorded before counts.

        :raises ModelUnavailable: no summary could be had.
        :raises LimitMet: a limit has no room for one.
        """
        asked = False
        for policy in self._policies:
            if isinstance(policy, Summarize):
                asked = await self._summarize(policy)
                continue
            upto = self._wanted(policy)
            if upto != self._upto(policy):
                self._reduced(policy, upto)
        return asked

    def messages(self) -> MessageView:
        """What the next request carries, as of now."""
        start, head = 0, list(self._prompt)
        for policy in self._policies:
            if not isinstance(policy, DropToolResults):
                start = max(start, self._upto(policy))
        head += self._task_before(start)
        head += [summary_message(text) for policy in self._policies if (text := self._summary(policy))]
        return MessageView(head, self._state.conversation, start, dropped_before=self._dropped_before())

    @property
    def tokens(self) -> int:
        """How many tokens the next request has, by estimate."""
        state = self._state
        added = state.conversation[state.context_upto :]
        tokens = state.context_tokens + sum(map(tokens_of, added))
        if not state.context_upto:
            tokens += sum(map(tokens_of, self._prompt))
        return tokens

    def _wanted(self, policy: KeepLast | DropToolResults) -> int:
        conversation, upto = self._state.conversation, self._upto(policy)
        if policy.above is not None and self.tokens <= policy.above:
            return upto
        if isinstance(policy, KeepLast):
            wanted = start_of_last(conversation, max(1, policy.messages - self._coming))
        elif len(self._state.tool_results) <= policy.keep:
            return upto
        else:
            wanted = start_of_results(conversation, policy.keep, since=upto)
        # Without a limit the window is what the policy says, also when that was changed to more than before.
        return wanted if policy.above is None else max(upto, wanted)

    @property
    def _coming(self) -> int:
        """How many messages are still added before the next request is made: the model is told to go on."""
        return int(self._state.conversation[-1].role == "assistant")

    async def _summarize(self, policy: Summarize) -> bool:
        asked = False
        while self.tokens > policy.above:
            conversation, upto = self._state.conversation, self._upto(policy)
            until = start_of_last(conversation, max(1, policy.keep - self._coming))
            if until <= upto:
                break
            if self._fruitless is not None and len(conversation) < self._fruitless + policy.keep:
                break
            piece = conversation[upto : self._end_of_piece(policy, upto, until)]
            reply = await self._summarizer.ask(policy.model, self._summary(policy), piece)
            self._summed_up(policy, upto + len(piece), reply)
            asked = True
        return asked

    def _end_of_piece(self, policy: Summarize, upto: int, until: int) -> int:
        """Where what is summed up at once ends: a model must not be given more than it can be trusted to take."""
        conversation, tokens, end = self._state.conversation, 0, upto
        for at in range(upto, until):
            tokens += tokens_of(conversation[at])
            if tokens > policy.above and end > upto:
                return end
            if conversation[at + 1].role != "tool":
                end = at + 1
        return until

    def _summed_up(self, policy: Summarize, upto: int, reply: ModelReply) -> None:
        text = reply.message.content.strip()
        if text:
            self._reduced(policy, upto, text, reply.usage)
            return
        self._fruitless = len(self._state.conversation)
        logger.warning("model %s wrote an empty summary; the conversation is carried as it is", reply.model)
        # It was paid for all the same.
        self._reduced(policy, self._upto(policy), self._summary(policy), reply.usage)

    def _reduced(
        self, policy: ContextPolicy, upto: int, summary: str = "", usage: Usage | None = None
    ) -> None:
        name, stage = name_of(policy), self._stage
        saved = self._tokens_between(policy, self._upto(policy), upto)
        saved += tokens_of(summary_message(self._summary(policy))) - tokens_of(summary_message(summary))
        self._state.happened(
            ContextReduced(
                at=stage.now(), policy=name, upto=upto, summary=summary, saved=saved, usage=usage or Usage()
            )
        )
        stage.emit(events.ContextReduced, policy=name, upto=upto, saved=saved, summary=summary)

    def _tokens_between(self, policy: ContextPolicy, start: int, end: int) -> int:
        """How many tokens fewer are carried when the index up to which *policy* reduces goes from *start* to *end*."""
        if end < start:
            return -self._tokens_between(policy, end, start)
        entries: Sequence[Entry] = self._state.conversation[start:end]
        if isinstance(policy, DropToolResults):
            return sum(tokens_of(entry) - tokens_of(shown(entry)) for entry in entries)
        dropped = self._dropped_before()
        return sum(
            tokens_of(shown(entry) if at < dropped else entry) for at, entry in enumerate(entries, start)
        )

    def _task_before(self, start: int) -> list[Message]:
        """The task of the run in which the conversation goes on at *start*, where that has left it behind."""
        conversation = self._state.conversation
        if start >= len(conversation):
            return []
        run_id = conversation[start].run_id
        if self._task[0] != run_id or self._task[1] > start:
            at = start
            while at and conversation[at - 1].run_id == run_id:
                at -= 1
            self._task = (run_id, at)
        task = conversation[self._task[1]]
        return [task] if self._task[1] < start and task.role == "user" else []

    def _dropped_before(self) -> int:
        return max(
            (self._upto(policy) for policy in self._policies if isinstance(policy, DropToolResults)),
            default=0,
        )

    def _summary(self, policy: ContextPolicy) -> str:
        reduction = self._reduction(policy)
        return "" if reduction is None else reduction.summary

    def _reduction(self, policy: ContextPolicy) -> Reduction | None:
        return self._state.reductions.get(name_of(policy))

    def _upto(self, policy: ContextPolicy) -> int:
        reduction = self._reduction(policy)
        return 0 if reduction is None else reduction.upto
