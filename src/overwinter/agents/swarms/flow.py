"""The language of a flow: ``"a -> b, c -> d"``."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from overwinter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["HUMAN", "flow_of", "parse_flow"]

#: The word of a flow that means a person, who is asked by a function.
HUMAN = "H"

_TOKEN = re.compile(
    r"""
      (?P<arrow>->)
    | (?P<comma>,)
    | "(?P<quoted>(?:[^"\\]|\\.)*)"
    | (?P<open>")
    | (?P<plain>(?:(?!->)[^,"])+)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PLAIN = re.compile(r'[^\s,"]+(?: [^\s,"]+)*')


class _Name(NamedTuple):
    text: str
    start: int
    end: int


def parse_flow(flow: str, names: Collection[str], *, human: bool = False) -> tuple[tuple[str, ...], ...]:
    """The steps of *flow*: the names in each of them, which work at the same time.

    ``->`` stands between steps and a comma between those who work at the same time. Spaces and line breaks around a
    name mean nothing. A name with a comma, an arrow, a quotation mark or odd spaces in it stands in double quotes, with
    a backslash before each quotation mark and backslash of its own.

    :param names: those who may stand in it.
    :param human: whether the word ``H`` stands for a person, alone in its step.
    :raises ConfigurationError: it is none; the message shows the place.
    """
    if not flow.strip():
        raise ConfigurationError("the flow is empty; write the agents' names, as in 'a -> b, c -> d'")
    steps = _read(flow)
    for step in steps:
        for number, name in enumerate(step):
            if human and name.text == HUMAN:
                if len(step) > 1:
                    raise _wrong(flow, name, f"{HUMAN!r}, the person, stands alone in its step")
            elif name.text not in names:
                raise _wrong(flow, name, _unknown(name.text, names))
            if name.text in [earlier.text for earlier in step[:number]]:
                raise _wrong(
                    flow, name, f"{name.text!r} stands twice in one step and cannot do two things at once"
                )
    return tuple(tuple(name.text for name in step) for step in steps)


def flow_of(steps: Iterable[Iterable[str]]) -> str:
    """The flow that :func:`parse_flow` reads as *steps*."""
    return " -> ".join(", ".join(map(_written, step)) for step in steps)


def _written(name: str) -> str:
    if _PLAIN.fullmatch(name) and "->" not in name:
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _read(flow: str) -> list[list[_Name]]:
    steps: list[list[_Name]] = [[]]
    awaited = True  # whether a name has to come next
    before = _Name("", 0, 0)
    for match in _TOKEN.finditer(flow):
        token, kind = _Name(match[0], *match.span()), match.lastgroup
        if kind == "open":
            raise _wrong(flow, token, "this quotation mark is not closed")
        if kind in ("arrow", "comma"):
            if awaited:
                raise _wrong(flow, token, f"a name is missing before {token.text!r}")
            if kind == "arrow":
                steps.append([])
            awaited, before = True, token
        elif not (kind == "plain" and token.text.isspace()):
            name = _name(token, match["quoted"])
            if not awaited:
                raise _wrong(flow, name, "'->' or a comma is missing before this name")
            steps[-1].append(name)
            awaited = False
    if awaited:
        raise _wrong(flow, before, f"a name is missing after {before.text!r}")
    return steps


def _name(token: _Name, quoted: str | None) -> _Name:
    if quoted is not None:
        return token._replace(text=_ESCAPED.sub(r"\1", quoted))
    start = token.start + len(token.text) - len(token.text.lstrip())
    text = token.text.strip()
    return _Name(text, start, start + len(text))


def _unknown(name: str, names: Collection[str]) -> str:
    if name == HUMAN:
        return f"{HUMAN!r} is a person; pass human_in_the_loop=, the function that asks one, or an agent of that name"
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {_listed(sorted(names))}"
    return f"no agent is called {name!r}; {hint}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:10]))
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def _wrong(flow: str, place: _Name, problem: str) -> ConfigurationError:
    """The error, with the line of the flow in which *place* is and a mark under it."""
    begin = flow.rfind("\n", 0, place.start) + 1
    end = flow.find("\n", place.start)
    line = flow[begin:] if end < 0 else flow[begin:end]
    column = place.start - begin
    width = max(1, min(place.end - place.start, len(line) - column))
    indent = "".join(character if character == "\t" else " " for character in line[:column])
    number = flow.count("\n", 0, begin) + 1
    where = f"column {column + 1}" if "\n" not in flow.strip() else f"line {number}, column {column + 1}"
    return ConfigurationError(
        f"the flow is wrong at {where}: {problem}\n    {line}\n    {indent}{'^' * width}"
    )
