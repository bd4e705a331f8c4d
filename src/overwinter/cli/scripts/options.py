"""The options of patterns, as a script has them: what may stand there, and whom of the file they name."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from overwinter.cli.scripts.positions import Path
    from overwinter.cli.scripts.sections import Section

__all__ = ["Kind", "Option", "as_argument", "names_in", "read_option"]

#: ``member`` is a name and ``members`` a list of names; ``edges`` a list of texts ``"a -> b -> c"`` and of tables with
#: ``from``, ``to`` and a condition.
Kind: TypeAlias = Literal["text", "texts", "whole", "flag", "member", "members", "edges"]


def _lines(task: str) -> list[str]:
    return [line.strip() for line in task.splitlines() if line.strip()]


def _paragraphs(task: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", task) if part.strip()]


# How a task becomes items; of itself MapReduce takes it for a JSON list.
_SPLITS: dict[str, Callable[[str], list[str]] | None] = {
    "json": None,
    "lines": _lines,
    "paragraphs": _paragraphs,
}

_ARROW = re.compile(r"\s*->\s*")


class Option(Struct, frozen=True, kw_only=True):
    """One option of a pattern.

    :ivar parameter: how the constructor of the pattern calls it, where that differs.
    :ivar one_of: of a text, those that it may be; any unless given.
    :ivar or_one_of: texts that may stand in the place of a member.
    :ivar instead_of: another option, which cannot be given as well.
    :ivar within: those whom it names are members already; otherwise they take part by being named.
    """

    kind: Kind
    required: bool = False
    parameter: str = ""
    one_of: tuple[str, ...] = ()
    or_one_of: tuple[str, ...] = ()
    instead_of: str = ""
    within: bool = False


def read_option(section: Section, key: str, option: Option) -> Any:
    """The option as it stands there, checked but for the names in it; None where it is missing or wrong."""
    if option.required and key not in section:
        section.get(key)
        section.wrong(key, f"{section.what} has no {key}, which its pattern needs")
        return None
    match option.kind:
        case "text" if option.one_of:
            return section.choice(key, option.one_of)
        case "text" | "member":
            return section.text(key)
        case "whole":
            return section.whole(key)
        case "flag":
            return section.flag(key)
        case "texts" | "members":
            return section.texts(key)
        case "edges":
            return _edges(section, key)


def names_in(value: Any, option: Option, path: Path) -> Iterator[tuple[Path, str, bool]]:
    """Whom an option names: each with where it does so, and whether it has to be a member already."""
    match option.kind:
        case "member":
            if value not in option.or_one_of:
                yield path, value, option.within
        case "members":
            yield from (((*path, index), name, option.within) for index, name in enumerate(value))
        case "edges":
            for index, edge in enumerate(value):
                yield from (((*path, index), name, True) for name in _ends(edge))
        case _:
            return


def as_argument(value: Any, option: Option, members: Mapping[str, Any]) -> Any:
    """What the constructor of the pattern is given for an option."""
    match option.kind:
        case "text" if value in _SPLITS and option.one_of:
            return _SPLITS[value]
        case "member":
            return value if value in option.or_one_of else members[value]
        case "edges":
            return [pair for edge in value for pair in _pairs(edge)]
        case _:
            return value


def _edges(section: Section, key: str) -> list[Any] | None:
    value = section.get(key)
    wanted = '"a -> b", or { from = "a", to = "b", contains = "..." }'
    if not isinstance(value, list):
        if value is not None:
            section.wrong(key, f"{key} of {section.what} is a list of edges, as in {wanted}")
        return None
    kept: list[Any] = []
    every = [*cast("Iterable[Any]", value)]
    for index, edge in enumerate(every):
        path = (*section.path, key, index)
        if isinstance(edge, dict):
            inner = section.within(cast("dict[str, Any]", edge), (key, index), f"this edge of {section.what}")
            if _is_sound(inner):
                kept.append(edge)
        elif isinstance(edge, str) and len(ends := _ends(edge)) > 1 and all(ends):
            kept.append(edge)
        else:
            section.problems.add(path, f"{section.what} has an edge that is none; write it as {wanted}")
    return kept


def _is_sound(edge: Section) -> bool:
    ends = [edge.text(end, required=True) for end in ("from", "to")]
    words = [edge.text(key) for key in ("contains", "lacks")]
    otherwise = edge.flag("otherwise")
    edge.end({"when": "a condition is contains, lacks or otherwise; functions need a program"})
    if sum(word is not None for word in words) + bool(otherwise) > 1:
        edge.wrong("otherwise", f"{edge.what} has more than one condition; it may have one")
    return None not in ends


def _ends(edge: Any) -> list[str]:
    """Whom an edge leads from and to, and whom it leads through."""
    return _ARROW.split(edge.strip()) if isinstance(edge, str) else [edge["from"], edge["to"]]


def _pairs(edge: Any) -> Iterator[tuple[Any, ...]]:
    ends = _ends(edge)
    if isinstance(edge, str):
        yield from pairwise(ends)
    elif edge.get("otherwise"):
        yield (*ends, "otherwise")
    elif "contains" in edge or "lacks" in edge:
        yield (*ends, _condition(edge))
    else:
        yield tuple(ends)


def _condition(edge: Mapping[str, str]) -> Callable[[str], bool]:
    word, wanted = (edge["contains"], True) if "contains" in edge else (edge["lacks"], False)

    def holds(text: str) -> bool:
        return (word in text) is wanted

    return holds
