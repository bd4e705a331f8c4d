"""How functions become tools."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pytest

from overwinter import Agent, ToolContext, tool
from overwinter.agents.tool_result import result_text
from overwinter.agents.tools import Tool
from overwinter.errors import SaveRejected, ToolDefinitionError
from overwinter.testing import ScriptedModel


class Colour(enum.Enum):
    RED = "red"


class Box(msgspec.Struct):
    width: int
    inner: Box | None = None


@dataclass
class Place:
    city: str
    zip_code: str = ""


class Options(TypedDict):
    deep: bool


def test_name_description_and_schema_come_from_the_function() -> None:
    @tool
    async def search(
        query: Annotated[str, msgspec.Meta(description="what to look for")], limit: int = 10
    ) -> list[str]:
        """Search the archive.

        Returns titles.
        """
        return []

    assert search.name == "search"
    assert search.description == "Search the archive.\n\nReturns titles."
    assert search.parameters == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "what to look for"},
            "limit": {"type": "integer", "default": 10},
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def test_structured_parameters_are_described_and_read_back() -> None:
    @tool
    def place(
        box: Box, place: Place, options: Options, colour: Colour, mode: Literal["a", "b"], tags: list[str] = [],  # noqa: B006
        when: datetime.date | None = None,
    ) -> None: ...  # fmt: skip

    assert set(place.parameters["$defs"]) == {"Box", "Place", "Options", "Colour"}
    read = place.signature.read(
        '{"box": {"width": 1, "inner": {"width": 2}}, "place": {"city": "Ulm"}, "options": {"deep": true},'
        ' "colour": "red", "mode": "b", "when": "2026-01-02"}'
    )
    assert read == {
        "box": Box(1, Box(2)),
        "place": Place("Ulm"),
        "options": {"deep": True},
        "colour": Colour.RED,
        "mode": "b",
        "tags": [],
        "when": datetime.date(2026, 1, 2),
    }
    read["tags"].append("x")
    least = '{"box":{"width":1},"place":{"city":""},"options":{"deep":false},"colour":"red","mode":"a"}'
    assert place.signature.read(least)["tags"] == []


def test_a_tool_is_still_the_function() -> None:
    @tool(idempotent=True, timeout=3)
    def double(number: int) -> int:
        """Double it."""
        return number * 2

    assert double(4) == 8
    assert (double.idempotent, double.timeout, double.__doc__) == (True, 3, "Double it.")


def test_numbers_in_quotes_are_understood() -> None:
    @tool
    def double(number: int) -> int:
        return number

    assert double.signature.read('{"number": "3"}') == {"number": 3}
    assert double.signature.read(' {"number": 3} ') == {"number": 3}


def test_a_recursive_type_keeps_its_definition() -> None:
    @tool
    def nest(box: Box) -> None: ...

    inner = nest.parameters["$defs"]["Box"]["properties"]["inner"]
    assert {"$ref": "#/$defs/Box"} in inner["anyOf"]


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda x: x, "name="),
        (eval("lambda: None"), "name="),
    ],
)
def test_a_function_without_a_usable_name_is_refused(function: Any, problem: str) -> None:
    with pytest.raises(ToolDefinitionError, match=problem):
        Tool(function)


def test_parameters_that_cannot_be_offered_are_refused_by_name() -> None:
    def unannotated(x) -> None: ...  # type: ignore[no-untyped-def]
    def variadic(*args: int) -> None: ...
    def keywords(**kwargs: int) -> None: ...
    def positional(x: int, /) -> None: ...
    def odd(x: object, y: complex) -> None: ...

    refused = {
        "'x'": unannotated,
        "args": variadic,
        "kwargs": keywords,
        "parameter x": positional,
        "'odd'": odd,
    }
    for named, function in refused.items():
        with pytest.raises(ToolDefinitionError, match=named):
            Tool(function)


def test_two_tools_of_one_name_are_refused() -> None:
    def one() -> None: ...

    with pytest.raises(ToolDefinitionError, match="two tools"):
        Agent("a", model=ScriptedModel([]), tools=[one, tool(name="one")(lambda: None)])


def test_the_context_is_not_offered() -> None:
    @tool
    def look(where: str, context: ToolContext) -> None: ...

    assert set(look.parameters["properties"]) == {"where"}
    assert look.signature.context_parameter == "context"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is\n", "as it is\n"),
        (None, "null"),
        (3, "3"),
        ([1, (2, {3})], "[1,[2,[3]]]"),
        ({"a": Box(1)}, '{"a":{"width":1,"inner":null}}'),
        (Place("Ulm"), '{"city":"Ulm","zip_code":""}'),
        (Colour.RED, '"red"'),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ({1: "int key"}, '{"1":"int key"}'),
    ],
)
def test_results_become_text(value: object, text: str) -> None:
    assert result_text(value, "t") == text


def test_results_that_have_no_text_are_refused() -> None:
    nested: list[Any] = []
    nested.append(nested)
    for value in (object(), {"x": object()}, b"raw", [float("nan")], nested, {"s": "\udfff"}):
        with pytest.raises(SaveRejected) as refused:
            result_text(value, "t")
        assert refused.value.field.startswith("result")
