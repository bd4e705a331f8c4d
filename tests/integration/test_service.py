"""overwinter inside a web service: ``examples/service.py`` under uvicorn, in a process of its own, over real HTTP."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support.commands import directly
from tests.support.openai_server import Answer, Hold, OpenAIServer, ReceivedRequest, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVICE = Path(__file__).parents[2] / "examples" / "service.py"
LONGEST = 180.0


class Service:
    """The example as a running process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        address = self.wait_for(r"Uvicorn running on (http://127\.0\.0\.1:\d+)")
        self.client = httpx.Client(base_url=address[1], timeout=LONGEST, trust_env=False)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the match of the next line of the log that holds *pattern*."""
        while (line := self._lines.get(timeout=LONGEST)) is not None:
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"the service ended without saying {pattern!r}:\n{''.join(self.log)}")

    def ask(self, customer: str, text: str) -> httpx.Response:
        return self.client.post("/ask", json={"customer": customer, "text": text})

    def health(self) -> dict[str, Any]:
        response = self.client.get("/health")
        assert response.status_code == 200
        statistics: dict[str, Any] = response.json()
        return statistics

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Ask for its health until the condition holds."""
        deadline = time.monotonic() + LONGEST
        while not condition():
            self.health()
            assert time.monotonic() < deadline, "it never came to that"

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Have the signal end it, and return its log."""
        self.process.send_signal(number)
        self.process.wait(LONGEST)
        self._reader.join(LONGEST)
        self.client.close()
        return "".join(self.log)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            self._lines.put(line)
        self._lines.put(None)


@contextmanager
def serving(workspace: Path, model: OpenAIServer, *, through_litellm: bool = False) -> Iterator[Service]:
    """The service, gone when the block is."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OVERWINTER_"))
    }
    env |= model.environment() if through_litellm else directly(model)
    env |= {"NO_PROXY": "127.0.0.1", "WORKSPACE_DIR": str(workspace), "PORT": "0", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, SERVICE], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            service = Service(process)
            with service.client:
                yield service
        finally:
            process.kill()


@pytest.fixture
def model() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def service(workspace_dir: Path, model: OpenAIServer) -> Iterator[Service]:
    with serving(workspace_dir, model) as running:
        yield running


def states(workspace: Path) -> dict[str, dict[str, Any]]:
    """The saved states, by what their customers said first."""
    found = [json.loads(path.read_text("utf-8")) for path in workspace.glob("agents/*/*_state.json")]
    return {state["conversation"][0]["content"]: state for state in found if state["conversation"]}


def said(request: ReceivedRequest) -> list[tuple[str, str]]:
    """The conversation that a request held, without the system prompt."""
    return [(message["role"], message["content"]) for message in request.body["messages"][1:]]


def kept(state: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["role"], entry["content"]) for entry in state["conversation"]]


