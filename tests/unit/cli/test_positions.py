"""Lines of a TOML document, which tomllib does not tell."""

from __future__ import annotations

import json
import tomllib
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from overwinter.cli.scripts.positions import Path, line_of, positions

Document: TypeAlias = tuple[str, dict[Path, int]]

#: What could be taken for something else: quotes, brackets, comments, equals signs and ends of lines in texts.
TRICKY = st.text(alphabet="ab\"'\\[]{}=,.# \t\n$é", max_size=12)
KEYS = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), TRICKY)
SCALARS = st.one_of(
    st.integers(-99, 99),
    st.booleans(),
    st.sampled_from(["1979-05-27 07:32:00", "07:32:00", "1e6", "inf", "0xff"]).map(lambda raw: ("raw", raw)),
    TRICKY,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(KEYS), inner, max_size=3).map(dict)
    ),
    max_leaves=8,
)


class Writer:
    """Writes TOML in any of its styles, and knows where it wrote what."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Path, int] = {}

    def put(self, text: str) -> None:
        self.text += text

    def mark(self, path: Path) -> None:
        self.lines[path] = self.text.count("\n") + 1

    def gap(self) -> None:
        """What may stand between the elements of an array."""
        self.put(self.draw(st.sampled_from(["", " ", "\n", ' # ] not "\n  ', "\n\n\t"])))

    def key(self, key: str) -> None:
        bare = key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
        if bare and self.draw(st.booleans()):
            self.put(key)
        elif key and "'" not in key and "\n" not in key and "\t" not in key and self.draw(st.booleans()):
            self.put(f"'{key}'")
        else:
            self.put(json.dumps(key))

    def string(self, text: str) -> None:
        style = self.draw(st.sampled_from(["basic", "multi", "literal"]))
        if style == "multi":
            escaped = text.replace("\\", "\\\\").replace('"""', '""\\"')
            self.put('"""\n' + escaped + '"""')
        elif style == "literal" and "'''" not in text and not text.endswith("'"):
            self.put("'''\n" + text + "'''")
        else:
            self.put(json.dumps(text))

    def value(self, value: Any, path: Path) -> None:
        if isinstance(value, tuple):
            self.put(value[1])
        elif isinstance(value, bool):
            self.put("true" if value else "false")
        elif isinstance(value, str):
            self.string(value)
        elif isinstance(value, list):
            self.put("[")
            for index, each in enumerate(value):
                self.gap()
                self.mark((*path, index))
                self.value(each, (*path, index))
                self.gap()
                if index + 1 < len(value) or self.draw(st.booleans()):
                    self.put(",")
            self.gap()
            self.put("]")
        elif isinstance(value, dict):
            self.put("{")
            for index, (key, each) in enumerate(value.items()):
                self.put(", " if index else " ")
                self.pair(key, each, path)
            self.put(" }")
        else:
            self.put(str(value))

    def pair(self, key: str, value: Any, table: Path) -> None:
        path = (*table, key)
        self.mark(path)
        self.key(key)
        self.put(self.draw(st.sampled_from(["=", " = ", "\t= "])))
        self.value(value, path)

    def table(self, content: dict[str, Any], path: Path) -> None:
        for key, each in content.items():
            self.pair(key, each, path)
            self.put(self.draw(st.sampled_from(["\n", " # a = [b]\n", "\n\n# [no]\n"])))


TABLES = st.dictionaries(KEYS, VALUES, max_size=3)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    writer = Writer(draw)
    writer.table(draw(TABLES.filter(lambda content: "T" not in content and "A" not in content)), ())
    if draw(st.booleans()):
        writer.mark(("T",))
        writer.put("[ T ]\n" if draw(st.booleans()) else "[T]\n")
        writer.table(draw(TABLES.filter(lambda content: "sub" not in content)), ("T",))
        if draw(st.booleans()):
            writer.mark(("T", "sub"))
            writer.put('[T."sub"]\n')
            writer.table(draw(TABLES), ("T", "sub"))
    for index in range(draw(st.integers(0, 3))):
        if index == 0:
            writer.mark(("A",))
        writer.mark(("A", index))
        writer.put("[[A]]\n")
        writer.table(draw(TABLES.filter(lambda c: "in" not in c and "B" not in c)), ("A", index))
        if draw(st.booleans()):
            writer.mark(("A", index, "in"))
            writer.put("[A.in]\n")
            writer.table(draw(TABLES), ("A", index, "in"))
        for inner in range(draw(st.integers(0, 2))):
            if inner == 0:
                writer.mark(("A", index, "B"))
            writer.mark(("A", index, "B", inner))
            writer.put("[[A.B]]\n")
            writer.table(draw(TABLES), ("A", index, "B", inner))
    return writer.text, writer.lines


def paths_of(value: Any, path: Path = ()) -> set[Path]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path, *(each for key, one in inner for each in paths_of(one, (*path, key)))}


@given(documents())
def test_every_key_table_and_element_has_the_line_where_it_was_written(document: Document) -> None:
    """Y46: every key, table and element of a TOML file is known by its line, in whatever style it is written."""
    text, expected = document
    assert paths_of(tomllib.loads(text)) - {()} == set(expected)  # the writer writes what it means to
    assert positions(text) == expected


@given(documents())
def test_windows_line_ends_count_once(document: Document) -> None:
    text, expected = document
    assert positions(text.replace("\n", "\r\n")) == expected


def test_dotted_keys_name_the_tables_on_their_way() -> None:
    assert positions('\na.b."c.d" = 1\na.e = 2\n[x.y]\n[x]\n') == {
        ("a",): 2,
        ("a", "b"): 2,
        ("a", "b", "c.d"): 2,
        ("a", "e"): 3,
        ("x",): 5,
        ("x", "y"): 4,
    }


def test_quotes_before_the_closing_ones_belong_to_the_text() -> None:
    text = 'a = """x"""""\nb = \'\'\'y\'\'\'\'\'\nc = "\\""\nd = 1'
    assert tomllib.loads(text) == {"a": 'x""', "b": "y''", "c": '"', "d": 1}
    assert positions(text) == {("a",): 1, ("b",): 2, ("c",): 3, ("d",): 4}


def test_what_is_not_in_the_file_has_the_line_of_what_it_would_stand_in() -> None:
    found = positions("[swarm]\nname = 'a'\n\n[[agents]]\n")
    assert line_of(("agents", 0, "name"), found) == 4
    assert line_of(("swarm", "pattern"), found) == 1
    assert line_of(("nothing",), found) == 1
