"""Structured output: the shape an answer is to have, and what to say when it has not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from overwinter.agents.tool_schema import object_schema
from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OutputFormat"]

OutputT = TypeVar("OutputT")

_FENCE = re.compile(r"\A\s*```[\w-]*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


class OutputFormat(Generic[OutputT]):
    """How the final text becomes a value of ``output_type``.

    ``str`` takes the text as it is. A msgspec Struct, a dataclass, a pydantic model, or any type that msgspec
    can decode, is read from JSON, with or without a Markdown fence around it.
    """

    __slots__ = ("_decode", "output_type", "schema")

    def __init__(self, output_type: type[OutputT]) -> None:
        self.output_type = output_type
        self.schema: dict[str, Any] | None = None
        self._decode: Callable[[str], Any] = _as_it_is
        if output_type is not str:
            self.schema, self._decode = _schema_and_decoder(output_type)

    @property
    def name(self) -> str:
        """The name of the type."""
        return getattr(self.output_type, "__name__", str(self.output_type))

    @property
    def instruction(self) -> str:
        """What the system prompt adds, or an empty string for plain text."""
        if self.schema is None:
            return ""
        schema = msgspec.json.encode(self.schema).decode()
        return (
            "When you give your final answer, answer with one JSON value and nothing else. It must validate "
            f"against this JSON schema:\n{schema}"
        )

    @property
    def request(self) -> dict[str, Any] | None:
        """The schema in the form a model request carries, or ``None`` for plain text."""
        return None if self.schema is None else {"name": self.name, "schema": self.schema}

    def read(self, text: str) -> OutputT:
        """The value in *text*.

        :raises ValueError: it does not validate; the message says where, in words fit for the model.
        """
        fenced = _FENCE.match(text)
        return cast("OutputT", self._decode(fenced.group(1) if fenced and self.schema is not None else text))

    def try_to_read(self, text: str) -> OutputT | None:
        """The value in *text*, or None where there is none."""
        try:
            return self.read(text)
        except ValueError:
            return None

    @staticmethod
    def ask_again(problem: str) -> str:
        """What the model is told when its answer did not validate."""
        return f"That answer does not validate: {problem}\nAnswer again with one JSON value and nothing else."


def _as_it_is(text: str) -> Any:
    return text


def _schema_and_decoder(output_type: Any) -> tuple[dict[str, Any], Callable[[str], Any]]:
    # pydantic is not a dependency: its models are known by what they can do, and its errors are ValueErrors.
    if hasattr(output_type, "model_validate_json"):
        return output_type.model_json_schema(), output_type.model_validate_json
    try:
        schema = object_schema(output_type)
        decoder = msgspec.json.Decoder(output_type)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"output_type={output_type!r} cannot be described in JSON: {error}. Use str, a msgspec Struct, "
            "a dataclass or a pydantic model."
        ) from error

    def decode(text: str) -> Any:
        try:
            return decoder.decode(text)
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error

    return schema, decode