class Events:
    """The server-sent events of an answer, as they arrive."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> tuple[str, Any]:
        kind = next(self._lines).removeprefix("event: ")
        data = json.loads(next(self._lines).removeprefix("data: "))
        assert next(self._lines) == ""
        return kind, data

    def text(self) -> str:
        kind, data = self.next()
        assert kind == "text_delta"
        return str(data["text"])

    def rest(self) -> list[str]:
        return [line for line in self._lines if line]


@contextmanager
def streaming(service: Service, customer: str, text: str) -> Iterator[Events]:
    with service.client.stream("GET", "/stream", params={"customer": customer, "text": text}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Events(response)


def test_it_starts_without_touching_the_disk_or_the_model(
    service: Service, workspace_dir: Path, model: OpenAIServer
) -> None:
    assert service.health()["agents"] == 0
    assert not workspace_dir.exists()
    assert model.connections == 0


@pytest.fixture
def service_over_litellm(workspace_dir: Path, model: OpenAIServer) -> Iterator[Service]:
    with serving(workspace_dir, model, through_litellm=True) as running:
        yield running


def test_two_customers_are_served_at_once_each_with_a_folder_of_their_own(
    service_over_litellm: Service, workspace_dir: Path, model: OpenAIServer
) -> None:
    service = service_over_litellm
    holds = [Hold(), Hold()]
    model.enqueue(*holds)
    with ThreadPoolExecutor() as customers:
        ann = customers.submit(service.ask, "ann", "I am Ann")
        bob = customers.submit(service.ask, "bob", "I am Bob")
        for hold in holds:
            assert hold.reached.wait(LONGEST), "one waits for the other"
        assert (service.health()["agents"], service.health()["jobs"]) == (2, 2)
        for hold in holds:
            hold.release()
        assert ann.result(LONGEST).json()["answer"] == "You said: I am Ann"
        assert bob.result(LONGEST).json()["answer"] == "You said: I am Bob"
    assert service.ask("ann", "Who am I?").status_code == 200
    assert said(model.requests[-1]) == [
        ("user", "I am Ann"),
        ("assistant", "You said: I am Ann"),
        ("user", "Who am I?"),
    ]
    assert service.health()["agents"] == 2
    service.end()
    assert {first: len(state["conversation"]) for first, state in states(workspace_dir).items()} == {
        "I am Ann": 4,
        "I am Bob": 2,
    }


def test_first_questions_of_one_customer_at_once_reach_one_agent(
    service: Service, model: OpenAIServer
) -> None:
    with ThreadPoolExecutor() as tabs:
        answers = [tabs.submit(service.ask, "ann", f"question {number}") for number in range(4)]
        assert {answer.result(LONGEST).status_code for answer in answers} == {200}
    assert service.health()["agents"] == 1
    assert [len(said(request)) for request in model.requests] == [1, 3, 5, 7]


def test_an_answer_is_streamed_in_pieces_as_the_model_says_them(
    service: Service, model: OpenAIServer
) -> None:
    hold = Hold(Answer(pieces=["Bees", " over", "winter."], text="Bees overwinter."), after=2)
    model.enqueue(hold)
    with streaming(service, "ann", "What do bees do?") as events:
        assert events.text() == "Bees"
        assert hold.reached.wait(LONGEST)
        assert not model.requests[0].answered.is_set()
        hold.release()
        assert [events.text(), events.text()] == [" over", "winter."]
        assert events.next() == ("run_ended", {"status": "finished"})
        assert events.rest() == []


def test_a_client_that_leaves_a_stream_interrupts_its_run_and_that_is_saved(
    service: Service, workspace_dir: Path, model: OpenAIServer
) -> None:
    hold = Hold(Answer("Bees overwinter as a cluster."), after=3)
    model.enqueue(hold)
    with streaming(service, "ann", "What do bees do?") as events:
        assert [events.text(), events.text()] == ["Bees", " overwinter"]
        assert hold.reached.wait(LONGEST)
    assert model.requests[0].gone.wait(LONGEST), "the model goes on talking to nobody"
    service.wait_until(
        lambda: states(workspace_dir).get("What do bees do?", {}).get("status") == "interrupted"
    )
    service.wait_until(lambda: not service.health()["jobs"])
    state = states(workspace_dir)["What do bees do?"]
    assert (state["status"], state["partial_text"]) == ("interrupted", "Bees overwinter")
    assert kept(state) == [("user", "What do bees do?")]

    assert service.ask("ann", "Go on").json()["answer"] == "You said: Go on"
    assert said(model.requests[-1])[0] == ("user", "What do bees do?")
    service.end()
    assert [run["status"] for run in states(workspace_dir)["What do bees do?"]["runs"]] == [
        "interrupted",
        "finished",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_run_under_way_and_the_next_process_goes_on(
    workspace_dir: Path, model: OpenAIServer, number: signal.Signals
) -> None:
    with serving(workspace_dir, model) as service, ThreadPoolExecutor() as customers:
        assert service.ask("ann", "I am Ann").status_code == 200
        hold = Hold()
        model.enqueue(hold)
        cut_off = customers.submit(service.ask, "ann", "Where is my order?")
        assert hold.reached.wait(LONGEST)
        log = service.end(number)
        with suppress(httpx.TransportError):  # uvicorn has given it up, and says so if it still can
            assert cut_off.result(LONGEST).status_code == 500
    assert service.process.returncode in (0, -number)  # uvicorn takes Ctrl-C for a good end
    assert "Application shutdown complete" in log
    state = states(workspace_dir)["I am Ann"]
    assert state["status"] == "interrupted"
    assert kept(state) == [
        ("user", "I am Ann"),
        ("assistant", "You said: I am Ann"),
        ("user", "Where is my order?"),
    ]

    with serving(workspace_dir, model) as service:
        assert service.ask("ann", "Are you still there?").json()["answer"] == "You said: Are you still there?"
    assert said(model.requests[-1]) == [*kept(state), ("user", "Are you still there?")]


def test_after_a_kill_the_next_process_goes_on_at_once(workspace_dir: Path, model: OpenAIServer) -> None:
    with serving(workspace_dir, model) as service:
        assert service.ask("ann", "I am Ann").status_code == 200
        service.wait_until(lambda: states(workspace_dir).get("I am Ann", {}).get("status") == "finished")
        model.enqueue(Hold(Answer("Bees overwinter."), after=2))
        with streaming(service, "ann", "What do bees do?") as events:
            assert events.text() == "Bees"
            service.process.kill()
            with pytest.raises((httpx.TransportError, StopIteration)):
                events.next()
    with serving(workspace_dir, model) as service:
        assert service.ask("ann", "Go on").status_code == 200
    assert said(model.requests[-1])[:2] == [("user", "I am Ann"), ("assistant", "You said: I am Ann")]


def test_what_it_cannot_read_is_refused_and_what_it_cannot_do_is_said(
    service: Service, model: OpenAIServer
) -> None:
    refused = service.client.post("/ask", json={"customer": 3})
    assert refused.status_code == 400
    assert "$.customer" in refused.json()["error"]
    assert service.client.get("/stream", params={"customer": "ann"}).status_code == 400
    assert service.health()["agents"] == 0

    model.enqueue(Status(401, "no such key"), Status(401, "no such key"))
    failed = service.ask("ann", "Where is my order?")
    assert failed.status_code == 503
    assert "no such key" in failed.json()["error"]
    with streaming(service, "ann", "And now?") as events:
        assert events.next() == ("run_ended", {"status": "failed"})
        kind, data = events.next()
        assert kind == "error"
        assert "no such key" in data["error"]
    assert service.ask("ann", "And again?").json()["answer"] == "You said: And again?"
