"""What an agent remembers, who is told of it, and how it is found again."""

from __future__ import annotations

import string
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter import Agent, Memory, ToolContext, tool
from overwinter.agents.memory_search import search
from overwinter.errors import ConfigurationError, SaveRejected
from overwinter.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.anyio


def memory_of(values: Mapping[str, Any]) -> Memory:
    memory = Memory()
    for key, value in values.items():
        memory.set(key, value)
    return memory


def test_what_is_found_stands_in_the_order_of_how_well_it_fits() -> None:
    """X9: first more of the words, then words in the key, then more occurrences, then what was there first."""
    memory = memory_of(
        {
            "note": "The weather was fine, the weather was grand: weather!",
            "weather": "It rains.",
            "trip": "Berlin in spring, whatever the weather",
            "berlin_weather": "cold",
            "other": "nothing of the kind",
            "second": "weather",
            "third": "weather",
        }
    )
    assert list(memory.search("Berlin weather")) == [
        "berlin_weather",
        "trip",
        "weather",
        "note",
        "second",
        "third",
    ]
    assert memory.search("weather", limit=1) == {"weather": "It rains."}
    assert memory.search("weather", limit=0) == {}
    assert memory.search("weather", limit=-3) == {}
    assert memory.search("whether") == memory.search("") == memory.search("?!") == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("Grüße aus der Straße", "STRASSE"),
        ("Grüße aus der Straße", "grüsse"),
        ("cafe\u0301 noir", "CAFÉ"),
        ("ΟΔΟΣ", "οδος"),
        ("ﬁle ①", "file 1"),
        ("我在东京的家", "东京"),
        ("ผมอยู่ที่กรุงเทพ", "กรุงเทพ"),
        ('line one\nsecond\tword \\path "quoted" \u0001end', "second"),
        ('line one\nsecond\tword \\path "quoted" \u0001end', "path"),
        ('line one\nsecond\tword \\path "quoted" \u0001end', "quoted"),
        ('line one\nsecond\tword \\path "quoted" \u0001end', "end"),
        ({"city": {"name": ["Lisbon", 1755]}}, "lisbon"),
        ({"city": {"name": ["Lisbon", 1755]}}, "1755"),
        ({"city": {"name": ["Lisbon", 1755]}}, "name"),
        ("", "The_Key"),
        ("", "key"),
    ],
)
def test_words_are_found_whatever_their_case_script_and_place(value: Any, words: str) -> None:
    memory = memory_of({"a_key": value})
    assert memory.search(words) == {"a_key": value}


@pytest.mark.parametrize("words", ["an", "weathe", "eather", "nsecond", "u0001end", "tword"])
def test_a_part_of_a_word_is_no_word(words: str) -> None:
    assert memory_of({"key": "weather and\nsecond\tword \u0001end"}).search(words) == {}


_words = st.text(string.ascii_lowercase[:3], min_size=1, max_size=3)
_texts = st.lists(st.one_of(_words, st.sampled_from(["\n", '"', "\\", "_", "-", "\u0001"])), max_size=8).map(
    "".join
)


@given(st.dictionaries(_texts, _texts, max_size=6), st.lists(_words, max_size=3))
def test_it_finds_what_a_plain_comparison_of_words_finds(values: dict[str, str], words: list[str]) -> None:
    def parts(text: str) -> list[str]:
        return "".join(one if one.isalnum() else " " for one in text).split()

    expected: list[tuple[tuple[int, int, int], str]] = []
    for key, value in values.items():
        wanted, in_key, in_value = dict.fromkeys(words), parts(key), parts(value)
        different = sum(word in in_key or word in in_value for word in wanted)
        hits = sum(word in in_key for word in wanted)
        count = sum(in_key.count(word) + in_value.count(word) for word in wanted)
        if different:
            expected.append(((-different, -hits, -count), key))
    expected.sort(key=lambda one: one[0])
    entries = [(key, msgspec.Raw(msgspec.json.encode(value))) for key, value in values.items()]
    assert search(entries, " ".join(words), 10) == [key for _, key in expected]


