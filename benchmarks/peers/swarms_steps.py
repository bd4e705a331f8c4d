"""swarms: one agent of so many loops on an in-process model, with its autosave: ``... LOOPS``. It syncs nothing."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

os.environ["SWARMS_TELEMETRY_ON"] = "False"
os.environ["WORKSPACE_DIR"] = tempfile.mkdtemp()

from swarms import Agent


class Model:
    model_name = "gpt-4o-mini"

    def run(self, task: object = None, *_: object, **__: object) -> str:
        return "It is three, as it was when I was asked before."

    __call__ = run


def measure(loops: int, *, autosave: bool) -> float:
    agent = Agent(
        agent_name=f"adder-{loops}-{autosave}",
        model_name="gpt-4o-mini",
        llm=Model(),
        max_loops=loops,
        autosave=autosave,
        print_on=False,
        context_length=10**9,
    )
    began = time.perf_counter()
    agent.run("1 + 2?")
    return loops / (time.perf_counter() - began)


if __name__ == "__main__":
    loops = int(sys.argv[1])
    measure(3, autosave=True)
    print(json.dumps({"rate": measure(loops, autosave=True), "rate, off": measure(loops, autosave=False)}))
