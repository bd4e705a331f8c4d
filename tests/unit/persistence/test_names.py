"""From names to ids, folders and files, however hostile the name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from overwinter.persistence import (
    NAMESPACE,
    Workspace,
    agent_id_for,
    folder_name,
    id_digits,
    slug,
    storable_name,
)

HOSTILE = [
    "../../etc/passwd",
    "..",
    ".",
    "/",
    "\\\\server\\share",
    "C:\\Windows",
    "CON",
    "con.txt",
    "NUL",
    "",
    " ",
    "-",
    "a" * 300,
    "é" * 300,
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "e\N{COMBINING ACUTE ACCENT}",
    "A",
    "a",
    "nul\0byte",
    "\0",
    "new\nline",
    "plain\n",
    "trailing.",
    "trailing ",
    "日本語",
    "🐝",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
    "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 64,
    "\ud800",
    "~",
    "$HOME",
    "%TEMP%",
    "*?",
    "a:b",
]

any_text = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=80))
"""Texts with lone surrogates and NULs among them."""

PORTABLE = re.compile(r"[A-Za-z0-9_-]+")


def folded(name: str) -> str:
    """*name* as a filesystem sees it that ignores case and normalises, or drops, accents."""
    return unicodedata.normalize("NFKD", name).casefold()


@pytest.mark.parametrize(
    ("name", "session", "expected"),
    [
        ("autosave-demo", "", "8573aaac-0014-5524-9881-30cb024893f8"),
        ("autosave-demo", "customer-7", "651547ba-4a92-530c-b767-e59a75032d7a"),
        ("", "", "56b32e01-dd30-5844-a661-c761396858e1"),
        ("\ud800", "", "67c5d871-c06d-592e-a642-d9581234f95d"),
    ],
)
def test_an_id_derived_by_any_version_is_derived_by_this_one(name: str, session: str, expected: str) -> None:
    """P1: golden values."""
    assert agent_id_for(name, session) == expected


def test_another_process_derives_the_same_id() -> None:
    """P1: whatever its hash seed."""
    code = "from overwinter.persistence.names import agent_id_for; print(agent_id_for('queen', 'hive'))"
    source = Path(sys.modules["overwinter.errors"].__file__ or "").parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == agent_id_for("queen", "hive")


@given(any_text, any_text)
def test_an_id_is_a_version_5_uuid_in_canonical_form(name: str, session: str) -> None:
    """P1: the form."""
    agent_id = agent_id_for(name, session)
    assert str(UUID(agent_id)) == agent_id
    assert UUID(agent_id).version == 5
    assert id_digits(agent_id) == UUID(agent_id).hex


@given(any_text, any_text, any_text, any_text)
@example("ab", "c", "a", "bc")
@example("1:a", "", "1", ":a")
@example("é", "", "e\u0301", "")
@example("A", "", "a", "")
def test_different_names_or_sessions_have_different_ids(one: str, mine: str, other: str, yours: str) -> None:
    """P2: no two pairs are joined alike."""
    assert (agent_id_for(one, mine) == agent_id_for(other, yours)) == ((one, mine) == (other, yours))


@given(any_text, any_text, st.booleans())
def test_no_name_and_no_id_leaves_the_folder_of_agents(name: str, agent_id: str, full: bool) -> None:
    """P3: one portable component below ``agents``."""
    workspace = Workspace("/hive")
    folder = workspace.folder(name, agent_id, full=full)
    assert folder.path.parent == workspace.agents_dir
    assert PORTABLE.fullmatch(folder.path.name)
    for path in (folder.config_path, folder.state_path, folder.previous_path, folder.identity_path):
        assert path.parent == folder.path
        assert ".." not in path.parts


@given(any_text, any_text)
@example("A", "a")
@example("\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}")
@example("../../etc/passwd", "/etc/passwd")
@example("", "agent")
def test_two_names_have_two_folders_also_where_case_and_accents_do_not_count(one: str, other: str) -> None:
    """P4: the id's digits tell them apart."""
    mine = folder_name(one, agent_id_for(one))
    yours = folder_name(other, agent_id_for(other))
    assert (folded(mine) == folded(yours)) == (one == other)


@given(any_text, any_text, st.booleans())
def test_every_name_on_disk_is_short_and_portable(name: str, agent_id: str, full: bool) -> None:
    """P5: at most 255 bytes, with room for what a damaged file is called."""
    folder = Workspace("/hive").folder(name, agent_id, full=full)
    longest = f"{folder.previous_path.name}.corrupt-20300101T000000Z-999"
    for component in (folder.path.name, folder.state_path.name, longest):
        assert len(component.encode()) <= 255
    assert 1 <= len(slug(name)) <= 64
    assert PORTABLE.fullmatch(slug(name))


@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_a_plain_name_is_used_as_it_is(name: str) -> None:
    """P6: in the folder's name and the state file's."""
    agent_id = agent_id_for(name)
    folder = Workspace("/hive").folder(name, agent_id)
    assert folder.path.name == f"{name}-{agent_id.replace('-', '')[:12]}"
    assert folder.state_path.name == f"{name}_state.json"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Straße nach Köln", "Stra-e-nach-Koln"),
        ("e\N{COMBINING ACUTE ACCENT}t\N{LATIN SMALL LETTER E WITH ACUTE}", "ete"),
        ("../../etc/passwd", "etc-passwd"),
        ("plain\n", "plain"),
        ("a" * 65, "a" * 64),
        ("a" * 63 + "!!b", "a" * 63),
        ("日本語", "agent"),
        ("", "agent"),
        ("---", "---"),
    ],
)
def test_any_other_name_becomes_a_slug_that_a_person_recognises(name: str, expected: str) -> None:
    """P6: what cannot stay is replaced."""
    assert slug(name) == expected


@pytest.mark.parametrize("agent_id", ["customer-7", "../../x", "", "A" * 36, "\ud800", "{" + "0" * 32 + "}"])
def test_an_id_of_any_other_form_is_hashed(agent_id: str) -> None:
    """P3: an id given by a user is no path either."""
    assert re.fullmatch(r"[0-9a-f]{32}", id_digits(agent_id))


@given(any_text)
def test_a_storable_name_can_be_written_and_has_the_same_slug(name: str) -> None:
    """P5: a lone surrogate is shown as an escape."""
    shown = storable_name(name)
    assert shown.encode().decode() == shown
    assert slug(shown) == slug(name)
    if not any("\ud800" <= c <= "\udfff" for c in name):
        assert shown == name


def test_the_namespace_never_changes() -> None:
    """P1: it is part of every id."""
    assert str(NAMESPACE) == "3f0a4c1e-6f0e-5d0b-9a55-0b7c1d9e2a64"