def test_the_watcher_is_told_of_each_change_and_of_nothing_else() -> None:
    """X10: with the key and the value as it is kept, or None."""
    told: list[tuple[str, bytes | None]] = []
    memory = Memory()
    memory.watch(lambda key, raw: told.append((key, None if raw is None else bytes(raw))))
    memory.set("a", [1])
    memory.set("a", [1, 2])
    memory.delete("a")
    memory.delete("a")
    memory.replace({"b": 1})
    memory.put("c", msgspec.Raw(b"2"))
    memory.put("b", None)
    memory.put("b", None)
    with pytest.raises(SaveRejected):
        memory.set("bad", {1})
    with pytest.raises(ConfigurationError):
        memory.set(1, "x")  # type: ignore[arg-type]
    assert told == [("a", b"[1]"), ("a", b"[1,2]"), ("a", None)]
    assert memory.as_dict() == {"c": 2}
    assert ("c" in memory, list(memory), len(memory), repr(memory)) == (True, ["c"], 1, "<Memory ['c']>")
    memory.search("c")["c"] = "changed"
    assert memory.get("c") == 2


@pytest.mark.allow_blocking
def test_changes_from_many_threads_are_told_in_their_order() -> None:
    """X11: what is told last is what is kept."""
    told: dict[str, bytes | None] = {}
    memory = Memory()
    memory.watch(lambda key, raw: told.update({key: None if raw is None else bytes(raw)}))
    together = threading.Barrier(8)

    def work(number: int) -> None:
        together.wait()
        for count in range(200):
            memory.set("shared", [number, count])
            memory.set(f"own {number}", count)
            memory.search("shared")
            if count % 7 == number % 7:
                memory.delete("shared")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = {key: bytes(raw) for key, raw in memory.encoded().items()}
    assert {key: raw for key, raw in told.items() if raw is not None} == kept
    assert ("shared" in memory) == (told["shared"] is not None)


async def test_a_synchronous_tool_searches_and_sets_from_its_thread_and_it_is_saved(
    workspace_dir: Path,
) -> None:
    """X12: what a tool remembered is there after a load, and is found by its words."""

    @tool
    def remember(context: ToolContext, key: str, fact: str) -> dict[str, str]:
        """Remember a fact."""
        context.memory.set(key, fact)
        return context.memory.search(fact)

    model = ScriptedModel(
        [ScriptedModel.call("remember", {"key": "home", "fact": "Lives in Porto"}), "I will remember."]
    )
    agent = Agent("elephant", model=model, tools=[remember], autosave=True, workspace_dir=workspace_dir)
    await agent.run("I live in Porto.")
    assert agent.state.tool_results[0].output == '{"home":"Lives in Porto"}'
    later = Agent("elephant", model=ScriptedModel([]), autosave=True, workspace_dir=workspace_dir)
    await later.load()
    assert later.memory.search("porto") == {"home": "Lives in Porto"}


@pytest.mark.allow_blocking
async def test_what_a_thread_and_the_loop_set_is_saved_in_the_order_in_which_they_did(
    workspace_dir: Path,
) -> None:
    """X11: also where the loop has not yet heard of what the thread did."""

    @tool
    async def toggle(context: ToolContext) -> str:
        """Set it in a thread and then here."""
        thread = threading.Thread(target=context.memory.set, args=("side", "thread"))
        thread.start()
        thread.join()
        context.memory.set("side", "loop")
        return "set"

    model = ScriptedModel([ScriptedModel.call("toggle"), "done"])
    agent = Agent("toggler", model=model, tools=[toggle], autosave=True, workspace_dir=workspace_dir)
    await agent.run("Go.")
    later = Agent("toggler", model=ScriptedModel([]), autosave=True, workspace_dir=workspace_dir)
    await later.load()
    assert later.memory.get("side") == "loop"
