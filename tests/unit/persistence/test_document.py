"""Config and state files: their layout, their checksum, and what is made of a damaged one."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import CorruptState, PersistenceError, SchemaTooNew, StateNotFound, WorkspaceError
from overwinter.persistence import (
    METADATA_KEY,
    SCHEMA_VERSION,
    FileOperations,
    Metadata,
    assemble,
    encode,
    load_document,
    members,
    pretty,
    read_document,
    register_migration,
)
from overwinter.persistence import document as document_module
from overwinter.persistence import migrations as migrations_module

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
PATH = Path("queen_state.json")


def metadata(**changes: Any) -> Metadata:
    values: dict[str, Any] = {
        "timestamp": "2030-01-02T03:04:05+00:00",
        "loop_count": 3,
        "agent_id": "8573aaac-0014-5524-9881-30cb024893f8",
        "agent_name": 'que"en\n  },\n',
        "run_id": "r1",
        "status": "running",
        "sequence": 7,
        "schema_version": SCHEMA_VERSION,
        "overwinter_version": "0.1.0",
    }
    return Metadata(**(values | changes))


def document(body: dict[str, Any], *, checksum: bool = True, **changes: Any) -> bytes:
    pieces = members({name: encode(value) for name, value in body.items()})
    return b"".join(assemble(metadata(**changes), pieces, checksum))


BODY: dict[str, Any] = {
    "conversation": [{"role": "user", "content": "Wie geht's?\n"}, {"role": "assistant", "content": "gut"}],
    "memory": {"scores": [1, 2.5, None, True]},
    "nothing": [],
    "task": "",
}
WHOLE = document(BODY)
BODY_START = WHOLE.index(b"\n  },\n") + len(b"\n  },\n")

bodies = st.dictionaries(
    st.text(max_size=6).filter(lambda name: name != METADATA_KEY),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    ),
    max_size=5,
)


@given(bodies, st.booleans())
def test_a_document_comes_back_as_it_was_written(body: dict[str, Any], checksum: bool) -> None:
    """P33: metadata and members, checksum or not."""
    data = document(body, checksum=checksum)
    read, members_read = read_document(data, PATH, checksum_required=checksum)
    assert members_read == body
    assert msgspec.structs.replace(read, checksum=None) == metadata()


@given(bodies, st.booleans())
def test_a_document_is_laid_out_as_json_dumps_does(body: dict[str, Any], checksum: bool) -> None:
    """P33: an indent of 2, metadata first, a final newline: a person, jq and git diff like it."""
    data = document(body, checksum=checksum).decode()
    whole = json.loads(data)
    assert list(whole) == [METADATA_KEY, *body]
    assert (
        data.replace("\x7f", "") == json.dumps(whole, indent=2, ensure_ascii=False).replace("\x7f", "") + "\n"
    )


def test_metadata_has_the_names_that_were_promised() -> None:
    """P33: the tutorial's reader looks for them."""
    raw = json.loads(document(BODY, checksum=False))[METADATA_KEY]
    assert list(raw) == [
        "timestamp", "loop_count", "agent_id", "agent_name", "run_id", "status", "sequence",
        "schema_version", "overwinter_version",
    ]  # fmt: skip
    assert list(json.loads(WHOLE)[METADATA_KEY]) == [*raw, "checksum"]


def test_the_checksum_is_of_the_exact_bytes_after_the_metadata() -> None:
    """P34: sha256, as anybody can compute it."""
    read, _ = read_document(WHOLE, PATH, checksum_required=True)
    assert read.checksum == f"sha256:{hashlib.sha256(WHOLE[BODY_START:]).hexdigest()}"
    assert WHOLE[BODY_START:].startswith(b'  "conversation": [\n    {\n')


def test_members_may_be_cut_anywhere_and_end_with_a_newline_or_not() -> None:
    """P33: how a caller cuts his pieces does not show."""
    text = b"".join(members({name: encode(value) for name, value in BODY.items()}))
    cuts = [text[start : start + 7] for start in range(0, len(text), 7)]
    assert b"".join(assemble(metadata(), cuts, checksum=True)) == WHOLE
    assert b"".join(assemble(metadata(), [text.rstrip()], checksum=True)) == WHOLE
    assert b"".join(assemble(metadata(checksum="stale"), [text], checksum=True)) == WHOLE
    large = members({"text": encode("x" * (3 << 20))})
    read_document(b"".join(assemble(metadata(), large, checksum=True)), PATH, checksum_required=True)


