"""``overwinter verify``: what it finds when files are broken on purpose, and what ``--repair`` makes of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.support.commands import agent_of, everything_in, folder_of, look, run_once

from overwinter import Agent, Runtime
from overwinter.cli.inspection import inspect_agent
from overwinter.persistence import Workspace, read_document
from overwinter.persistence.lines import journal_line, log_line, read_line
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from typer.testing import Result

    from overwinter.agents.records import StateBody

SOUND, DAMAGED, REPAIRED = 0, 1, 3


def note(fact: str) -> str:
    """Note a fact."""
    return f"noted {fact}"


@pytest.fixture
def workspace(workspace_dir: Path) -> Path:
    """One agent with three runs in two conversations, and another that is left in peace."""

    async def work() -> None:
        call = ScriptedModel.call("note", {"fact": "honey"})
        await run_once(workspace_dir, agent_of("talker", "First."), agent_of("other"))
        talker = agent_of("talker", [call], "It is noted.", "And again.", tools=[note])
        talker.memory.set("bees", {"kept": 3})
        async with Runtime(workspace_dir) as runtime:
            await runtime.spawn(talker)
            await talker.run("Note it.")
            await talker.save()
            await talker.run("Again.")

    asyncio.run(work())
    return workspace_dir


@pytest.fixture
def talker(workspace: Path) -> Path:
    return folder_of(workspace, "talker")


def verify(workspace: Path, *more: str, code: int = SOUND) -> Result:
    return look("verify", "-w", str(workspace), *more, code=code)


def repaired(workspace: Path) -> Result:
    """Repair, and see that it is sound afterwards."""
    done = verify(workspace, "--repair", code=REPAIRED)
    assert "sound" in verify(workspace).stdout
    return done


def body_of(folder: Path) -> StateBody:
    """What the agent knows, by its files."""
    seen = inspect_agent(folder, Workspace(folder.parent.parent))
    assert seen.problems == []
    assert seen.state is not None
    return seen.state[1]


def state_of(folder: Path) -> Path:
    return folder / "talker_state.json"


def previous_of(folder: Path) -> Path:
    return folder / "talker_state.json.previous"


def journal_of(folder: Path) -> Path:
    return folder / "journal" / "000001.jsonl"


def sequence_of(path: Path) -> int:
    return read_document(path.read_bytes(), path, checksum_required=True)[0].sequence


def spoil_line(path: Path, sequence: int) -> None:
    """Change a letter of one record."""
    lines = path.read_bytes().splitlines(keepends=True)
    found = [line for line in lines if (read := read_line(line)) is not None and read.sequence == sequence]
    assert len(found) == 1
    path.write_bytes(path.read_bytes().replace(found[0], found[0].replace(b'"type"', b'"tipe"', 1)))


def test_a_workspace_that_was_left_in_peace_is_sound(workspace: Path) -> None:
    """T1: of sound files verify says so with exit code 0, with how much it looked at, and it changes nothing."""
    before = everything_in(workspace)
    said = verify(workspace).stdout
    assert said.startswith("2 agents, ")
    assert said.endswith(" records checked: sound\n")
    assert everything_in(workspace) == before
    document = json.loads(verify(workspace, "--json").stdout)
    assert (document["verdict"], document["agents"], document["findings"]) == ("sound", 2, [])
    assert document["records"] > 15


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\x00\xff", b'{"_autosave_metadata": {}}'])
def test_a_damaged_state_is_made_anew(workspace: Path, talker: Path, damage: bytes) -> None:
    """T2: a damaged state is found, set aside, and made anew of the generation before it and the journal."""
    before = body_of(talker)
    state_of(talker).write_bytes(damage)
    found = verify(workspace, code=DAMAGED).stdout
    assert "damaged  agents/talker-" in found
    assert "overwinter verify --repair" in found
    done = repaired(workspace).stdout
    assert "made anew of its previous generation and the journal" in " ".join(done.split())
    assert body_of(talker) == before
    (aside,) = talker.glob("talker_state.json.corrupt-*")
    assert aside.read_bytes() == damage


def test_a_missing_state_is_made_anew(workspace: Path, talker: Path) -> None:
    """T2: a state that was deleted is made anew too."""
    before = body_of(talker)
    state_of(talker).unlink()
    assert "it is missing" in verify(workspace, code=DAMAGED).stdout
    repaired(workspace)
    assert body_of(talker) == before


def test_the_journal_alone_is_enough(workspace: Path, talker: Path) -> None:
    """T2: where no generation is sound, the journal from its beginning makes the state."""
    before = body_of(talker)
    for path in (state_of(talker), previous_of(talker)):
        path.write_bytes(b"}")
    done = " ".join(repaired(workspace).stdout.split())
    assert "made anew of the journal, up to record" in done
    after = body_of(talker)
    assert after.agent["agent_name"] == "talker"
    assert msgspec.structs.replace(after, agent=before.agent) == before


def test_what_cannot_be_mended_is_said(workspace: Path, talker: Path) -> None:
    """T3: where nothing is left to make a state of, that is said, the files are set aside, and the exit code is 1."""
    for path in (state_of(talker), previous_of(talker), journal_of(talker)):
        path.write_bytes(b"}\n")
    verify(workspace, code=DAMAGED)
    said = " ".join(verify(workspace, "--repair", code=DAMAGED).stdout.split())
    assert "nothing is left to make it of" in said
    assert list(talker.glob("talker_state.json.corrupt-*"))


def test_an_edited_state_is_accepted(workspace: Path, talker: Path) -> None:
    """T4: a state edited by hand and otherwise sound is damage until --repair accepts it with a new checksum."""
    path = state_of(talker)
    path.write_text(path.read_text().replace("It is noted.", "It is written."))
    assert "as after an edit by hand" in " ".join(verify(workspace, code=DAMAGED).stdout.split())
    assert "accepted as it is" in repaired(workspace).stdout
    assert "It is written." in [entry.content for entry in body_of(talker).conversation]
    agent = Agent("talker", model=ScriptedModel(["Done."]), tools=[note], workspace_dir=workspace)
    asyncio.run(agent.load())
    assert agent.state.conversation[-1].content == "And again."


def test_an_edit_that_breaks_the_shape_is_not_accepted(workspace: Path, talker: Path) -> None:
    """T4: an edit after which it is no state any more is no edit but damage."""
    before = body_of(talker)
    document = json.loads(state_of(talker).read_bytes())
    document["conversation"] = {"role": "user"}
    state_of(talker).write_text(json.dumps(document))
    assert "edit by hand" not in verify(workspace, code=DAMAGED).stdout
    repaired(workspace)
    assert body_of(talker) == before


def test_a_damaged_generation_is_set_aside(workspace: Path, talker: Path) -> None:
    """T5: a damaged previous generation is found and set aside."""
    before = body_of(talker)
    previous_of(talker).write_bytes(b"{")
    assert "talker_state.json.previous" in verify(workspace, code=DAMAGED).stdout
    repaired(workspace)
    assert not previous_of(talker).exists()
    assert body_of(talker) == before


def test_a_state_that_the_journal_contradicts_is_found(workspace: Path, talker: Path) -> None:
    """T6: a state with a good checksum that is not what the journal makes of the generation before it is damage."""
    before = body_of(talker)
    path = state_of(talker)
    assert sequence_of(previous_of(talker)) < sequence_of(path)
    path.write_text(path.read_text().replace("It is noted.", "It is forged."))
    # Sealed as --repair would seal it.
    from overwinter.cli.writing import assembled

    document = json.loads(path.read_bytes())
    metadata = read_document(previous_of(talker).read_bytes(), path, checksum_required=True)[0]
    metadata = msgspec.structs.replace(metadata, sequence=document["_autosave_metadata"]["sequence"])
    del document["_autosave_metadata"]
    path.write_bytes(b"".join(assembled(metadata, document)))
    assert "differs from what the journal says, in conversation" in verify(workspace, code=DAMAGED).stdout
    repaired(workspace)
    assert body_of(talker).conversation == before.conversation


@pytest.mark.parametrize("torn", [b'{"sequence":99,"che', b"\x00\x00\x00", b"{}\n"])
def test_a_torn_end_is_no_damage(workspace: Path, talker: Path, torn: bytes) -> None:
    """T7: a journal's torn end is what a death leaves behind: told, no damage, and cut off by --repair."""
    whole = journal_of(talker).read_bytes()
    journal_of(talker).write_bytes(whole + torn)
    assert "its end is torn" in verify(workspace).stdout
    assert "cut off" in repaired(workspace).stdout
    assert journal_of(talker).read_bytes() == whole


