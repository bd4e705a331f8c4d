"""From a function's signature to the JSON schema of its arguments, and from a model's JSON back."""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.errors import ToolDefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ToolSignature"]

_REF = "#/$defs/{name}"


class ToolSignature:
    """The arguments of a tool: how to describe them and how to read them.

    :ivar schema: a JSON schema of type ``object``, its definitions under ``$defs``.
    :ivar context_parameter: the name of the parameter that receives the context, or an empty string.
    """

    __slots__ = ("_decoder", "_struct", "context_parameter", "schema")

    def __init__(self, struct: type[msgspec.Struct], context_parameter: str) -> None:
        self._struct = struct
        # Not strict: models write "3" where 3 is meant, and the meaning is plain.
        self._decoder = msgspec.json.Decoder(struct, strict=False)
        self.context_parameter = context_parameter
        self.schema = object_schema(struct)

    @classmethod
    def of(cls, function: Callable[..., Any], name: str, *, context_type: type) -> ToolSignature:
        """Read the signature of *function*.

        :raises ToolDefinitionError: a parameter cannot be offered to a model; the message names it.
        """
        hints = _hints(function, name)
        context_parameter = ""
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for parameter in inspect.signature(function).parameters.values():
            annotation = hints.get(parameter.name, parameter.empty)
            if annotation is context_type:
                context_parameter = parameter.name
            else:
                fields.append(_field(name, parameter, annotation))
        try:
            struct = msgspec.defstruct(f"{name}_arguments", fields, kw_only=True, forbid_unknown_fields=True)
            return cls(struct, context_parameter)
        except (TypeError, ValueError) as error:
            raise ToolDefinitionError(
                f"tool {name!r} cannot be described to a model: {error}. Use plain types, msgspec Structs, "
                "dataclasses or TypedDicts for its parameters."
            ) from error

    def read(self, arguments: str) -> dict[str, Any]:
        """The keyword arguments in the model's JSON.

        :raises msgspec.ValidationError: the JSON does not fit the schema; the message names the place.
        :raises msgspec.DecodeError: it is not JSON.
        """
        return msgspec.structs.asdict(self._decoder.decode(arguments.strip() or "{}"))


def object_schema(struct: Any) -> dict[str, Any]:
    """The JSON schema of a type, with the type itself at the top and what it refers to under ``$defs``."""
    (top,), components = msgspec.json.schema_components((struct,), ref_template=_REF)
    name = str(top.get("$ref", "")).rpartition("/")[2]
    if name in components:
        top = components[name]
        if f'"{_REF.format(name=name)}"'.encode() not in msgspec.json.encode(components):
            del components[name]
    schema = {key: value for key, value in top.items() if key != "title"}
    if components:
        schema["$defs"] = components
    return schema


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except NameError as error:
        raise ToolDefinitionError(
            f"the annotations of tool {name!r} cannot be resolved: {error}. Define the types it uses at the top "
            "level of their module, before the tool."
        ) from error


def _field(tool_name: str, parameter: inspect.Parameter, annotation: Any) -> Any:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise ToolDefinitionError(
            f"parameter {parameter} of tool {tool_name!r} has no name that a model could use; "
            "give the tool plain named parameters"
        )
    if annotation is parameter.empty:
        raise ToolDefinitionError(
            f"parameter {parameter.name!r} of tool {tool_name!r} has no type annotation, so the model cannot be told "
            "what to send; annotate it"
        )
    if parameter.default is parameter.empty:
        return (parameter.name, annotation)
    default = parameter.default
    if isinstance(default, (list, dict, set, bytearray)):
        copied = typing.cast("Any", default)
        return (parameter.name, annotation, msgspec.field(default_factory=copied.copy))
    return (parameter.name, annotation, default)
