"""What the ledger proves: that nothing recorded before the plug was pulled was lost, or done again after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from rich.text import Text

from overwinter.cli.demo.ledger import digest_of_reply
from overwinter.cli.demo.wire import AtThePlug
from overwinter.cli.rendering import plural, say, visible
from overwinter.cli.tables import print_indented

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from overwinter.agents.records import StateBody
    from overwinter.cli.demo.ledger import Entry

__all__ = ["Account", "Proof", "account_of", "print_proof", "prove"]

_ONCE = frozenset({"note_finding"})  # what must not be done twice


class Account(Struct):
    """What overwinter has on record of one demo: model replies and tool results, each with its agent."""

    replies: set[tuple[str, str]]
    results: set[tuple[str, str]]


class Proof(Struct, kw_only=True):
    """The account beside the ledger.

    ``replies`` and ``results`` were on record when the plug was pulled. Those ``lost`` are so no more, and those
    ``again`` were asked for, or done, once more; ``unknown`` are on record and not in the ledger. ``twice`` are calls
    of a tool that may not be repeated and was. ``under_way`` are model calls that had no recorded reply and were made
    again. ``in_flight`` is the call that hung when the plug was pulled, ``times`` how often the ledger has it, and
    ``beside`` how many more calls that may not be repeated had been done then, and were not on record as such.
    """

    replies: int
    replies_lost: int
    replies_again: int
    results: int
    results_lost: int
    results_again: int
    unknown: int
    twice: int
    under_way: int
    in_flight: AtThePlug
    times: int
    beside: int

    @property
    def holds(self) -> bool:
        """Whether nothing recorded was lost or repeated."""
        wrong = (self.replies_lost, self.replies_again, self.results_lost, self.results_again)
        return not any((*wrong, self.unknown, self.twice)) and self.replies > 0 and self.times > 0


def account_of(states: Iterable[tuple[str, StateBody]], demo: str) -> Account:
    """What the states of the agents, each with its name, have on record of *demo*."""
    account = Account(set(), set())
    for name, body in states:
        account.replies |= {
            (name, digest_of_reply(entry))
            for entry in body.conversation
            if entry.role == "assistant" and entry.run_id == demo
        }
        account.results |= {
            (name, outcome.call_id) for outcome in body.tool_results if outcome.run_id == demo
        }
    return account


def prove(ledger: Sequence[Entry], before: Account, after: Account, in_flight: AtThePlug) -> Proof:
    """Hold what was on record when the plug was pulled, and at the end, against the ledger."""
    answers = {
        (e.agent, e.reply): (e.agent, e.request) for e in ledger if e.what == "answered" and e.part == 1
    }
    asked_then = {(e.agent, e.request) for e in ledger if e.what == "asked" and e.part == 1}
    asked_later = {(e.agent, e.request) for e in ledger if e.what == "asked" and e.part == 2}
    did = [e for e in ledger if e.what == "did"]
    done_then = {(e.agent, e.call) for e in did if e.part == 1}
    done_later = {(e.agent, e.call) for e in did if e.part == 2}
    once = [(e.agent, e.call) for e in did if e.tool in _ONCE]
    hung = (in_flight.agent, in_flight.call)
    in_the_air = {(e.agent, e.call) for e in did if e.tool in _ONCE and e.part == 1} - before.results
    answered = {answers[reply] for reply in before.replies if reply in answers}
    return Proof(
        replies=len(before.replies),
        replies_lost=len(before.replies - after.replies),
        replies_again=len(answered & asked_later),
        results=len(before.results),
        results_lost=len(before.results - after.results),
        results_again=len(before.results & done_later),
        unknown=len(before.replies - answers.keys()) + len(before.results - done_then),
        twice=len(once) - len(set(once)),
        under_way=len((asked_then - answered) & asked_later),
        in_flight=in_flight,
        times=sum((e.agent, e.call) == hung for e in did),
        beside=len(in_the_air - {hung}),
    )


def print_proof(to: Console, proof: Proof, ledger: str) -> None:
    """A line for each thing that had to be so, and whether it is."""
    to.print()
    say(to, Text("What the ledger says, which the model and the tools keep themselves:", "bold"))
    _line(
        to,
        # A tool had begun, so the reply that asked for it must be there.
        proof.replies > 0 and not (proof.replies_lost or proof.replies_again),
        f"{plural(proof.replies, 'model reply', 'model replies')} on record at the kill: "
        f"{_none(proof.replies_lost)} lost, {_none(proof.replies_again)} asked for again",
    )
    _line(
        to,
        not (proof.results_lost or proof.results_again),
        f"{plural(proof.results, 'tool result')} on record at the kill: "
        f"{_none(proof.results_lost)} lost, {_none(proof.results_again)} done again",
    )
    call = proof.in_flight
    times = "once" if proof.times == 1 else f"{proof.times} times"
    times = times if call.tool in _ONCE else f"{times}, and may be repeated"
    more = f" and {proof.beside} more" if proof.beside else ""
    each = "each " if proof.beside else ""
    _line(
        to,
        not proof.twice and proof.times > 0,
        f"{call.tool} of {visible(call.agent, lines=False)}{more}, in mid-air at the kill: {each}done {times}",
    )
    if proof.unknown:
        _line(to, False, f"{plural(proof.unknown, 'record')} of which the ledger knows nothing")
    if proof.under_way:
        told = plural(proof.under_way, "model call")
        say(to, Text(f"  · {told} had no recorded reply yet, and so had to be made again", "dim"))
    say(to, Text(f"  · the ledger: {visible(ledger, lines=False)}", "dim"))


def _line(to: Console, holds: bool, told: str) -> None:
    mark = Text.assemble("  ", ("✓", "bold green") if holds else ("✗", "bold red"))
    if to.is_terminal:
        print_indented(to, Text(told), indent=4, head=mark)
    else:
        say(to, Text.assemble(mark, " ", told))


def _none(count: int) -> str:
    return "none" if not count else f"{count:,}"