@given(st.integers(BODY_START, len(WHOLE) - 1), st.integers(1, 255))
def test_a_flipped_byte_of_the_body_is_found(position: int, flip: int) -> None:
    """P34: any byte, any bits."""
    damaged = bytearray(WHOLE)
    damaged[position] ^= flip
    with pytest.raises(CorruptState, match=r"queen_state\.json is damaged"):
        read_document(bytes(damaged), PATH, checksum_required=True)


@pytest.mark.parametrize("required", [True, False])
def test_a_document_that_is_cut_off_anywhere_is_found(required: bool) -> None:
    """P34: at each length, and with the checksum required or merely there."""
    for length in range(len(WHOLE)):
        with pytest.raises(CorruptState):
            read_document(WHOLE[:length], PATH, checksum_required=required)


def test_a_config_that_is_cut_off_anywhere_is_found_by_its_json() -> None:
    """P34: without a checksum all but the final newline is noticed."""
    plain = document(BODY, checksum=False)
    for length in range(len(plain) - 1):
        with pytest.raises(CorruptState):
            read_document(plain[:length], PATH, checksum_required=False)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"null", "Expected `object`"),
        (b"[]", "Expected `object`"),
        (b'{"a": 1}', "it has no _autosave_metadata"),
        (b'{"_autosave_metadata": 1}', "Expected `object`"),
        (b'{"_autosave_metadata": {}}', "missing required field `schema_version`"),
        (b'{"_autosave_metadata": {"schema_version": true}}', "got `bool`"),
        (b'{"_autosave_metadata": {"schema_version": -1}}', "its schema_version is -1"),
        (b'{"_autosave_metadata": {"schema_version": 1}}', "its checksum is missing"),
        (b'{"_autosave_metadata": {"schema_version": 1, "checksum": 5}}', "does not match its checksum"),
        (b'{"_autosave_metadata": {"schema_version": 1, "checksum": "sha256:"}}', "does not match"),
        (b'{"a": "\xff"}', "utf-8"),
        (b"[" * 100_000, "Expected `object`"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (document(BODY, checksum=False), "its checksum is missing"),
        (json.dumps(json.loads(WHOLE)).encode(), "does not match its checksum"),
        (WHOLE.replace(b'{\n  "_auto', b'{ \n  "_auto'), "does not match its checksum"),
        (WHOLE + b"\n", "does not match its checksum"),
        (document(BODY, checksum=False) + b"{}", "trailing"),
    ],
)
def test_what_was_never_written_is_refused_and_said_why(data: bytes, why: str) -> None:
    """P34: anything at all."""
    with pytest.raises(CorruptState) as caught:
        read_document(data, PATH, checksum_required=True)
    assert str(PATH) in str(caught.value)
    assert why in str(caught.value)


def test_metadata_of_another_shape_is_refused() -> None:
    """P34: also without a checksum."""
    data = document(BODY, checksum=False).replace(b'"loop_count": 3', b'"loop_count": "three"')
    with pytest.raises(CorruptState, match="Expected `int`, got `str`"):
        read_document(data, PATH, checksum_required=False)


def test_a_document_of_a_later_version_is_refused_whatever_else_it_holds() -> None:
    """P35: both versions are named, and it is not called damaged."""
    data = document(BODY, schema_version=SCHEMA_VERSION + 1).replace(b'"task"', b'"quest"')
    with pytest.raises(SchemaTooNew) as caught:
        read_document(data, PATH, checksum_required=True)
    assert (caught.value.found, caught.value.supported) == (SCHEMA_VERSION + 1, SCHEMA_VERSION)


