"""The offline model: what it does with tools, and what it says without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter import Agent, ToolError
from overwinter.agents.models import Message, Model, ModelRequest, ToolCall, ToolSpec
from overwinter.agents.models.extraction import extract, keywords, shared_words, summary_length
from overwinter.agents.models.offline import OfflineModel
from overwinter.agents.models.prose import heading_of, sentences_of

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio

TEXT = """# On keeping bees

Bees keep honey for the winter, and the winter is long. A keeper who takes too much honey kills the bees.

The hive stands in the garden. Dr. Vogel found in 1921 that bees in a warm hive eat more honey than bees in a cold one.
What the bees do not eat is left for the keeper! Nobody knows how the bees count their honey before the winter comes.
"""


class Part(msgspec.Struct):
    part: int
    text: str


class Section(msgspec.Struct):
    document: str
    summary: str


class Desk:
    """Tools over some parts of a text, which remember how they were called."""

    def __init__(self, parts: Sequence[str], *, refusals: int = 0) -> None:
        self.parts = parts
        self.refusals = refusals
        self.read: list[int] = []
        self.notes: list[tuple[int, str]] = []
        self.written: list[dict[str, Any]] = []
        self.attempts = 0

    @property
    def tools(self) -> list[Any]:
        return [self.measure_text, self.read_text, self.note_sentence, self.write_summary]

    def measure_text(self) -> dict[str, int]:
        """Tell how long it is."""
        return {"parts": len(self.parts)}

    def read_text(self, part: int) -> Part:
        """Read a part."""
        self.read.append(part)
        return Part(part, self.parts[part - 1])

    def note_sentence(self, part: int, sentence: str) -> str:
        """Note a sentence."""
        self.notes.append((part, sentence))
        return "noted"

    def write_summary(self, title: str, summary: str, keywords: list[str], urgent: bool) -> str:
        """Write it."""
        self.attempts += 1
        if self.attempts <= self.refusals:
            raise ToolError("not yet")
        self.written.append({"title": title, "summary": summary, "keywords": keywords, "urgent": urgent})
        return "written"


def test_it_is_a_model() -> None:
    """C30: it satisfies the protocol, so that any agent can use it."""
    model = OfflineModel()
    assert isinstance(model, Model)
    assert model.name == "offline"


async def test_it_reads_every_part_once_and_then_writes() -> None:
    """C31: it drives an agent's own tools: it measures, reads each part once, notes, writes once, and answers."""
    desk = Desk([TEXT, "A second part tells of wax. Wax is made by young bees in the summer.", "\n"])
    result = await Agent("reader", model=OfflineModel(), tools=desk.tools).run("Summarise it.")
    assert desk.read == [1, 2, 3]
    assert [part for part, _ in desk.notes] == [1, 2]
    (written,) = desk.written
    assert written["title"] == "On keeping bees"
    assert written["keywords"][0] == "bees"
    assert written["urgent"] is False
    assert str(result) == "“On keeping bees” is written."


async def test_every_sentence_it_writes_is_the_texts_own() -> None:
    """C32: it is extractive: every sentence of a summary stands in the text, in the same order."""
    desk = Desk([TEXT])
    await Agent("reader", model=OfflineModel(), tools=desk.tools).run("Summarise it.")
    plain = " ".join(TEXT.split())
    at = [plain.index(sentence.text) for sentence in sentences_of(desk.written[0]["summary"])]
    assert at
    assert at == sorted(at)
    assert all(sentence in plain for _, sentence in desk.notes)


async def test_it_reads_each_thing_that_was_listed_and_writes_of_all() -> None:
    """C31: what a list tells by name it reads by name, and it writes an object for each."""
    texts = {"a.md": TEXT, "b.md": "Bees fly. Honey is heavy in the winter, and bees carry it in the summer."}
    written: list[Any] = []

    def list_documents() -> list[dict[str, str]]:
        return [{"document": name} for name in texts]

    def read_document(document: str) -> str:
        return texts[document]

    def write_report(title: str, sections: list[Section], in_common: str) -> str:
        written.append((title, sections, in_common))
        return "written"

    await Agent("editor", model=OfflineModel(), tools=[list_documents, read_document, write_report]).run(
        "Report."
    )
    ((title, sections, in_common),) = written
    assert title == "A report on 2 documents"
    assert [section.document for section in sections] == ["a.md", "b.md"]
    assert all(section.summary for section in sections)
    assert "“bees” (in 2 of 2)" in in_common


