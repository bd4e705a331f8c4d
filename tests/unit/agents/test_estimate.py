"""How large the next call will be."""

from __future__ import annotations

from typing import Any, cast

from overwinter import Message, ToolCall, ToolSpec, Usage
from overwinter.agents.estimate import Estimator, tokens_of
from overwinter.agents.journal_records import ModelReplied, ToolFinished, UserSaid
from overwinter.agents.records import Entry
from overwinter.agents.state import AgentState


def told(length: int) -> AgentState:
    """A state in which the user has said so many characters."""
    state = AgentState()
    state.apply(UserSaid(text="x" * length))
    return state


def answered(state: AgentState, usage: Usage, text: str = "", *calls: ToolCall) -> None:
    state.apply(ModelReplied(message=Message("assistant", text, calls), usage=usage))


def test_before_the_first_reply_only_a_part_of_the_text_is_certain() -> None:
    size = Estimator().size(told(800), prompt="p" * 80)
    assert size.least == Usage(input_tokens=110, calls=1)
    assert size.likely == Usage(input_tokens=220, output_tokens=1024, calls=1)


def test_the_tools_are_sent_too() -> None:
    tools = [ToolSpec("a_tool", "d" * 390, {"a": 1})]
    assert Estimator().size(told(0), tools=tools).likely.input_tokens == 101


def test_with_a_limit_of_output_the_size_is_certain() -> None:
    size = Estimator().size(told(800), max_tokens=50)
    assert size.least == size.likely == Usage(input_tokens=200, output_tokens=50, calls=1)


def test_after_a_reply_its_input_is_known_and_what_was_said_since_is_guessed() -> None:
    estimator, state = Estimator(), told(800)
    used = Usage(input_tokens=300, output_tokens=70, cost=0.5, calls=1)
    estimator.heard(used)
    answered(state, used, "y" * 10, ToolCall("c", "tool", '{"a":1}'))
    state.apply(ToolFinished(call_id="c", output="z" * 19))
    size = estimator.size(state)
    assert size.least == size.likely == Usage(input_tokens=310, output_tokens=70, calls=1)
    assert estimator.size(state, max_tokens=5).likely.output_tokens == 5
    assert estimator.last_cost == 0.5


def test_after_a_load_the_input_is_known_and_the_output_is_not() -> None:
    state = told(800)
    answered(state, Usage(input_tokens=300, output_tokens=70, calls=1))
    size = Estimator().size(state)
    assert size.least == Usage(input_tokens=300, calls=1)
    assert size.likely == Usage(input_tokens=300, output_tokens=1024, calls=1)


def test_tokens_are_guessed_upwards() -> None:
    said = [Message("user", "x" * length) for length in (0, 1, 4, 5)]
    assert list(map(tokens_of, said)) == [0, 1, 1, 2]


class Watched(list[Entry]):
    """A conversation that counts how many of its messages are looked at."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += len(range(*index.indices(len(self)))) if hasattr(index, "indices") else 1
        return cast("Any", super().__getitem__(index))


def test_a_step_costs_the_same_however_long_the_conversation_is() -> None:
    """L2: what a call will need is guessed from the last reply and what was added since, not from all that was said."""
    estimator, state = Estimator(), told(5)
    state.conversation = watched = Watched(state.conversation * 10_000)
    estimator.size(state)
    assert watched.looks == 10_000
    answered(state, Usage(input_tokens=3, output_tokens=1, calls=1))
    watched.looks = 0
    for _ in range(100):
        estimator.size(state)
        state.apply(UserSaid(text="more"))
        answered(state, Usage(input_tokens=3, output_tokens=1, calls=1))
    assert watched.looks < 400
