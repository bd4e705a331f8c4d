"""LangGraph with AsyncSqliteSaver: threads of steps, a model call and a tool call each: ``... SAVING THREADS STEPS``.

SAVING is ``none``, or a durability: ``exit``, ``async`` or ``sync``. Model and tool are called in one node, so that a
step is one checkpoint; with a node for each, as LangGraph's own agents have them, it would be two.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from contextlib import nullcontext
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages


class Conversation(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    left: int


async def model(messages: list[AnyMessage], left: int) -> AIMessage:
    if not left:
        return AIMessage("It is three.")
    return AIMessage("", tool_calls=[{"id": f"call_{left}", "name": "add", "args": {"a": 1, "b": 2}}])


async def add(a: int, b: int) -> int:
    return a + b


async def step(state: Conversation) -> dict[str, Any]:
    answer = await model(state["messages"], state["left"])
    results = [
        ToolMessage(str(await add(**call["args"])), tool_call_id=call["id"]) for call in answer.tool_calls
    ]
    return {"messages": [answer, *results], "left": state["left"] - 1}


def graph_with(saver: Any) -> Any:
    graph = StateGraph(Conversation)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: END if state["left"] < 0 else "step", ["step", END])
    return graph.compile(checkpointer=saver)


async def measure(saving: str, threads: int, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        saver = (
            nullcontext()
            if saving == "none"
            else AsyncSqliteSaver.from_conn_string(f"{folder}/checkpoints.db")
        )
        async with saver as opened:
            graph = graph_with(opened)
            settings = {} if saving == "none" else {"durability": saving}

            async def run(thread: str, steps: int) -> None:
                begin = {"messages": [HumanMessage("1 + 2?")], "left": steps}
                config = {"configurable": {"thread_id": thread}, "recursion_limit": 10 * steps + 10}
                done = await graph.ainvoke(begin, config, **settings)
                assert len(done["messages"]) == 2 * steps + 2

            await run("before", 3)
            began = time.perf_counter()
            await asyncio.gather(*(run(f"thread-{number}", steps) for number in range(threads)))
            return {"rate": threads * steps / (time.perf_counter() - began)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], *map(int, sys.argv[2:])))))