@pytest.mark.parametrize("sequence", [3, 8])
def test_a_bad_line_in_the_past_costs_only_history(workspace: Path, talker: Path, sequence: int) -> None:
    """T8: a damaged record that the state holds already is named, and --repair sets aside what is before it."""
    before = body_of(talker)
    spoil_line(journal_of(talker), sequence)
    said = " ".join(verify(workspace, code=DAMAGED).stdout.split())
    told = f"line {sequence} is damaged: after record {sequence - 1} comes"
    assert told in said
    assert "some of its history is lost" in said
    repaired(workspace)
    assert body_of(talker) == before
    assert len(list((talker / "journal").glob("000001.jsonl.corrupt-*"))) == 1


def test_a_bad_line_that_the_state_needs_is_found(workspace: Path, talker: Path) -> None:
    """T8: a damaged record that no state file holds cuts the agent back to the record before it, and that is said."""
    known = sequence_of(previous_of(talker))
    last = int(read_line(journal_of(talker).read_bytes().splitlines()[-1]).sequence)  # type: ignore[union-attr]
    state_of(talker).write_bytes(previous_of(talker).read_bytes())
    assert last > known + 2
    spoil_line(journal_of(talker), known + 2)
    assert "records that the state needs are lost" in " ".join(verify(workspace, code=DAMAGED).stdout.split())
    said = " ".join(repaired(workspace).stdout.split())
    assert "behind it cannot be used and were set aside" in said
    seen = inspect_agent(talker, Workspace(workspace))
    assert seen.state is not None
    assert seen.state[0].sequence == known + 1


