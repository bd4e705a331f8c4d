"""A research team: three researchers at the same time, a writer, and an editor who sends drafts back.

    export OPENAI_API_KEY="..."
    python examples/research_team.py "How does a bee colony get through the winter?"

It shows a swarm in a swarm, a loop with a bound, and a policy for members that fail. Kill it in the middle,
with Ctrl-C or ``kill -9``, and start it again with the same question: who has finished is not asked (or
paid for) again, and whoever was at work goes on. Started once more when it is done, it asks nobody and
prints the same article. Another question has a team of its own. ``overwinter ls --tree`` shows them all,
``overwinter graph research-team`` draws one.

``OVERWINTER_MODEL`` names another model (any litellm name); ``OVERWINTER_MODEL=scripted`` needs no key.
"""

from __future__ import annotations

import asyncio
import os
import sys

from overwinter import Agent, ConcurrentWorkflow, GraphWorkflow, MemberPolicy
from overwinter.events import Event, MemberFailed, MemberFinished
from overwinter.testing import ScriptedModel

MODEL = os.environ.get("OVERWINTER_MODEL", "gpt-4o-mini")
QUESTION = "How does a bee colony get through the winter?"

RESEARCHER = (
    "You are a researcher, and look at a question as {}. Answer with five facts and how sure you are of each."
)
WRITER = (
    "You write articles of three paragraphs, for readers who are curious and know nothing of the subject."
)
EDITOR = """\
You are an editor. If a draft is wrong, unclear or dull, answer with REVISE and what is to be better. If it is
not, and in any case when it is the third, answer with the finished article, as it is to be printed."""


def research_team(question: str) -> GraphWorkflow[str]:
    def agent(name: str, prompt: str, *stand_in: str) -> Agent[str]:
        model = ScriptedModel(stand_in, loop=True) if MODEL == "scripted" else None
        return Agent(name, MODEL, model=model, system_prompt=prompt, session=question)

    researchers = ConcurrentWorkflow(
        "researchers",
        [
            agent("biologist", RESEARCHER.format("a biologist"), "They form a cluster and shiver."),
            agent("beekeeper", RESEARCHER.format("a practical beekeeper"), "They need 15 kg of honey."),
            agent("historian", RESEARCHER.format("a historian"), "Skeps were wrapped in straw."),
        ],
        # One who fails three times is done without. If all do, so does the run; started again it goes on with them.
        policy=MemberPolicy(attempts=3, then="skip", timeout=300),
        session=question,
    )
    writer = agent("writer", WRITER, "A draft about bees.", "A better draft about bees.")
    editor = agent(
        "editor", EDITOR, "REVISE: say how they keep warm.", "Bees cluster, and shiver to keep warm."
    )
    return GraphWorkflow(
        "research-team",
        [researchers, writer, editor],
        [("researchers", "writer"), ("writer", "editor"), ("editor", "writer", sent_back)],
        end_points=["editor"],
        max_visits=3,
        session=question,
        autosave=True,  # and with it everybody in it
    )


def sent_back(text: str) -> bool:
    return text.startswith("REVISE")


def tell(event: Event) -> None:
    """Somebody at work, in the team or among its researchers, is done or in trouble."""
    if isinstance(event, MemberFinished):
        print(f"[{event.agent_name}] {event.member} is done: {event.text[:60]!r}", file=sys.stderr)
    elif isinstance(event, MemberFailed):
        print(
            f"[{event.agent_name}] {event.member} failed ({event.error}): {event.what_next}", file=sys.stderr
        )


async def main(question: str = QUESTION) -> None:
    team = research_team(question)
    team.watch(tell)
    # The same run_id is the same run: begun once, gone on with after whatever happened, and its answer kept.
    article = await team.run(question, run_id="article")
    print(article)
    print(f"\n{len(article.members)} pieces of work, {article.usage.total_tokens} tokens", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