async def test_the_same_request_has_the_same_reply() -> None:
    """C33: it is deterministic: its reply depends on the request and on nothing else."""
    request = ModelRequest([Message("user", TEXT * 30)])
    first, second = await OfflineModel().complete(request), await OfflineModel().complete(request)
    assert first == second


async def test_without_tools_it_summarises_the_task() -> None:
    """C34: without tools its answer is a summary of what it was asked."""
    result = await Agent("plain", model=OfflineModel()).run(TEXT)
    assert str(result) == extract(TEXT)
    assert result.usage.cost == 0.0
    assert result.usage.output_tokens == len(str(result).split())


async def test_nothing_to_read_is_said() -> None:
    """C34: an empty text has no summary, and it says so."""
    assert str(await Agent("plain", model=OfflineModel()).run(" \n")) == "There is nothing to summarise."


@pytest.mark.parametrize(("refusals", "written"), [(1, 1), (2, 0), (9, 0)])
async def test_a_tool_that_refuses_is_tried_once_more_and_no_oftener(refusals: int, written: int) -> None:
    """C35: a writing tool that fails is called twice at most; then it says what stood in the way."""
    desk = Desk([TEXT], refusals=refusals)
    result = await Agent("reader", model=OfflineModel(), tools=desk.tools, max_loops="auto").run(
        "Summarise it."
    )
    assert len(desk.written) == written
    assert desk.attempts == min(refusals + 1, 2)
    assert written or "not yet" in str(result)


async def test_a_part_that_cannot_be_read_is_passed_over() -> None:
    """C35: a reading that fails is not repeated, and the answer tells of it."""
    desk = Desk([TEXT])

    def measure_text() -> dict[str, int]:
        return {"parts": 2}

    tools = [measure_text, *desk.tools[1:]]
    result = await Agent("reader", model=OfflineModel(), tools=tools).run("Summarise it.")
    assert desk.read == [1, 2]
    assert str(result) == "“On keeping bees” is written. 1 call failed on the way."


async def test_it_begins_anew_with_each_task() -> None:
    """C33: what was read for an earlier task is not taken for this one's."""
    desk = Desk([TEXT])
    agent = Agent("reader", model=OfflineModel(), tools=desk.tools)
    await agent.run("Summarise it.")
    await agent.run("And again.")
    assert desk.read == [1, 1]
    assert len({call.id for entry in agent.state.conversation for call in entry.tool_calls}) == 8


async def test_tools_it_has_no_use_for_are_left_alone() -> None:
    """C36: a tool whose name begins with no verb it knows is never called."""
    called: list[str] = []

    def launch(target: Annotated[str, msgspec.Meta(description="what")]) -> None:
        called.append(target)

    await Agent("plain", model=OfflineModel(), tools=[launch]).run(TEXT)
    assert called == []


async def test_its_text_can_be_streamed() -> None:
    """C30: with ``on_text`` the pieces of the text are its whole text."""
    pieces: list[str] = []
    reply = await OfflineModel().complete(ModelRequest([Message("user", TEXT)]), on_text=pieces.append)
    assert "".join(pieces) == reply.message.content


async def test_calls_that_were_not_its_own_do_not_confuse_it() -> None:
    """C36: arguments that are no JSON, and answers without a call, come from other models; it goes on."""
    tools = (ToolSpec("read_text", "", {"type": "object", "properties": {}, "required": []}),)
    messages = [
        Message("user", "Read."),
        Message("assistant", tool_calls=(ToolCall("1", "read_text", "{broken"),)),
        Message("tool", "Bees keep honey.", tool_call_id="1"),
        Message("tool", "stray", tool_call_id="2"),
    ]
    reply = await OfflineModel().complete(ModelRequest(messages, tools))
    assert reply.message.content == "Bees keep honey."


