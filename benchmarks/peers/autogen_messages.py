"""autogen-core: messages published to one agent, and messages sent to it and answered: ``... TELLS ASKS``."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass

from autogen_core import (
    AgentId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    TopicId,
    TypeSubscription,
    message_handler,
)


@dataclass
class Told:
    number: int


@dataclass
class Asked:
    number: int


class Counter(RoutedAgent):
    def __init__(self) -> None:
        super().__init__("counts")
        self.count = 0
        self.last = -1
        self.done = asyncio.Event()

    @message_handler
    async def on_told(self, message: Told, ctx: MessageContext) -> None:
        self.count += 1
        if self.count == self.last:
            self.done.set()

    @message_handler
    async def on_asked(self, message: Asked, ctx: MessageContext) -> Asked:
        return message


async def measure(tells: int, asks: int) -> dict[str, float]:
    made: list[Counter] = []

    def make() -> Counter:
        made.append(Counter())
        return made[-1]

    runtime = SingleThreadedAgentRuntime()
    await Counter.register(runtime, "counter", make)
    await runtime.add_subscription(TypeSubscription("numbers", "counter"))
    runtime.start()
    here, topic = AgentId("counter", "default"), TopicId("numbers", "default")
    await runtime.send_message(Asked(0), here)
    counter = made[0]
    counter.last = tells
    began = time.perf_counter()
    for number in range(tells):
        await runtime.publish_message(Told(number), topic)
    await counter.done.wait()
    told = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(asks):
        await runtime.send_message(Asked(number), here)
    asked = time.perf_counter() - began
    await runtime.stop()
    return {"tell": tells / told, "ask": asks / asked}


if __name__ == "__main__":
    asyncio.run(measure(500, 500))
    print(json.dumps(asyncio.run(measure(*map(int, sys.argv[1:])))))
