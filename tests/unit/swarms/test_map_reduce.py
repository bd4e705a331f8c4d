"""Many items."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from anyio import Path as AsyncPath
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rehearsal import Rehearsal, broken, goes_on_after_every_cut, run_past_timeouts

from overwinter import Agent, Runtime
from overwinter.agents.swarms.map_reduce import MapReduce
from overwinter.agents.swarms.policy import MemberPolicy
from overwinter.agents.swarms.portions import portions
from overwinter.errors import ConfigurationError, MemberFailed, NobodyAnswered
from overwinter.events import Progress
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

    from overwinter import ModelRequest

pytestmark = pytest.mark.anyio

SKIP = MemberPolicy(then="skip")


def shout(request: ModelRequest) -> str:
    """What the mapper of most tests does: a request with more than its own item would show."""
    return "+".join(message.content for message in request.messages if message.role == "user").upper()


def fussy(request: ModelRequest) -> str:
    """It cannot do b."""
    if request.messages[-1].content == "b":
        raise RuntimeError("out of order")
    return shout(request)


def mapper(cast: Rehearsal, script: Any = shout, **settings: Any) -> Agent[str]:
    return cast.agent("mapper", *[script] * 99, **settings)


async def test_each_item_goes_to_a_copy_of_its_own() -> None:
    """W28: each item is done by a copy of the mapper that is told it and nothing else; unless reduced, it is a list."""
    cast = Rehearsal()
    swarm = MapReduce("m", mapper(cast), output_type=list[str], at_once=2)
    result = await swarm.run(["a", "b", "c", "d"])
    assert result.output == ["A", "B", "C", "D"]
    assert sorted(cast.told("mapper")) == ["a", "b", "c", "d"]
    assert [one.key for one in result.members] == [f"map/0000{number}" for number in range(1, 5)]
    assert cast.most_at_work == 2
    assert (await swarm.run('["x", 1, {"y": null}]')).output == ["X", "1", '{"Y":NULL}']
    assert (await swarm.run([])).output == []


async def test_a_text_is_split_by_a_function_once(tmp_path: Path) -> None:
    """W29: what split and a function that reduces returned is recorded; they are not called again on resume."""

    def make(cast: Rehearsal) -> MapReduce:
        async def split(task: str) -> list[str]:
            await cast.note("split", task)
            return task.split()

        async def join(texts: list[str]) -> str:
            await cast.note("join", str(texts))
            return " ".join(texts)

        return MapReduce("m", mapper(cast), join, split, at_once=1, **cast.saved)

    result = await goes_on_after_every_cut(make, tmp_path)
    assert result.text == "THE TASK"


async def test_split_and_reduce_may_be_plain_functions() -> None:
    swarm = MapReduce("m", mapper(Rehearsal()), "-".join, str.split)
    assert str(await swarm.run("a b")) == "A-B"
    assert '["join"]' in swarm.to_mermaid()


async def test_an_agent_reduces_in_one_go_or_in_portions() -> None:
    """W30: an agent that reduces is told all results, or, where they are long, portions that copies of it reduced."""
    cast = Rehearsal()
    result = await MapReduce("m", mapper(cast), cast.agent("reducer", "All in all.")).run(["a", "b"])
    assert str(result) == "All in all."
    assert "These are the results of 2 pieces of work." in cast.told("reducer")[0]
    assert "## 1\n\nA\n\n## 2\n\nB" in cast.told("reducer")[0]

    def reduce(request: ModelRequest) -> str:
        assert len([message for message in request.messages if message.role == "user"]) == 1
        return "".join(line for line in request.messages[-1].content.split("\n") if line.isupper())

    cast = Rehearsal()
    swarm = MapReduce("m", mapper(cast), cast.agent("reducer", *[reduce] * 99), reduce_chars=4)
    result = await swarm.run(list("abcdefghijkl"))
    assert str(result) == "ABCDEFGHIJKL"
    keys = [one.key for one in result.members if one.member == "reducer"]
    assert keys == ["reduce-1/00001", "reduce-1/00002", "reduce-1/00003", "reduce"]
    assert all(told.count("##") <= 4 for told in cast.told("reducer"))


@given(st.lists(st.text(max_size=9)), st.integers(1, 20))
def test_portions_keep_every_text_and_come_to_an_end(texts: list[str], limit: int) -> None:
    parts = portions(texts, limit)
    assert [text for part in parts for text in part] == texts
    for part in parts[:-1]:
        assert len(part) == 2 or sum(map(len, part)) <= limit
    assert len(parts) <= max(1, len(texts) // 2)


async def test_an_item_that_is_skipped_is_missing_and_said_to_be() -> None:
    """W31: a skipped item is null in the list; a reducer is told that it is missing; when all are, the run fails."""
    cast = Rehearsal()
    swarm = MapReduce("m", mapper(cast, fussy), policies={"mapper": SKIP}, output_type=list[str | None])
    result = await swarm.run(["a", "b", "c"])
    assert result.output == ["A", None, "C"]
    assert [(one.key, one.error) for one in result.failed] == [("map/00002", "RuntimeError: out of order")]
    assert str(await MapReduce("m", mapper(cast, fussy), "".join, policy=SKIP).run(["a", "b", "c"])) == "AC"
    await MapReduce("m", mapper(cast, fussy), cast.agent("r"), policy=SKIP).run(["a", "b", "c"])
    assert "of 2 pieces of work (1 more failed, and are missing here)" in cast.told("r")[0]
    with pytest.raises(NobodyAnswered, match="'mapper' failed: RuntimeError: out of order"):
        await swarm.run(["b", "b"])
    with pytest.raises(NobodyAnswered, match="'r' failed"):
        await MapReduce("m", mapper(cast), cast.agent("r", *broken()), policy=SKIP).run(["a"])


async def test_an_item_that_fails_ends_the_run_and_is_tried_again_by_resume() -> None:
    cast = Rehearsal()
    seen: list[str] = []

    def once(request: ModelRequest) -> str:
        seen.append(request.messages[-1].content)
        return fussy(request) if seen.count("b") < 2 else shout(request)

    swarm = MapReduce("m", mapper(cast, once), "".join, at_once=1)
    with pytest.raises(MemberFailed, match=r"'mapper'.*map/00002"):
        await swarm.run(["a", "b", "c"])
    assert str(await swarm.resume()) == "ABC"
    assert seen == ["a", "b", "b", "c"]


async def test_a_fallback_and_a_timeout_work_as_everywhere() -> None:
    cast = Rehearsal()
    policy = MemberPolicy(fallback=cast.agent("spare", "from the spare"))
    swarm = MapReduce("m", mapper(cast, fussy), ", ".join, policies={"mapper": policy})
    assert str(await swarm.run(["a", "b"])) == "A, from the spare"
    slow = mapper(
        cast, lambda request: ScriptedModel.gate() if request.messages[-1].content == "task" else "ok"
    )
    policy = MemberPolicy(timeout=5, then="skip")
    swarm = MapReduce("m", slow, ", ".join, str.split, policies={"mapper": policy})
    result = await run_past_timeouts(swarm, [4.9, 0.2])
    assert result.text == "ok"
    assert "MemberTimeout" in result.failed[0].error


@pytest.mark.parametrize("autosave", [False, True])
async def test_cut_off_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path, autosave: bool) -> None:
    """W32: a map-reduce that is cut off anywhere is finished by fresh objects, which do no item that had ended."""

    def quarters(task: str) -> list[str]:
        return [task[place : place + 2] for place in range(0, 8, 2)]

    def make(cast: Rehearsal) -> MapReduce:
        many = mapper(cast, autosave=autosave)
        one = cast.agent("reducer", autosave=autosave)
        at_once = 3 if autosave else 1
        return MapReduce("m", many, one, quarters, at_once=at_once, reduce_chars=5, **cast.saved)

    await goes_on_after_every_cut(make, tmp_path)
    folders = [path.name async for path in AsyncPath(tmp_path / "cut-1" / "agents").glob("mapper-*")]
    assert len(folders) == (4 if autosave else 0)


async def test_copies_are_let_go_of() -> None:
    """W33: a copy is let go of after its item: no more of them live than work at once."""
    agents: list[int] = []

    def count(_: ModelRequest) -> str:
        agents.append(runtime.statistics().agents)
        return "x"

    cast = Rehearsal()
    swarm = MapReduce("m", mapper(cast, count), at_once=5)
    async with Runtime() as runtime:
        await runtime.spawn(swarm)
        await swarm.run([str(number) for number in range(60)])
        assert runtime.statistics().agents == 1
    assert len(agents) == 60
    assert max(agents) <= 6


async def test_its_progress_is_told() -> None:
    cast, told = Rehearsal(), []
    swarm = MapReduce("m", mapper(cast), at_once=2)
    async with aclosing(swarm.stream(["a", "b", "c", "d"])) as events:
        async for event in events:
            if isinstance(event, Progress):
                told.append((event.done, event.total))
    assert told == [(1, 4), (2, 4), (4, 4)]


async def test_what_cannot_work_is_refused() -> None:
    cast = Rehearsal()
    one = mapper(cast)
    with pytest.raises(ConfigurationError, match=r"no JSON list .* give split="):
        await MapReduce("m", one).run("a text")
    with pytest.raises(ConfigurationError, match="has no items"):
        await MapReduce("m", one, cast.agent("r")).run([])
    with pytest.raises(ConfigurationError, match="cannot be stored"):
        await MapReduce("m", one).run(["\ud800"])
    for settings, message in (
        ({"at_once": 0}, "at_once"),
        ({"reduce_chars": 0}, "reduce_chars"),
        ({"reducer": 3}, "reducer is an agent, a function or None, not 3"),
        ({"mapper": object()}, r"has no in_session\(\)"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            MapReduce("m", **{"mapper": one, **settings})  # type: ignore[arg-type]


async def test_its_picture() -> None:
    cast = Rehearsal()
    assert MapReduce("m", mapper(cast), cast.agent("reducer")).to_mermaid() == (
        "flowchart TD\n"
        '    n1(["task"])\n'
        '    n2("mapper")\n'
        '    n3("reducer")\n'
        '    n4(["result"])\n'
        '    n1 -->|"each item, 100 at once"| n2\n'
        "    n2 --> n3\n"
        "    n3 --> n4\n"
    )
    assert '["JSON list"]' in MapReduce("m", mapper(cast)).to_mermaid()
    assert msgspec.json.encode(MapReduce("m", mapper(cast)).graph())


async def test_copies_stay_unsaved_when_the_swarm_goes_on(tmp_path: Path) -> None:
    """O5: nor does the mapper, which never works itself, need a session of its own."""

    def make(*script: Any) -> MapReduce[str]:
        mapper = Agent("mapper", model=ScriptedModel(script, loop=True))
        return MapReduce("many", mapper, session="alice", autosave=True, workspace_dir=tmp_path)

    with pytest.raises(MemberFailed):
        await make(RuntimeError("broken")).run(["one", "two"])
    result = await make("done").resume()
    assert result.text == '["done","done"]'
    assert not await AsyncPath(tmp_path / "agents").exists()


async def test_copies_of_the_reducer_stay_unsaved_when_the_swarm_goes_on(tmp_path: Path) -> None:
    """The swarm saves its reducer, and it is the copies of that which bring portions together."""

    def make(*script: Any) -> MapReduce[str]:
        mapper = Agent("mapper", model=ScriptedModel(["x" * 60], loop=True))
        reducer = Agent("reducer", session="alice", model=ScriptedModel(script, loop=True))
        return MapReduce(
            "many", mapper, reducer, session="alice", reduce_chars=150, autosave=True, workspace_dir=tmp_path
        )

    with pytest.raises(MemberFailed):
        await make(RuntimeError("broken")).run(["one", "two", "three", "four"])
    result = await make("done").resume()
    assert result.text == "done"
    folders = [path.name async for path in AsyncPath(tmp_path / "agents").iterdir()]
    assert len(folders) == 1
    assert folders[0].startswith("reducer-")
