"""What the offline model has read, and how it fills the arguments of a tool from that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from overwinter.agents.models.extraction import extract, keywords, most_telling, shared_words
from overwinter.agents.models.prose import heading_of, single_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Material", "fill", "from_result", "text_of"]

_TITLES = ("title", "heading", "headline")
_SUMMARIES = ("summary", "abstract", "text", "content", "body", "finding", "note", "sentence", "answer")
_KEYWORDS = ("keywords", "tags", "topics")
_GROUND = ("in_common", "common_ground", "commonalities")


class Material(Struct, frozen=True):
    """One text, or several with what they have in common.

    ``given`` are arguments already known, such as the name by which the text was read.
    """

    title: str = ""
    text: str = ""
    summary: str = ""
    keywords: tuple[str, ...] = ()
    given: dict[str, Any] = {}
    sources: tuple[Material, ...] = ()

    @classmethod
    def of_text(cls, text: str, *, title: str = "", given: Mapping[str, Any] | None = None) -> Material:
        """A text, summarised in its own sentences."""
        return cls(
            title=title or heading_of(text) or "Untitled",
            text=text,
            summary=extract(text) or "There is nothing in it to summarise.",
            keywords=tuple(keywords(text)),
            given=dict(given or {}),
        )

    @classmethod
    def of_sources(cls, sources: Sequence[Material], shared: Sequence[tuple[str, int]] = ()) -> Material:
        """Several texts, and what they have in common: the words in *shared*, each with how many texts have it.

        Unless given they are counted.
        """
        texts = [source.text for source in sources]
        shared = shared or shared_words(texts)
        return cls(
            title=sources[0].title if len(sources) == 1 else f"A report on {len(sources)} documents",
            text="\n\n".join(texts),
            summary=_common_ground(sources, shared),
            keywords=tuple(word for word, _ in shared),
            sources=tuple(sources),
        )


def text_of(result: Any) -> str:
    """The text that a reading tool handed over: the answer itself, its member ``text``, or all texts within it."""
    if isinstance(result, dict):
        fields = cast("dict[str, Any]", result)
        text = fields.get("text")
        if isinstance(text, str):
            return text
    return "\n\n".join(_strings(result))


def from_result(result: Any, *, given: Mapping[str, Any]) -> Material:
    """What a reading tool handed over, which is a text or, where it has a member ``summary``, a summary already."""
    fields = cast("dict[str, Any]", result) if isinstance(result, dict) else {}
    summary = _string(fields, "summary")
    if not summary:
        return Material.of_text(text_of(result), title=_string(fields, "title"), given=given)
    return Material(
        title=_string(fields, "title") or "Untitled",
        text=text_of(result),
        summary=summary,
        keywords=tuple(_strings(fields.get("keywords"))),
        given=dict(given),
    )


def fill(schema: Mapping[str, Any], material: Material) -> dict[str, Any]:
    """Arguments for the JSON schema of an object: its properties by their names, the required ones in any case."""
    return _object(schema, schema.get("$defs", {}), material)


def _object(schema: Mapping[str, Any], definitions: Mapping[str, Any], material: Material) -> dict[str, Any]:
    properties: dict[str, Any] = schema.get("properties", {})
    required = schema.get("required", ())
    filled: dict[str, Any] = {}
    for name, described in properties.items():
        value = _by_name(name, material)
        if value is None and _resolve(described, definitions).get("type") == "array" and material.sources:
            items = _resolve(_resolve(described, definitions).get("items", {}), definitions)
            if items.get("type") == "object":
                value = [_object(items, definitions, source) for source in material.sources]
        if value is None and name in required:
            value = _by_type(_resolve(described, definitions), material)
        if value is not None:
            filled[name] = value
    return filled


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return definitions.get(name, schema) if name else schema


def _by_name(name: str, material: Material) -> Any:
    if name in material.given:
        return material.given[name]
    if name in _TITLES:
        return material.title
    if name in _SUMMARIES or name in _GROUND:
        return material.summary
    return list(material.keywords) if name in _KEYWORDS else None


def _by_type(schema: Mapping[str, Any], material: Material) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    defaults: dict[str, Any] = {
        "integer": 0,
        "number": 0.0,
        "boolean": False,
        "array": [],
        "object": {},
        "null": None,
    }
    return defaults.get(str(schema.get("type")), material.summary)


def _common_ground(sources: Sequence[Material], shared: Sequence[tuple[str, int]]) -> str:
    if len(sources) < 2:
        return "There is only one document, so there is nothing to compare it with."
    if not shared:
        return "By the words they use, these documents have nothing in common."
    told = ", ".join(f"“{word}” (in {held} of {len(sources)})" for word, held in shared)
    parts = [f"Words that these documents share: {told}."]
    telling = most_telling([source.text for source in sources], [word for word, _ in shared])
    if telling is not None:
        number, sentence = telling
        parts.append(
            f"The sentence that holds most of them stands in “{sources[number].title}”: “{sentence}”"
        )
    return " ".join(parts)


def _string(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return single_line(value) if isinstance(value, str) else ""


def _strings(value: Any) -> list[str]:
    """Every text within *value*, in order."""
    if isinstance(value, str):
        return [value]
    within: list[Any] = []
    if isinstance(value, dict):
        within = list(cast("dict[str, Any]", value).values())
    elif isinstance(value, list):
        within = value  # pyright: ignore[reportUnknownVariableType]
    return [text for item in within for text in _strings(item)]
