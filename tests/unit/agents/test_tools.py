"""How functions become tools."""

from __future__ import annotations

import datetime
import enum
import functools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict
from uuid import UUID

import anyio
import msgspec
import pytest

from overwinter import Agent, ToolContext, tool
from overwinter.agents.models.protocol import ToolCall
from overwinter.agents.tool_result import is_small, result_text
from overwinter.agents.toolbox import Toolbox
from overwinter.agents.tools import Tool
from overwinter.errors import SaveRejected, ToolDefinitionError
from overwinter.runtime.clock import SystemClock
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable


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

    refused: dict[str, Any] = {
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


async def called(function: Callable[..., Any], arguments: str = '{"number": 2}') -> str:
    a_tool: Tool[..., Any] = function if isinstance(function, Tool) else tool(name="tested")(function)
    no_context: Any = None
    ok, text = await Toolbox([a_tool]).call(
        ToolCall("c", a_tool.name, arguments),
        no_context,
        clock=SystemClock(),
        limiter=anyio.CapacityLimiter(1),
    )
    assert ok, text
    return text


class Doubler:
    """Doubles."""

    unrelated: int = 3

    def __call__(self, number: int) -> int:
        return number * 2


class AsyncDoubler:
    async def __call__(self, number: int) -> list[Any]:
        await anyio.lowlevel.checkpoint()
        return [number * 2, threading.current_thread().name]


HERE = threading.current_thread().name


@pytest.mark.anyio
async def test_an_async_decorator_makes_an_async_tool_of_a_sync_function() -> None:
    def sync(number: int) -> list[Any]:
        return [number, threading.current_thread().name]

    @functools.wraps(sync)
    async def decorated(number: int) -> list[Any]:
        await anyio.lowlevel.checkpoint()
        return sync(number)

    assert await called(decorated) == f'[2,"{HERE}"]'


@pytest.mark.anyio
async def test_a_sync_decorator_of_an_async_function_runs_in_a_thread_and_what_it_returns_on_the_loop() -> (
    None
):
    outside: list[str] = []

    async def inner(number: int) -> list[Any]:
        await anyio.lowlevel.checkpoint()
        return [number, threading.current_thread().name]

    @functools.wraps(inner)
    def decorated(number: int) -> Any:
        outside.append(threading.current_thread().name)
        return inner(number)

    assert await called(decorated) == f'[2,"{HERE}"]'
    assert outside != [HERE]


@pytest.mark.anyio
async def test_an_object_that_can_be_called_is_a_tool() -> None:
    assert await called(Doubler()) == "4"
    assert await called(AsyncDoubler()) == f'[4,"{HERE}"]'
    doubler = tool(name="double")(Doubler())
    assert doubler.description == "Doubles."
    assert set(doubler.parameters["properties"]) == {"number"}
    assert doubler(4) == 8
    assert await called(Doubler().__call__) == "4"


@pytest.mark.anyio
async def test_a_partial_offers_what_is_not_bound() -> None:
    def search(index: object, query: str, *, limit: int, box: Any, deep: bool = False) -> list[Any]:
        """Search the index."""
        return [query, limit, deep]

    async def search_later(index: object, query: str) -> list[Any]:
        await anyio.lowlevel.checkpoint()
        return [query, threading.current_thread().name]

    bound = tool(name="search")(functools.partial(search, object(), box=object()))
    assert set(bound.parameters["properties"]) == {"query", "limit", "deep"}
    assert bound.parameters["required"] == ["query", "limit"]
    assert bound.description == "Search the index."
    assert await called(bound, '{"query": "bees", "limit": 3}') == '["bees",3,false]'
    later = functools.partial(search_later, object())
    assert await called(later, '{"query": "bees"}') == f'["bees","{HERE}"]'
    assert await called(functools.partial(AsyncDoubler())) == f'[4,"{HERE}"]'


def test_a_signature_that_cannot_be_found_out_is_refused() -> None:
    doubler: Any = Doubler()
    functions: tuple[Any, ...] = (
        dict.fromkeys,
        functools.partial(print, 1, no_such=2),
        functools.partial(doubler, 1, 2),
    )
    for function in functions:
        with pytest.raises(ToolDefinitionError, match="'odd'"):
            Tool(function, name="odd")


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
        ({"rows": [(1, Place("Ulm")), (Colour.RED,)]}, '{"rows":[[1,{"city":"Ulm","zip_code":""}],["red"]]}'),
        ("é", "é"),
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


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_many_rows_become_the_text_that_few_would(count: int) -> None:
    rows = [(number, [Place(str(number))]) for number in range(count)]
    decoded = msgspec.json.decode(result_text(rows, "t"))
    assert decoded == [[number, [{"city": str(number), "zip_code": ""}]] for number in range(count)]
    with pytest.raises(SaveRejected) as refused:
        result_text([*rows, {"scores": (1, b"raw")}], "t")
    assert refused.value.field == f"result[{count}].scores[1]"


def test_a_lone_surrogate_far_into_a_text_is_found() -> None:
    with pytest.raises(SaveRejected, match="at 3000000"):
        result_text("é" * 3_000_000 + "\udfff", "t")


def test_text_that_is_a_class_of_its_own_is_refused() -> None:
    class Name(str):
        __slots__ = ()

    with pytest.raises(SaveRejected, match="a Name"):
        result_text(Name("x"), "t")


def test_what_is_small_is_told_from_what_is_not() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    few = [
        None,
        3,
        "text",
        b"raw",
        [1, {"a": (1.5, {2})}],
        Box(1, Box(2)),
        Place("Ulm"),
        Colour.RED,
        object(),
    ]
    for value in few:
        assert is_small(value), value
    big = "x" * 100_000
    for value in (
        big, {big: 1}, [big], big.encode(), Box(1, Box(big)), Place(big), 1 << 1_000_000, cycle,  # type: ignore[arg-type]
        list(range(1000)), {"a": [list(range(20))] * 20}, dict.fromkeys(range(1000)),
    ):  # fmt: skip
        assert not is_small(value)
