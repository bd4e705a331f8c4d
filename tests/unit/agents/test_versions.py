"""What an earlier overwinter wrote loads for ever, what a later one wrote is refused, and damage is made up for."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from tests.golden.make_v1 import FIRST_CONVERSATION, GOLDEN, keeper, orphan

from overwinter.agents.journal_records import JournalRecord, Record
from overwinter.errors import CorruptFileSetAside, CorruptState, PersistenceError, SchemaTooNew, UnfinishedRun
from overwinter.persistence import (
    Metadata,
    assemble,
    journal_line,
    log_line,
    members,
    migrations,
    read_document,
    read_line,
    read_log_line,
    register_migration,
)
from overwinter.persistence import lines as lines_module

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter import Agent

# The tests themselves read and write files; that overwinter does not block is tested elsewhere.
pytestmark = [pytest.mark.anyio, pytest.mark.allow_blocking]


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy of the workspace of version 1."""
    root = tmp_path / "workspace"
    shutil.copytree(GOLDEN / "workspace", root)
    return root


@pytest.fixture
def expected() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
    return loaded


@pytest.fixture
def no_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations that a test registers are forgotten after it."""
    monkeypatch.setattr(migrations, "_migrations", {})


def contains(actual: Any, wanted: Any, where: str = "") -> None:
    """*actual* has all that is *wanted*; a later version may have more."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert key in actual, f"{where}.{key}"
            contains(actual[key], value, f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(actual) == len(wanted), where
        for index, (one, other) in enumerate(zip(actual, wanted, strict=True)):
            contains(one, other, f"{where}[{index}]")
    else:
        assert actual == wanted, where


def as_json(agent: Agent[str], state: Any = None) -> Any:
    return json.loads(msgspec.json.encode((state or agent._state).body()))


# --- version 1, for ever -----------------------------------------------------------------------------------


async def test_the_files_of_version_1_load(golden: Path, expected: dict[str, Any]) -> None:
    """H29: a workspace of version 1 loads for ever: state, previous generation, journal, history, lease, identity."""
    agent = keeper(golden)
    await agent.load()
    wanted = expected["states"]["38"]
    # The process that wrote it is gone, and with it the run that was under way.
    wanted["status"] = wanted["run"]["status"] = "interrupted"
    wanted["run"]["error"] = "the process ended in the middle of the run"
    del wanted["agent"]
    contains(as_json(agent), wanted)


async def test_the_history_of_version_1_is_whole(golden: Path, expected: dict[str, Any]) -> None:
    """H29: and its history is whole, with every kind of record that version 1 had."""
    agent = keeper(golden)
    steps = await agent.history()
    assert [[step.step, step.kind, step.run_id, step.loop] for step in steps] == expected["steps"]
    for number, wanted in expected["states"].items():
        contains(as_json(agent, await agent._state_at(int(number))), wanted, number)
    kinds = {json.loads(line)["record"]["type"] for line in journal_of(golden).read_bytes().splitlines()}
    # Kinds of record that came after version 1.
    later = {
        "member_started",
        "member_finished",
        "member_failed",
        "work_reopened",
        "decided",
        "swarm_answered",
    }
    assert kinds == {tag(kind) for kind in get_args(JournalRecord)} - later


def tag(kind: type[Record]) -> str:
    return str(kind.__struct_config__.tag)


async def test_runs_of_version_1_go_on(golden: Path) -> None:
    """H29: its runs are resumed, its accepted tasks begin, and its finished ones are answered."""
    agent = keeper(golden, "Five wasps.", "Good night to you.")
    result = await agent.resume()
    assert (result.run_id, result.text, result.loop_count) == ("r3", "Five wasps.", 2)
    # The call had begun, and may be repeated.
    assert agent.state.tool_results[-1].output == "5"
    assert (await agent.run("Good night.", run_id="r4")).text == "Good night to you."
    assert (await agent.run("Where are the bees? 🐝", run_id="r1")).text == "Three are in the hive."
    again = keeper(golden)
    await again.load()
    assert again.state.conversation == agent.state.conversation


async def test_what_a_process_of_version_1_left_in_its_log_is_brought_in(golden: Path) -> None:
    """H29: and what a process of version 1 that died left in its runtime's log is brought in."""
    told = [step.kind for step in await orphan(golden).history()]
    assert told == ["task_accepted", "run_began", "model_replied", "tools_started", "tool_finished"]
    agent = orphan(golden, "Four days.")
    assert (await agent.resume()).text == "Four days."
    assert [entry.role for entry in agent.state.conversation] == ["user", "assistant", "tool", "assistant"]


# --- migrations --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_migrations")
async def test_older_documents_and_records_are_migrated(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H30: what has an older version is read through the migrations registered for it: documents and records."""
    state = state_of(golden)
    older_document(state, "task", "was_task")
    older = [older_line(line, monkeypatch) for line in journal_of(golden).read_bytes().splitlines()]
    journal_of(golden).write_bytes(b"".join(older))

    def renamed(found: dict[str, Any]) -> dict[str, Any]:
        return {("task" if key == "was_task" else key): value for key, value in found.items()}

    with pytest.raises(PersistenceError, match="no migration of 'state' from version 0"):
        await keeper(golden).load()
    register_migration("state", 0, renamed)
    with pytest.raises(PersistenceError, match="no migration of 'record' from version 0"):
        await keeper(golden).load()
    register_migration("record", 0, renamed)
    agent = keeper(golden)
    await agent.load()
    assert agent.state.task == "And the wasps?"
    assert (await agent.history())[1].summary == "Where are the bees? 🐝"
    assert (await agent.state_at(4)).task == "Where are the bees? 🐝"


def older_document(path: Path, name: str, was: str) -> None:
    """Write the document anew as version 0 had it, in which *name* was called *was*."""
    metadata, body = read_document(path.read_bytes(), path, checksum_required=True)
    body[was] = body.pop(name)
    rewrite(path, metadata, body, 0)


def older_line(line: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The same for a line of the journal."""
    read = read_line(line)
    assert read is not None
    record = json.loads(read.record)
    if "task" in record:
        record["was_task"] = record.pop("task")
    with monkeypatch.context() as patched:
        patched.setattr(lines_module, "JOURNAL_VERSION", 0)
        return journal_line(read.sequence, msgspec.json.encode(record), base=read.base)


def rewrite(path: Path, metadata: Metadata, body: dict[str, Any], version: int) -> None:
    metadata = msgspec.structs.replace(metadata, schema_version=version)
    pieces = members({key: msgspec.json.encode(value) for key, value in body.items()})
    path.write_bytes(b"".join(assemble(metadata, pieces, checksum=metadata.checksum is not None)))


# --- later versions ----------------------------------------------------------------------------------------


def newer_document(path: Path) -> None:
    metadata, body = read_document(path.read_bytes(), path, checksum_required=False)
    rewrite(path, metadata, body, 2)


def newer_json(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))


def newer_record(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(lines_module, "JOURNAL_VERSION", 2)
        line = journal_line(39, b'{"type":"danced"}')
    path.write_bytes(path.read_bytes() + line)


def newer_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = read_log_line(path.read_bytes().splitlines()[-1])
    assert last is not None
    with monkeypatch.context() as patched:
        patched.setattr(lines_module, "_LOG_VERSION", 2)
        line = log_line(last.folder, last.incarnation, journal_line(6, b'{"type":"danced"}'))
    path.write_bytes(path.read_bytes() + line)


def state_of(root: Path) -> Path:
    return keeper(root).state_path


def journal_of(root: Path) -> Path:
    return keeper(root).workspace_dir / "journal" / "000001.jsonl"


def everything(folder: Path) -> dict[str, bytes]:
    """What stands in the agent's folder, but for the lease, and in the logs."""
    paths = [*folder.rglob("*"), *folder.parents[1].glob(".runtimes/*/*.jsonl")]
    return {str(path): path.read_bytes() for path in paths if path.is_file() and path.name != ".lease.json"}


@pytest.mark.parametrize("what", ["state", "config", "record", "lease", "identity", "log"])
async def test_a_later_version_is_refused_with_both_versions_named(
    golden: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H31: what a later overwinter wrote, in whichever file, is refused with both versions named, and left as it is."""
    folder = keeper(golden).workspace_dir
    match what:
        case "state":
            newer_document(state_of(golden))
        case "config":
            newer_document(folder / "config.json")
        case "record":
            newer_record(journal_of(golden), monkeypatch)
        case "lease" | "identity":
            newer_json(folder / f".{what}.json")
        case _:
            (log,) = (golden / ".runtimes").glob("*/*.jsonl")
            newer_log(log, monkeypatch)
    make_agent = orphan if what == "log" else keeper
    before = everything(make_agent(golden).workspace_dir)
    for attempt in ("load", "run", "resume"):
        agent = make_agent(golden, "x")
        with pytest.raises(SchemaTooNew, match="version 2; this overwinter reads up to version 1") as caught:
            await (
                agent.load() if attempt == "load" else agent.run("x") if attempt == "run" else agent.resume()
            )
        assert (caught.value.found, caught.value.supported) == (2, 1)
        after = everything(agent.workspace_dir)
        for path in before.keys() | after.keys():
            if what == "log" or ".runtimes" not in path:
                assert after.get(path) == before.get(path), path
    if what in ("state", "record"):
        with pytest.raises(SchemaTooNew):
            await make_agent(golden).history() if what == "record" else await make_agent(golden).state_at(38)


# --- damage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damaged", ["state", "previous", "both", "both, and config"])
async def test_damaged_documents_are_made_up_for(
    golden: Path, expected: dict[str, Any], damaged: str
) -> None:
    """H32: with any of its documents damaged, or all, an agent loads whole from the others and the journal."""
    agent = keeper(golden)
    folder = agent._member.folder
    paths = {
        "state": [folder.state_path],
        "previous": [folder.previous_path],
        "both": [folder.state_path, folder.previous_path],
        "both, and config": [folder.state_path, folder.previous_path, folder.config_path],
    }[damaged]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-200])
    if damaged == "previous":
        await agent.load()
    else:
        with pytest.warns(CorruptFileSetAside) as warned:
            await agent.load()
        said = [str(warning.message) for warning in warned]
        assert any(folder.state_path.name in one for one in said)
        aside = [path.name for path in folder.path.iterdir() if ".corrupt-" in path.name]
        assert len(aside) == len(paths)
    contains(as_json(agent)["conversation"], expected["states"]["38"]["conversation"])
    assert agent.state.run_id == "r3"
    assert [task.run_id for task in agent.state.accepted] == ["r4"]
    assert (await agent.state_at(23)).memory == {"bees": {"count": 3, "names": ["Änne"]}}


async def test_a_torn_end_of_the_journal_is_cut_off_and_said_so(golden: Path) -> None:
    """H33: a torn end of a journal is cut off and said so; what was whole before it is there."""
    path = journal_of(golden)
    path.write_bytes(path.read_bytes()[:-30])
    agent = keeper(golden)
    with pytest.warns(CorruptFileSetAside, match="no whole record"):
        await agent.load()
    assert agent.state.accepted == ()
    assert agent.state.run_id == "r3"
    assert (await agent.history())[-1].step == 37


async def test_damage_in_the_midst_of_the_journal_is_never_passed_over(golden: Path) -> None:
    """H34: a bad record behind the state file, with good ones after it, is an error that names it, and left as it is.

    One in front of the state file takes nothing from the agent but its history of that time.
    """
    path = journal_of(golden)
    good = path.read_bytes()
    records = good.splitlines(keepends=True)
    path.write_bytes(b"".join([*records[:9], b"#" + records[9], *records[10:]]))
    agent = keeper(golden)
    await agent.load()
    assert agent.state.run_id == "r3"
    assert [step.step for step in await agent.history() if step.kind == "gap"] == [10]
    damaged = b"".join([*records[:35], b"#" + records[35], *records[36:]])
    path.write_bytes(damaged)
    with pytest.raises(CorruptState, match=r"000001\.jsonl, line 36"):
        await keeper(golden).load()
    assert path.read_bytes() == damaged


async def test_a_fresh_start_over_a_damaged_journal_keeps_what_is_whole(golden: Path) -> None:
    """H34: a fresh agent that begins there keeps the state file as it was, and says what is damaged."""
    path = journal_of(golden)
    records = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*records[:35], b"#" + records[35], *records[36:]]))
    before = state_of(golden).read_bytes()
    agent = keeper(golden, "new")
    with pytest.warns(CorruptFileSetAside, match="line 36"), pytest.warns(UnfinishedRun):
        await agent.run("new")
    assert (agent.workspace_dir / "history" / "000033.json").read_bytes() == before
    assert [step.step for step in await agent.history() if step.kind == "gap"] == [36]
    again = keeper(golden)
    await again.load()
    assert [entry.content for entry in again.state.conversation] == ["new", "new"]


async def test_a_journal_that_is_gone_leaves_the_state_file(golden: Path) -> None:
    """H32: and without its journal it loads what the state file has."""
    shutil.rmtree(journal_of(golden).parent)
    agent = keeper(golden)
    await agent.load()
    assert agent.state.run_id == "r2"
    kinds = [(step.step, step.kind) for step in await agent.history()]
    assert kinds == [(22, "gap"), (23, "kept"), (32, "gap"), (33, "kept")]
    assert (await agent.state_at(23)).run_id == "r1"


async def test_with_everything_damaged_nothing_is_made_up(golden: Path) -> None:
    """H32: where nothing is left to make it up from, loading is an error."""
    folder = keeper(golden)._member.folder
    for path in (folder.state_path, folder.previous_path, journal_of(golden)):
        path.write_bytes(b"{")
    with pytest.raises(CorruptState), pytest.warns(CorruptFileSetAside):
        await keeper(golden).load()


def test_version_1_was_made_of_these_records() -> None:
    assert len(FIRST_CONVERSATION) == 23
