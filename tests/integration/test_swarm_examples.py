"""The examples of swarms, each killed where its model is asked something that it does not answer, and started again."""

from __future__ import annotations

import runpy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pytest
from tests.support.commands import directly
from tests.support.examples import EXAMPLES, LONGEST, SCRIPTED, environment, is_recorded, started
from tests.support.openai_server import (
    Answer,
    Behaviour,
    Hold,
    OpenAIServer,
    ReceivedRequest,
    Status,
    ToolUse,
)

from overwinter import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NEVER = Answer("This is never said.")
Says: TypeAlias = "Callable[[str, str, int], Answer]"


class Story(NamedTuple):
    """How an example of a swarm is called, what its model says, and where it is killed.

    :ivar says: what the model answers: of the system prompt, what it is told last, and how often it has answered.
    :ivar held: what stands in what it is told when it does not answer.
    :ivar recorded: what is on disk by then, beside the task that is held, which comes after all that led to it.
    :ivar left: how many answers are missing then.
    """

    words: tuple[str, ...]
    says: Says
    held: str
    recorded: tuple[str, ...]
    left: int
    prints: str
    code: int = 0


def research(system: str, told: str, answers: int) -> Answer:
    if "researcher" in system:
        return Answer(f"Facts of {system.partition('as ')[2].partition('.')[0]}.")
    if "articles" in system:
        return Answer(f"Draft {answers + 1}.")
    return Answer("The article." if "Draft 2." in told else "REVISE: warmer, please.")


def review(system: str, told: str, answers: int) -> Answer:
    if "chair" in system:
        assert ("CHANGE" in told, answers) == (True, 0)
        return Answer("CHANGE: line 1.")
    if "abuse" in system:
        return Answer("Nobody can. VERDICT: APPROVE")
    return Answer("It is wrong. VERDICT: CHANGE" if "errors" in system else "It is short. VERDICT: CHANGE")


def summarise(system: str, told: str, answers: int) -> Answer:
    if "reports" in system:
        return Answer(f"A report of {told.count('A summary of')}.")
    if not answers:
        return Answer(calls=[ToolUse("read_document", {"name": told}, id="call_read")])
    return Answer(f"A summary of {told}.")


def story_of(name: str, home: Path) -> Story:
    if name == "research_team":
        facts = tuple(f"Facts of {one}." for one in ("a biologist", "a practical beekeeper", "a historian"))
        return Story(("How?",), research, "REVISE", (*facts, "REVISE: warmer"), 2, "The article.\n")
    if name == "code_review":
        code = home / "half.py"
        code.write_text("def half(x):\n    return x / 0\n", "utf-8")
        reviews = ("Nobody can.", "It is wrong.", "It is short.")
        return Story((str(code),), review, "Counted word by word", reviews, 1, "CHANGE: line 1.\n", 1)
    documents, report = home / "documents", str(home / "report.md")
    (documents / "more").mkdir(parents=True)
    for number in range(12):
        (documents / ("more" if number % 2 else ".") / f"{number}.txt").write_text(
            f"letter {number}", "utf-8"
        )
    recorded = tuple(f"A summary of letter {number}." for number in range(12) if number != 7)
    return Story((str(documents), report), summarise, "more/7.txt", recorded, 3, f"{report}: ")


def answer_of(story: Story, body: Mapping[str, Any]) -> Answer:
    messages = body["messages"]
    answers = sum(message["role"] == "assistant" for message in messages)
    return story.says(messages[0]["content"], messages[-1]["content"], answers)


def held_or_answered(story: Story, hold: Hold, body: Mapping[str, Any]) -> Behaviour:
    return hold if story.held in body["messages"][-1]["content"] else answer_of(story, body)


def told(name: str, words: tuple[str, ...], env: dict[str, str], *, code: int = 0) -> str:
    """Run the example of a swarm to its end, and return what it printed; on standard error it tells how it goes."""
    with started(name, env, "-W", "error", words=words) as process:
        out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out


def killed(name: str, words: tuple[str, ...], env: dict[str, str], hold: Hold, story: Story) -> None:
    """Run the example until its model is asked what it does not answer and the rest is on disk, and ``kill -9`` it."""
    with started(name, env, words=words) as process:
        assert hold.reached.wait(LONGEST)
        while not all(
            is_recorded(text, Path(env["WORKSPACE_DIR"])) for text in (*story.recorded, story.held)
        ):
            assert process.poll() is None
        process.kill()
        process.communicate(timeout=LONGEST)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def spoken(request: ReceivedRequest) -> str:
    """What a request says to the model, however it was sent."""
    return str(
        [
            (
                message["role"],
                message.get("content") or "",
                [(call["id"], call["function"]) for call in message.get("tool_calls") or ()],
            )
            for message in request.body["messages"]
        ]
    )


SWARMS = pytest.mark.parametrize("name", ["research_team", "code_review", "document_pipeline"])


