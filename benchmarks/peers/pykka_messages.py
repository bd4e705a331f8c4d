"""Pykka: messages told to one actor, which is a thread, and questions that it answers: ``... TELLS ASKS``."""

from __future__ import annotations

import json
import sys
import threading
import time

import pykka


class Counter(pykka.ThreadingActor):
    def __init__(self, last: int, done: threading.Event) -> None:
        super().__init__()
        self.count = 0
        self.last = last
        self.done = done

    def on_receive(self, message: int) -> int:
        self.count += 1
        if self.count == self.last:
            self.done.set()
        return message


def measure(tells: int, asks: int) -> dict[str, float]:
    done = threading.Event()
    ref = Counter.start(tells, done)
    began = time.perf_counter()
    for number in range(tells):
        ref.tell(number)
    done.wait()
    told = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(asks):
        ref.ask(number)
    asked = time.perf_counter() - began
    pykka.ActorRegistry.stop_all()
    return {"tell": tells / told, "ask": asks / asked}


if __name__ == "__main__":
    measure(500, 500)
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
