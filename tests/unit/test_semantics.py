"""Every promise has a test, and every numbered test a promise."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMISE = re.compile(r"^- \*\*([A-Z]\d+)\*\* \S", re.MULTILINE)
NUMBERS = re.compile(r"^([A-Z]\d+(?:, [A-Z]\d+)*)(?:[:.] |$)")


def promised() -> list[str]:
    return PROMISE.findall((ROOT / "docs" / "semantics.md").read_text("utf-8"))


def proven() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                numbers = NUMBERS.match(ast.get_docstring(node) or "")
                for number in numbers[1].split(", ") if numbers else ():
                    found.setdefault(number, []).append(f"{path.relative_to(ROOT)}::{node.name}")
    return found


def test_every_promise_has_a_test_that_names_it() -> None:
    assert promised()
    assert sorted(set(promised()) - set(proven())) == []


def test_every_number_in_a_test_is_a_promise() -> None:
    assert {number: tests for number, tests in proven().items() if number not in promised()} == {}


def test_no_number_is_given_twice() -> None:
    numbers = promised()
    assert sorted(number for number in set(numbers) if numbers.count(number) > 1) == []