def test_a_document_of_an_earlier_version_is_read_through_its_migrations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P36: one step a version, by kind."""
    monkeypatch.setattr(migrations_module, "_migrations", {})
    monkeypatch.setattr(document_module, "SCHEMA_VERSION", 3)

    def add_status(old: dict[str, Any]) -> dict[str, Any]:
        old[METADATA_KEY]["status"] = "finished"
        return {**old, "steps": ["1 to 2"]}

    def add_step(old: dict[str, Any]) -> dict[str, Any]:
        assert old[METADATA_KEY]["schema_version"] == 2
        return {**old, "steps": [*old["steps"], "2 to 3"]}

    register_migration("state", 1, add_status)
    register_migration("state", 2, add_step)
    with pytest.raises(ValueError, match="already registered"):
        register_migration("state", 1, add_step)
    data = document({"a": 1}, schema_version=1)
    read, body = read_document(data, PATH, checksum_required=True)
    assert (read.schema_version, read.status) == (3, "finished")
    assert body == {"a": 1, "steps": ["1 to 2", "2 to 3"]}
    with pytest.raises(PersistenceError, match="no migration of 'config'") as caught:
        read_document(data, PATH, checksum_required=True, kind="config")
    assert not isinstance(caught.value, CorruptState)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "queen_state.json"
    path.write_bytes(document({"generation": "new"}))
    return path


@pytest.fixture
def previous(state: Path) -> Path:
    path = state.with_name("queen_state.json.previous")
    path.write_bytes(document({"generation": "old"}, sequence=6))
    return path


def test_a_good_file_is_read_and_its_predecessor_left_alone(state: Path, previous: Path) -> None:
    """P37: the ordinary case."""
    loaded = load_document(state, previous, now=NOW)
    assert (loaded.body, loaded.path, loaded.set_aside, loaded.problems) == (
        {"generation": "new"},
        state,
        (),
        (),
    )
    assert loaded.metadata.sequence == 7
    assert previous.exists()


def test_a_damaged_file_is_set_aside_and_its_predecessor_used_and_said_so(
    state: Path, previous: Path
) -> None:
    """P37: nothing is deleted."""
    damaged = state.read_bytes()[:-20]
    state.write_bytes(damaged)
    loaded = load_document(state, previous, now=NOW)
    assert (loaded.body, loaded.path, loaded.metadata.sequence) == ({"generation": "old"}, previous, 6)
    (aside,) = loaded.set_aside
    assert aside.name == "queen_state.json.corrupt-20300102T030405Z"
    assert aside.read_bytes() == damaged
    assert "queen_state.json is damaged" in loaded.problems[0]
    assert not state.exists()
    again = load_document(state, previous, now=NOW)
    assert (again.body, again.set_aside) == ({"generation": "old"}, ())


def test_a_missing_file_is_replaced_by_its_predecessor(state: Path, previous: Path) -> None:
    """P37: it was set aside, and the process died."""
    state.unlink()
    assert load_document(state, previous, now=NOW).path == previous


def test_when_no_generation_is_good_both_are_set_aside_and_it_is_an_error(
    state: Path, previous: Path
) -> None:
    """P38: corruption is never passed over."""
    state.write_bytes(b"{}")
    previous.write_bytes(b"")
    with pytest.raises(CorruptState, match="No good generation is left") as caught:
        load_document(state, previous, now=NOW)
    left = sorted(state.parent.iterdir())
    assert len(left) == 2
    assert all(str(each) in str(caught.value) for each in left)


def test_when_there_is_nothing_it_is_not_found(tmp_path: Path) -> None:
    """P38: an error of its own, which is a FileNotFoundError too."""
    with pytest.raises(StateNotFound, match=r"call save\(\) first") as caught:
        load_document(tmp_path / "none", None, now=NOW)
    assert isinstance(caught.value, FileNotFoundError)


def test_a_file_of_a_later_version_stays_where_it_is(state: Path, previous: Path) -> None:
    """P35: and its predecessor is not used in its place."""
    state.write_bytes(document({}, schema_version=99))
    with pytest.raises(SchemaTooNew):
        load_document(state, previous, now=NOW)
    assert state.exists()


def test_a_config_needs_no_checksum(tmp_path: Path) -> None:
    """P37: a person may edit it."""
    path = tmp_path / "config.json"
    path.write_bytes(document({"a": 1}, checksum=False))
    loaded = load_document(path, None, now=NOW, checksum_required=False, kind="config")
    assert loaded.body == {"a": 1}


def test_a_file_that_cannot_be_read_is_no_damaged_file(state: Path, previous: Path) -> None:
    """P38: it is not set aside."""

    class Unreadable(FileOperations):
        def read_bytes(self, path: Path) -> bytes:
            raise PermissionError(13, "Permission denied")

    with pytest.raises(WorkspaceError, match=r"cannot be read: Permission denied\."):
        load_document(state, previous, now=NOW, files=Unreadable())
    assert state.exists()


def test_pretty_members_and_compact_ones_make_the_same_document() -> None:
    """P33: ``members`` lays out what it is given."""
    value = encode(BODY["conversation"])
    assert members({"a": value}) == members({"a": pretty(value)})
