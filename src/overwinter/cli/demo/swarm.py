"""The swarm: a reader for each document, and an editor over them, on one runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CapacityLimiter, create_task_group

from overwinter import Agent
from overwinter.agents.models.litellm_model import LiteLLMModel
from overwinter.agents.models.offline import OfflineModel
from overwinter.cli.demo.editing import EditingDesk
from overwinter.cli.demo.progress import Progress
from overwinter.cli.demo.reading import ReadingDesk
from overwinter.cli.demo.texts import distinct
from overwinter.cli.demo.witness import Witness, WitnessedModel
from overwinter.cli.rendering import plural
from overwinter.errors import AgentError, ModelError
from overwinter.persistence import slug

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from overwinter import Runtime
    from overwinter.agents.records import StateBody
    from overwinter.cli.demo.ledger import Ledger
    from overwinter.cli.demo.texts import Document

__all__ = ["EDITOR", "Swarm", "Worker", "rows_of"]

EDITOR = "editor"

READER_PROMPT = """\
You are a careful reader in a swarm of agents. You read one document and nobody else reads it.
Use your tools: measure_document first; then read_document for every part; note_finding for the best sentence of each
part; and at the end write_summary, once, for the whole document. Say what the document says and add nothing.
When the summary is written, answer with one sentence."""

EDITOR_PROMPT = """\
You are the editor of a swarm of agents, each of which has read one document and written a summary of it.
Use your tools: list_summaries and count_shared_words first; then read_summary for every document; and at the end
write_report, once, with a title, a section for each document and what the documents have in common. Rest on the
summaries and add nothing.
When the report is written, answer with one sentence."""


class Worker:
    """An agent of the swarm at its desk, and its task."""

    def __init__(self, agent: Agent[str], desk: ReadingDesk | EditingDesk, task: str) -> None:
        self.agent = agent
        self.desk = desk
        self.task = task
        self._earlier: StateBody | None = None

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.agent.agent_name

    def go_on_from(self, body: StateBody, folder: Path) -> None:
        """Be as far as *body* says, which is what was recorded before the process was killed."""
        self._earlier = body
        self.desk.go_on_from(body, folder)

    async def work(self, run_id: str | None = None) -> None:
        """Run the agent until its task is done, or go on with its run where that was cut off.

        :raises AgentError: its run met a limit, or ended with its work undone.
        """
        earlier = self._earlier
        if earlier is None:
            result = await self.agent.run(self.task, run_id=run_id)
        elif earlier.status == "finished":
            return
        else:
            result = await self.agent.resume()
        if result.status == "paused":
            raise AgentError(
                f"it was paused at its limit {result.stop_reason!r} after {result.loop_count} loops"
            )
        if self.desk.done < 1 or not self.is_done:
            raise AgentError(f"the model answered without doing its work: {result.text[:200]!r}")

    @property
    def is_done(self) -> bool:
        """Whether what it was to write is written."""
        if isinstance(self.desk, ReadingDesk):
            return self.desk.summary_path is not None
        return self.desk.report_path is not None


class Swarm:
    """Readers and an editor. Their names come from the documents', so a later run finds the same agents.

    :param model_name: a litellm name, or an empty string for the offline model.
    :param ledger: where the models and the tools write down what they do.
    :param thinking: seconds that the offline model takes for a reply.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        *,
        model_name: str,
        witness: Witness | None = None,
        ledger: Ledger | None = None,
        thinking: float = 0.0,
    ) -> None:
        self._offline = not model_name
        self.model_name = model_name or OfflineModel().name
        self._ledger = ledger
        self._thinking = thinking if self._offline else 0.0
        witness = witness or Witness()
        desks = [ReadingDesk(document, witness) for document in documents]
        names = _reader_names(documents)
        self.readers = [self._reader(name, desk) for name, desk in zip(names, desks, strict=True)]
        self.editing = EditingDesk(desks, colophon=self._colophon(), witness=witness)
        self.editor = self._worker(
            EDITOR, self.editing, EDITOR_PROMPT, f"Edit a report on {plural(len(desks), 'document')}."
        )
        self.failures: list[tuple[Worker, Exception]] = []

    @property
    def workers(self) -> list[Worker]:
        """All of them, the editor last."""
        return [*self.readers, self.editor]

    async def work(self, runtime: Runtime, *, concurrency: int, run_id: str | None = None) -> None:
        """Let the readers read, *concurrency* at a time, and then the editor write.

        What fails is put into ``failures``; when a model cannot be asked, no reader begins any more. Cancelling it
        interrupts whoever is at work, and returns when that is saved.

        :param run_id: the id of everybody's run.
        :raises OverwinterError: the workspace cannot be used, or an agent is held by somebody else.
        """
        for worker in self.workers:
            await runtime.spawn(worker.agent)
        limiter = CapacityLimiter(concurrency)
        async with create_task_group() as tasks:
            for reader in self.readers:
                tasks.start_soon(self._let_work, reader, limiter, run_id)
        if not self.failures:
            await self._let_work(self.editor, limiter, run_id)

    async def _let_work(self, worker: Worker, limiter: CapacityLimiter, run_id: str | None) -> None:
        async with limiter:
            if any(isinstance(error, ModelError) for _, error in self.failures):
                return
            try:
                await worker.work(run_id)
            except Exception as error:  # noqa: BLE001 - whatever ends one run must not end the others, and is told
                self.failures.append((worker, error))

    def _reader(self, name: str, desk: ReadingDesk) -> Worker:
        return self._worker(
            name, desk, READER_PROMPT, f"Read the document {desk.document.name!r} and summarise it."
        )

    def _worker(self, name: str, desk: ReadingDesk | EditingDesk, prompt: str, task: str) -> Worker:
        model = OfflineModel() if self._offline else LiteLLMModel(self.model_name)
        agent = Agent(
            name,
            self.model_name,
            model=WitnessedModel(model, name, self._ledger, seconds=self._thinking),
            system_prompt=prompt,
            tools=desk.tools,
            max_loops=desk.max_loops,
            autosave=True,
        )
        return Worker(agent, desk, task)

    def _colophon(self) -> str:
        made = f"Made by a swarm of {plural(len(self.readers), 'reader')} and an editor with overwinter"
        if not self._offline:
            return f"{made}, on the model {self.model_name}."
        return (
            f"{made}, on its offline model: extractive, so every sentence of a summary is the document's own."
        )


def rows_of(documents: Sequence[Document]) -> list[Progress]:
    """Everybody, before there is anything to tell of them."""
    desks = [ReadingDesk(document) for document in documents]
    readers = zip(_reader_names(documents), desks, strict=True)
    return [
        *(Progress(name=name, total=desk.total) for name, desk in readers),
        Progress(name=EDITOR, total=EditingDesk(desks, colophon="").total),
    ]


def _reader_names(documents: Sequence[Document]) -> list[str]:
    names: list[str] = []
    for document in documents:
        stem = document.name.rpartition("/")[2].rpartition(".")[0] or document.name
        names.append(distinct(f"reader-{slug(stem)[:40]}", names, "{}-{}"))
    return names