class TestProse:
    def test_sentences_end_where_a_reader_would_say(self) -> None:
        """C37: abbreviations, initials and figures end no sentence."""
        text = "Mr. J. B. Smith paid 3.50, i.e. little. He left! “Why?” she asked. Then… nothing."
        assert [sentence.text for sentence in sentences_of(text)] == [
            "Mr. J. B. Smith paid 3.50, i.e. little.",
            "He left!",
            "“Why?” she asked.",
            "Then… nothing.",
        ]

    def test_markdown_is_read_as_prose(self) -> None:
        """C37: headings, code, rules and tables are no sentences; links and emphasis leave their words."""
        text = (
            "# Head\n\nA [link](x) and **bold** `code`.\n\n```\nx = 1.\n```\n\n---\n\n"
            "| a | b |\n\n- One item.\n- Two items.\n"
        )
        assert [sentence.text for sentence in sentences_of(text)] == [
            "A link and bold code.",
            "One item.",
            "Two items.",
        ]

    def test_a_block_of_code_that_was_cut_hides_nothing(self) -> None:
        """C37: half a block of code does not swallow the rest of the text."""
        assert sentences_of("Before it.\n```\nwithin it.\n\nAfter it.")[-1].text == "After it."

    def test_a_log_is_read_line_by_line(self) -> None:
        """C37: what has no sentences is taken by its lines."""
        log = "\n".join(f"12:0{n} worker {n} started" for n in range(9))
        assert [sentence.text for sentence in sentences_of(log)] == log.splitlines()

    def test_other_scripts_have_sentences_too(self) -> None:
        """C37: a Chinese full stop ends a sentence."""
        assert len(sentences_of("蜜蜂在冬天聚成一团。它们靠蜂蜜生活。")) == 2

    def test_a_heading_is_a_title(self) -> None:
        """C37: the first heading is the title, or a short first line that is no sentence."""
        assert heading_of("text\n\n## The *second* ##\n") == "The second"
        assert heading_of("Notes of a keeper\n\nBees.") == "Notes of a keeper"
        assert heading_of("It was a dark and stormy night.\n") == ""

    @given(st.text(max_size=400))
    def test_no_text_breaks_it(self, text: str) -> None:
        """C37: any text has some sentences or none, without control characters, and none is too long."""
        for sentence in sentences_of(text):
            assert 0 < len(sentence.text) < 400
            assert not any(ord(character) < 32 for character in sentence.text)
        assert extract(text) == extract(text)
        heading_of(text)


class TestExtraction:
    def test_a_summary_grows_with_its_text_up_to_a_bound(self) -> None:
        """C32: a summary has one sentence for a few, and never more than seven."""
        lengths = [summary_length(count) for count in (0, 1, 4, 8, 35, 200, 100_000)]
        assert lengths == [0, 1, 1, 2, 4, 7, 7]

    def test_what_repeats_itself_is_said_once(self) -> None:
        """C32: of sentences that say the same, one is chosen."""
        text = "Bees keep honey for the long winter. " * 10 + "Wax is made by young bees in the warm summer."
        assert extract(text, 2).count("keep honey") == 1

    def test_words_that_say_nothing_are_no_keywords(self) -> None:
        """C32: keywords are counted over all forms of a word, without those that every text has."""
        assert keywords("The bee and the bees. The bees' honey is what they have.", 2) == ["bees", "honey"]

    def test_words_are_shared_by_two_or_more(self) -> None:
        """C32: a word that one text has alone is shared by nobody."""
        assert shared_words(["wax honey", "honey", "smoke honey wax"]) == [("honey", 3), ("wax", 2)]

    @pytest.mark.parametrize(
        "hostile",
        [
            "." * 200_000,
            "![[" * 60_000,
            "<a " * 60_000,
            "*" * 200_000,
            "# " + "#" * 200_000 + "x",
            "a" * 200_000,
        ],
    )
    def test_no_text_takes_for_ever(self, hostile: str) -> None:
        """C37: what would send a careless pattern back and forth is read in one pass."""
        assert len(extract(hostile)) < 8 * 400
        heading_of(hostile)