def test_a_record_of_nobody_is_found(workspace: Path, talker: Path) -> None:
    """T8: a record with a good checksum that no overwinter wrote is damage."""
    end = read_line(journal_of(talker).read_bytes().splitlines()[-1])
    assert end is not None
    with journal_of(talker).open("ab") as file:
        file.write(journal_line(end.sequence + 1, b'{"type":"sung"}'))
    assert "is none that an overwinter wrote" in verify(workspace, code=DAMAGED).stdout


def test_a_damaged_config_is_made_anew(workspace: Path, talker: Path) -> None:
    """T9: a damaged config.json is set aside and made anew of the state."""
    before = json.loads((talker / "config.json").read_bytes())
    (talker / "config.json").write_bytes(b"{")
    assert "config.json" in verify(workspace, code=DAMAGED).stdout
    repaired(workspace)
    after = json.loads((talker / "config.json").read_bytes())
    del before["_autosave_metadata"], after["_autosave_metadata"]
    assert after == before


@pytest.mark.parametrize("missing", [True, False])
def test_a_damaged_identity_is_made_anew(workspace: Path, talker: Path, missing: bool) -> None:
    """T9: an identity that is missing or damaged is made anew, with the incarnation that the lease names."""
    path = talker / ".identity.json"
    before = json.loads(path.read_bytes())
    if missing:
        path.unlink()
    else:
        path.write_bytes(b"{")
    assert ".identity.json" in verify(workspace, code=DAMAGED).stdout
    repaired(workspace)
    after = json.loads(path.read_bytes())
    assert {**after, "created": ""} == {**before, "created": ""}


def test_an_identity_that_does_not_fit_is_told(workspace: Path, talker: Path) -> None:
    """T9: an identity that does not fit the folder's name, or the lease, is told as a note."""
    path = talker / ".identity.json"
    identity = json.loads(path.read_bytes())
    path.write_text(json.dumps({**identity, "incarnation": "0" * 32, "agent_name": "walker"}))
    said = " ".join(verify(workspace, "-v").stdout.split())
    assert "the lease is of another incarnation" in said
    assert "its name is not that of agent 'walker'" in said


def test_leftovers_are_no_damage(workspace: Path, talker: Path) -> None:
    """T10: what a dead writer left is told, is no damage, and goes with --repair."""
    temporary = talker / ".overwinter-0123456789abcdef.tmp"
    temporary.write_bytes(b"half")
    (talker / ".lease.json").write_bytes(b"{")
    (workspace / ".runtimes" / "0123456789abcdef").mkdir(parents=True)
    said = verify(workspace).stdout
    assert said.count("left over  ") == 3
    assert "sound, 3 left over" in said
    repaired(workspace)
    assert not temporary.exists()


