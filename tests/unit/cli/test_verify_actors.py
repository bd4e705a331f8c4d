"""``overwinter verify`` on boards and other snapshots, broken on purpose, and mended."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import everything_in, look

from overwinter import Runtime

if TYPE_CHECKING:
    from pathlib import Path

SOUND, DAMAGED, REPAIRED = 0, 1, 3


@pytest.fixture
def board(workspace_dir: Path) -> Path:
    """The folder of a board that was written twice, beside a snapshot of the same name."""

    async def work() -> None:
        async with Runtime(workspace_dir) as runtime:
            await (await runtime.snapshot("plans", type=int, default=0)).save(7)
            opened = await runtime.board("plans")
            await opened.set("hives", 3)
            await opened.set("hives", 4)

    asyncio.run(work())
    (found,) = (path for path in (workspace_dir / "actors").iterdir() if session_of(path) == "board")
    return found


def session_of(folder: Path) -> Any:
    return json.loads((folder / ".identity.json").read_bytes())["session"]


def on_board(workspace: Path) -> Any:
    """What stands under the key, as a program finds it."""

    async def read() -> Any:
        async with Runtime(workspace) as runtime:
            entry = (await runtime.board("plans")).get("hives")
            return None if entry is None else entry.value

    return asyncio.run(read())


def verify(board: Path, *more: str, code: int = SOUND) -> str:
    """What it says, on one line."""
    return " ".join(look("verify", "-w", str(board.parent.parent), *more, code=code).stdout.split())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def test_what_actors_keep_is_looked_at(board: Path) -> None:
    """T1: boards and snapshots are counted and checked, and nothing is changed."""
    before = everything_in(board.parent.parent)
    assert verify(board).startswith("0 agents, 2 actors, 7 files, ")
    assert json.loads(verify(board, "--json"))["actors"] == 2
    assert verify(board, board.name).startswith("0 agents, 1 actor, ")
    assert everything_in(board.parent.parent) == before


def test_a_damaged_board_is_made_anew_of_the_generation_before(board: Path) -> None:
    state = board / "plans_state.json"
    cut(state)
    assert f"damaged actors/{board.name}/plans_state.json" in verify(board, code=DAMAGED)
    assert "made anew of the generation before it" in verify(board, "--repair", code=REPAIRED)
    assert "sound" in verify(board)
    assert list(board.glob("*.corrupt-*"))
    assert on_board(board.parent.parent) == 3


def test_a_board_that_was_edited_is_accepted(board: Path) -> None:
    state = board / "plans_state.json"
    state.write_bytes(state.read_bytes().replace(b'"value": 4', b'"value": 9'))
    assert "as after an edit by hand" in verify(board, code=DAMAGED)
    assert "accepted as it is" in verify(board, "--repair", code=REPAIRED)
    assert on_board(board.parent.parent) == 9


def test_what_is_no_board_is_not_accepted(board: Path) -> None:
    state = board / "plans_state.json"
    state.write_bytes(state.read_bytes().replace(b'"version": ', b'"verse": '))
    assert "by hand" not in verify(board, code=DAMAGED)
    assert "made anew" in verify(board, "--repair", code=REPAIRED)
    assert on_board(board.parent.parent) == 3


def test_a_board_of_which_nothing_is_left(board: Path) -> None:
    """What cannot be mended is set aside, and said."""
    cut(board / "plans_state.json")
    cut(board / "plans_state.json.previous")
    assert "nothing is left to make it of" in verify(board, "--repair", code=DAMAGED)
    assert len(list(board.glob("*.corrupt-*"))) == 2
    assert "sound" in verify(board)
    assert on_board(board.parent.parent) is None


def test_a_missing_or_damaged_identity_is_made_anew(board: Path) -> None:
    identity = board / ".identity.json"
    for missing in (False, True):
        if missing:
            identity.unlink()
        else:
            cut(identity)
        assert ".identity.json" in verify(board, code=DAMAGED)
        assert "made anew" in verify(board, "--repair", code=REPAIRED)
        assert session_of(board) == "board"
    assert on_board(board.parent.parent) == 4


def test_a_missing_board_is_found_by_the_generation_before(board: Path) -> None:
    (board / "plans_state.json").unlink()
    (board / "plans_state.json.previous.tmp").write_bytes(b"")
    assert "it is missing" in verify(board, code=DAMAGED)
    assert "made anew" in verify(board, "--repair", code=REPAIRED)
    assert "sound" in verify(board)


def test_a_board_in_use_is_checked_and_left_alone(board: Path) -> None:
    workspace = board.parent.parent
    cut(board / "plans_state.json.previous")

    async def work() -> str:
        async with Runtime(workspace) as runtime:
            await runtime.board("plans")
            return await asyncio.to_thread(verify, board, "--repair", "--verbose", code=DAMAGED)

    assert "is at work on it" in asyncio.run(work())
    assert not list(board.glob("*.corrupt-*"))