@SWARMS
def test_a_swarm_that_is_killed_and_started_again_prints_what_it_would_have_and_asks_nothing_twice(
    name: str, tmp_path: Path, server: OpenAIServer
) -> None:
    story = story_of(name, tmp_path)
    server.responder = partial(answer_of, story)
    undisturbed = told(
        name, story.words, environment(tmp_path / "one", server.environment()), code=story.code
    )
    assert undisturbed.startswith(story.prints)
    asked = sorted(spoken(request) for request in server.requests)
    server.requests.clear()

    env, hold = environment(tmp_path / "two", directly(server)), Hold(NEVER)
    server.responder = partial(held_or_answered, story, hold)
    killed(name, story.words, env, hold, story)
    before = [spoken(request) for request in server.requests if request.answered.is_set()]
    assert len(before) == len(server.requests) - 1
    server.requests.clear()
    server.responder = partial(answer_of, story)
    assert told(name, story.words, env, code=story.code) == undisturbed
    after = [spoken(request) for request in server.requests]
    assert len(after) == story.left
    assert sorted(before + after) == asked  # nothing twice, and nothing else than without the kill

    assert told(name, story.words, env, code=story.code) == undisturbed
    assert len(server.requests) == story.left  # asked once more, it has its answer


@SWARMS
def test_the_swarms_need_no_key_with_a_stand_in(name: str, tmp_path: Path) -> None:
    story = story_of(name, tmp_path)
    printed = told(name, story.words, environment(tmp_path / "one", SCRIPTED), code=story.code)
    assert printed
    if name == "document_pipeline":
        assert (tmp_path / "report.md").read_text("utf-8") == "A report of 12 summaries.\n"


def test_a_research_team_whose_models_fail_says_who_failed_and_goes_on_when_they_are_back(
    tmp_path: Path, server: OpenAIServer
) -> None:
    story = story_of("research_team", tmp_path)
    env = environment(tmp_path, directly(server))
    server.enqueue(*[Status(400, "out of order")] * 9)  # each of the three is tried three times
    with started("research_team", env, words=story.words) as process:
        _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 1
    for name in ("biologist", "beekeeper", "historian"):
        assert f"'{name}' failed: " in err
    assert (len(server.requests), server.unused) == (9, 0)

    def one_is_still_away(body: Mapping[str, Any]) -> Answer | Status:
        answer = answer_of(story, body)
        return Status(400, "out of order") if "historian" in answer.text else answer

    server.responder = one_is_still_away
    assert told("research_team", story.words, env) == story.prints
    drafted = [body for body in (request.body for request in server.requests) if "articles" in str(body)]
    assert "(no answer)" in drafted[0]["messages"][-1]["content"]


def test_a_document_cannot_have_the_pipeline_read_what_is_not_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a key")
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "letter").write_text("Dear bee")
    (folder / "link").symlink_to(tmp_path / "secret")
    read_document = runpy.run_path(str(EXAMPLES / "document_pipeline.py"))["reading_in"](folder)
    assert read_document("letter") == "Dear bee"
    for name in ("../secret", str(tmp_path / "secret"), "link"):
        with pytest.raises(ToolError, match="not in the folder"):
            read_document(name)


ORDER = "Order A-17 came broken. I want my 49 euros back."


def support(system: str, told: str, answers: int) -> Answer:
    if "right desk" in system:
        return Answer("cases" if "A-17" in told else "questions")
    if "do not work" in system:
        return Answer(calls=[ToolUse("handoff_to_billing", {"reason": "It came broken."}, id="call_1")])
    if "what customers" in system:
        refund = ToolUse("refund", {"order": "A-17", "euros": 49}, id="call_2")
        return Answer(f"So it is: {told}") if answers else Answer(calls=[refund])
    return Answer("From 9 to 17.")


@pytest.mark.parametrize("said", [("yes",), ("no", "it was sent a year ago")])
def test_the_support_desk_goes_on_after_a_kill_waits_for_a_person_and_refunds_once(
    said: tuple[str, ...], tmp_path: Path, server: OpenAIServer
) -> None:
    held = "handed this conversation on"
    story, hold = Story((), support, held, ("It came broken.",), 0, ""), Hold(NEVER)
    server.responder = partial(held_or_answered, story, hold)
    env = environment(tmp_path, directly(server))
    killed("support_desk", ("ann", ORDER), env, hold, story)
    assert len(server.requests) == 3  # triage, technical, billing
    server.responder = partial(answer_of, story)
    for _ in range(2):
        assert "refund" in told("support_desk", ("ann",), env)
    assert len(server.requests) == 4  # billing once more, for it had not answered
    answer = told("support_desk", ("ann", *said), env)
    assert answer.startswith("So it is: ")
    assert said[-1] in answer or said == ("yes",)
    assert len(server.requests) == 5
    paid = [path.read_text("utf-8") for path in tmp_path.glob("agents/*/refunds.txt")]
    assert paid == (["call_2 A-17 49\n"] if said == ("yes",) else [])

    assert told("support_desk", ("ann", "When are you open?"), env) == "From 9 to 17.\n"
    over_litellm = environment(tmp_path, server.environment())
    assert told("support_desk", ("ben", "When are you open?"), over_litellm) == "From 9 to 17.\n"
    heard = server.requests[-1].body["messages"]
    assert [message["role"] for message in heard] == ["system", "user"]  # ben's desk knows nothing of ann
    assert "A-17" not in str(server.requests[-2:])


def test_the_support_desk_needs_no_key_with_a_stand_in_and_says_what_is_wrong(tmp_path: Path) -> None:
    env = environment(tmp_path, SCRIPTED)
    assert "waits for a person" in told("support_desk", ("ann", ORDER), env)
    with started("support_desk", env, words=("ann", "Are you there?")) as process:
        _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 1
    assert "is paused" in err
    assert "Traceback" not in err
    assert told("support_desk", ("ann", "yes"), env).endswith("paid back for order A-17.\n")