def test_a_dead_log_is_looked_at_and_brought_in(workspace: Path, talker: Path) -> None:
    """T10: a dead runtime's log is read line by line; --repair moves its records into the journals."""
    end = read_line(journal_of(talker).read_bytes().splitlines()[-1])
    assert end is not None
    line = journal_line(end.sequence + 1, b'{"type":"memory_set","key":"late","value":1}')
    incarnation = json.loads((talker / ".identity.json").read_bytes())["incarnation"]
    log = workspace / ".runtimes" / "0123456789abcdef" / "000001.jsonl"
    log.parent.mkdir(parents=True)
    log.write_bytes(log_line(f"agents/{talker.name}", incarnation, line))
    assert "left 1 records in its log" in " ".join(verify(workspace).stdout.split())
    assert log.exists()
    verify(workspace, "--repair", code=SOUND)
    assert not log.exists()
    assert body_of(talker).memory["late"] == 1
    log.parent.mkdir(parents=True)
    log.write_bytes(b"{}\n" + log_line(f"agents/{talker.name}", incarnation, line))
    assert "line 1 is damaged" in verify(workspace, code=DAMAGED).stdout


def test_a_damaged_earlier_conversation_is_set_aside(workspace: Path, talker: Path) -> None:
    """T11: a damaged file of history/ is found and set aside."""
    (kept,) = (talker / "history").glob("*.json")
    kept.write_bytes(b"{")
    assert f"history/{kept.name}" in verify(workspace, code=DAMAGED).stdout
    repaired(workspace)
    assert not kept.exists()


def test_a_damaged_base_is_set_aside(workspace: Path, talker: Path) -> None:
    """T11: so is the state that stands before the oldest record of a journal."""
    base = talker / "journal" / "base.json"
    base.write_bytes(b"{")
    assert "journal/base.json" in verify(workspace, code=DAMAGED).stdout
    repaired(workspace)
    assert not base.exists()


def test_an_agent_in_use_is_checked_and_left_alone(workspace: Path, talker: Path) -> None:
    """T12: an agent at work is checked beside its holder, and never repaired."""
    gate = ScriptedModel.gate("Done.")
    damaged = talker / "history" / "000099.json"
    agent = Agent("talker", model=ScriptedModel([gate]), tools=[note], autosave=True)

    async def work() -> tuple[Any, Any]:
        async with Runtime(workspace) as runtime, asyncio.TaskGroup() as tasks:
            await runtime.spawn(agent)
            running = tasks.create_task(agent.run("Take your time."))
            await gate.reached.wait()
            checked = await asyncio.to_thread(verify, workspace)
            await asyncio.to_thread(damaged.write_bytes, b"{")
            refused = await asyncio.to_thread(verify, workspace, "--repair", "-v", code=DAMAGED)
            gate.open()
            await running
        return checked, refused

    checked, refused = asyncio.run(work())
    assert "(1 in use): sound" in checked.stdout
    assert "is at work on it" in refused.stdout
    assert damaged.exists()


def test_some_agents_may_be_named(workspace: Path, talker: Path) -> None:
    """T1: with names only these are checked; an unknown one is refused with exit code 2."""
    state_of(talker).write_bytes(b"{")
    assert verify(workspace, "other").stdout.startswith("1 agent, ")
    verify(workspace, "talker", code=DAMAGED)
    assert "there is no agent or swarm 'nobody'" in verify(workspace, "nobody", code=2).stderr
    assert "there is no workspace" in look("verify", "-w", str(workspace / "nowhere"), code=2).stderr


def test_json_has_every_finding(workspace: Path, talker: Path) -> None:
    """T1: --json has the verdict and each finding with its file, what is wrong, and what was done."""
    state_of(talker).write_bytes(b"{")
    found = json.loads(verify(workspace, "--json", code=DAMAGED).stdout)
    assert found["verdict"] == "damaged"
    (finding,) = found["findings"]
    assert (Path(finding["path"]), finding["level"], finding["mended"]) == (state_of(talker), "damaged", "")
    done = json.loads(verify(workspace, "--repair", "--json", code=REPAIRED).stdout)
    assert done["verdict"] == "repaired"
    assert "made anew" in done["findings"][0]["mended"]


def test_names_of_files_cannot_act_on_the_terminal(workspace: Path, talker: Path) -> None:
    """T1: a control character in the name of a file is written out."""
    (talker / "history" / "\x1b[31m.json").write_bytes(b"{")
    assert "\x1b" not in verify(workspace, code=DAMAGED).stdout
