"""Imports run one way: runtime <- persistence <- agents <- cli, and what stands beside the rooms is for all."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import overwinter

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(overwinter.__file__).parent
FLOORS = {"errors": 0, "_version": 0, "runtime": 1, "persistence": 2, "agents": 3, "cli": 5}
TOP = 4  # the public faces: overwinter itself, events, testing
UNSAFE = {"pickle", "shelve", "dill", "eval", "exec", "loads", "__import__"}
HEAVY = {"litellm", "typer", "rich", "aiohttp", "openai", "httpx", "pydantic"}


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def dotted(path: Path) -> tuple[str, ...]:
    return ("overwinter", *path.relative_to(SOURCE).with_suffix("").parts)


def floor(module: str) -> int:
    """How high a module of overwinter stands; it may import what stands no higher."""
    parts = module.split(".")
    return FLOORS.get(parts[1], TOP) if len(parts) > 1 else TOP


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere in a file, for types only or inside functions too, with its line."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = SOURCE.joinpath(*whole.split(".")[1:]).with_suffix(".py").exists()
                is_room = whole.startswith("overwinter.") and SOURCE.joinpath(*whole.split(".")[1:]).is_dir()
                yield whole if is_module or is_room else node.module, node.lineno


def test_imports_run_one_way() -> None:
    wrong: list[str] = []
    for path in files():
        here = floor(".".join(part for part in dotted(path) if part != "__init__"))
        wrong += [
            f"{path.relative_to(SOURCE)}:{line} imports {module}, which stands higher"
            for module, line in imports(path)
            if module.partition(".")[0] == "overwinter" and floor(module) > here
        ]
    assert wrong == []


def test_nothing_heavy_is_imported_at_the_top_of_a_module() -> None:
    wrong: list[str] = []
    for path in files():
        if dotted(path)[1:2] == ("cli",):
            continue
        for statement in ast.parse(path.read_text("utf-8")).body:
            names: list[str] = []
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom):
                names = [statement.module or ""]
            wrong += [
                f"{path.relative_to(SOURCE)}:{statement.lineno} imports {name}"
                for name in names
                if name.partition(".")[0] in HEAVY
            ]
    assert wrong == []


def test_nothing_that_a_file_says_is_ever_executed() -> None:
    wrong: list[str] = []
    for path in files():
        unsafe = {module for module, _ in imports(path) if module.partition(".")[0] in UNSAFE}
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                unsafe |= {called} & UNSAFE
        wrong += [f"{path.relative_to(SOURCE)} uses {name}" for name in sorted(unsafe)]
    assert wrong == []


def test_a_violation_would_be_seen() -> None:
    assert (
        floor("overwinter.agents.agent") > floor("overwinter.persistence.files") > floor("overwinter.runtime")
    )
    assert floor("overwinter") > floor("overwinter.agents") > floor("overwinter.errors")
    assert {"overwinter.errors", "overwinter.agents", "overwinter.runtime"} <= {
        module for module, _ in imports(SOURCE / "__init__.py")
    }
