"""``__all__`` is true and complete, and whatever a user can reach says what it is."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import overwinter

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(overwinter.__file__).parent
ROOMS = ("runtime", "persistence", "agents", "cli")


def modules() -> list[str]:
    """Every module of overwinter, none of which has a private name but ``_version``."""
    found = [info.name for info in pkgutil.walk_packages(overwinter.__path__, "overwinter.")]
    return sorted(["overwinter", *(name for name in found if not name.endswith("__main__"))])


def source(name: str) -> ast.Module:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text("utf-8"))


def faces() -> list[str]:
    """The modules that users import from: the packages, and what stands beside the rooms."""
    beside = [f"overwinter.{path.stem}" for path in SOURCE.glob("*.py") if not path.stem.startswith("_")]
    packages = [
        f"overwinter.{'.'.join(path.parent.relative_to(SOURCE).parts)}"
        for path in SOURCE.glob("**/__init__.py")
    ]
    return sorted({*beside, *(name.rstrip(".") for name in packages)})


def public(names: Iterator[str] | list[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def imported(body: list[ast.stmt]) -> Iterator[str]:
    """The names that the imports at the top of a module take from overwinter, those for type checkers among them."""
    for statement in body:
        if isinstance(statement, ast.If):
            yield from imported(statement.body)
        elif isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("overwinter"):
            for alias in statement.names:
                yield alias.asname or alias.name


def defined(body: list[ast.stmt]) -> Iterator[str]:
    """The classes and functions at the top of a module."""
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement.name


def test_the_rooms_are_those_of_the_house() -> None:
    assert {path.parent.name for path in SOURCE.glob("*/__init__.py")} == set(ROOMS)


def test_every_name_in_all_is_there_and_named_once() -> None:
    for name in modules():
        module = importlib.import_module(name)
        names: list[str] = module.__all__
        assert len(names) == len(set(names)), name
        assert [one for one in names if not hasattr(module, one)] == [], name


def test_every_module_says_what_it_is() -> None:
    assert [name for name in modules() if not (importlib.import_module(name).__doc__ or "").strip()] == []


def test_what_a_public_module_offers_is_in_its_all() -> None:
    """A module that defines something offers that; one that defines nothing offers what it imports."""
    for name in faces():
        names = set(importlib.import_module(name).__all__)
        body = source(name).body
        own = public([*defined(body)])
        taken = public([*imported(body)])
        assert (own or taken) <= names, name
        assert public([*names]) <= own | taken, name


def objects() -> Iterator[tuple[str, Any]]:
    """Every public class and function, and every public method and property of those classes, once."""
    seen: set[int] = set()
    for name in faces():
        module = importlib.import_module(name)
        for one in module.__all__:
            thing = getattr(module, one)
            if isinstance(thing, ModuleType) or id(thing) in seen:
                continue
            seen.add(id(thing))
            if inspect.isclass(thing):
                yield f"{name}.{one}", thing
                yield from members(f"{name}.{one}", thing)
            elif inspect.isroutine(thing):
                yield f"{name}.{one}", thing


def members(path: str, owner: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(owner).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property | cached_property | classmethod | staticmethod) or inspect.isfunction(
            member
        ):
            yield f"{path}.{name}", member


def test_every_public_class_function_method_and_property_has_a_docstring() -> None:
    silent = [
        path
        for path, thing in objects()
        if not ((inspect.isclass(thing) and thing.__doc__) or inspect.getdoc(thing))
    ]
    assert silent == []


def test_the_error_tree_in_the_docstring_is_the_real_one() -> None:
    errors = importlib.import_module("overwinter.errors")
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), overwinter.OverwinterError | UserWarning)
        assert name in (errors.__doc__ or ""), name
