"""Answers with a shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

from overwinter import Agent, ConfigurationError, OutputInvalid, tool
from overwinter.testing import ScriptedModel

pytestmark = pytest.mark.anyio


class Review(msgspec.Struct):
    score: int
    remarks: list[str]


@dataclass
class Point:
    x: float
    y: float = 0.0


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.mark.parametrize(
    ("output_type", "text", "expected"),
    [
        (Review, '{"score": 3, "remarks": ["ok"]}', Review(3, ["ok"])),
        (Review, '```json\n{"score": 3, "remarks": []}\n```', Review(3, [])),
        (Point, '{"x": 1.5}', Point(1.5)),
        (Person, '{"name": "Ann", "age": 30}', Person(name="Ann", age=30)),
        (list[int], "[1, 2]", [1, 2]),
    ],
    ids=["struct", "fenced", "dataclass", "pydantic", "list"],
)
async def test_the_answer_becomes_a_value_of_the_type(
    output_type: type[Any], text: str, expected: object
) -> None:
    """A8: with output_type the final answer is validated and returned as that type."""
    model = ScriptedModel([text])
    result = await Agent("a", model=model, output_type=output_type).run("x")
    assert result.output == expected
    assert result.text == text
    request = model.requests[0]
    assert request.output_schema is not None
    assert request.output_schema["schema"]["type"] in ("object", "array")
    assert "JSON schema" in request.messages[0].content


async def test_an_answer_that_does_not_validate_is_asked_for_again_with_the_error() -> None:
    """A8: an answer that does not validate is asked for again, with the error."""
    model = ScriptedModel(["three", '{"score": "x", "remarks": []}', '{"score": 3, "remarks": []}'])
    agent = Agent("a", model=model, output_type=Review)
    result = await agent.run("x")
    assert (result.output, result.loop_count) == (Review(3, []), 3)
    assert "does not validate" in model.requests[1].messages[-1].content
    assert "Expected `int`, got `str` - at `$.score`" in model.requests[2].messages[-1].content


async def test_an_answer_that_never_validates_fails_the_run() -> None:
    agent = Agent("a", model=ScriptedModel(["no"], loop=True), output_type=Review, output_retries=1)
    with pytest.raises(OutputInvalid, match=r"no Review.*asked again 1 times"):
        await agent.run("x")
    assert agent.status == "failed"
    assert len(agent.state.conversation) == 5


async def test_tools_come_before_the_answer() -> None:
    @tool
    async def score() -> int:
        return 7

    model = ScriptedModel([ScriptedModel.call("score"), '{"score": 7, "remarks": []}'])
    result = await Agent("a", model=model, output_type=Review, tools=[score]).run("x")
    assert result.output.score == 7


def test_a_type_that_json_cannot_express_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="output_type"):
        Agent("a", "m", output_type=object)
