"""What was used within the last seconds: a sliding window."""

from __future__ import annotations

from collections import deque

__all__ = ["INSTANT", "Entry", "Window"]

#: Seconds that are as good as none: the rounding of sums and differences of times.
INSTANT = 1e-6


class Entry:
    """An amount that was used at a time, and the window that counts it."""

    __slots__ = ("amount", "at", "window")

    def __init__(self, window: Window, at: float, amount: float) -> None:
        self.window = window
        self.at = at
        self.amount = amount


class Window:
    """A sliding window log: each use is kept with its time until it is as old as the window is long.

    Of the algorithms that https://blog.cloudflare.com/counting-things-a-lot-of-different-things/ compares it is the
    one that never lets more through than *capacity* in any window, wherever it begins, and yet lets a whole *capacity*
    begin at once where nothing was used. Counters of fixed minutes (litellm's Router), and a token bucket as large as a
    minute (the OpenAI cookbook's parallel processor), let through up to twice as much around the turn of a minute; a
    small bucket (LangChain's ``InMemoryRateLimiter``) paces even the first calls. Traffic that keeps to a window keeps
    to a provider's token bucket of that size too. Its price is an entry for each use in the window.

    :param capacity: how much may be used within *seconds*.
    """

    __slots__ = ("_entries", "capacity", "seconds", "used")

    def __init__(self, capacity: float, seconds: float) -> None:
        self.capacity = capacity
        self.seconds = seconds
        self.used: float = 0
        self._entries: deque[Entry] = deque()

    def wait(self, now: float, amount: float) -> float:
        """Seconds until there is room for *amount* if nothing else comes; 0.0 where there is now.

        What is more than the capacity has room in an empty window.
        """
        self._forget(now)
        excess = min(self.used + amount - self.capacity, self.used)
        if excess <= 0:
            return 0.0
        for entry in self._entries:
            excess -= entry.amount
            if excess <= 0:
                return max(entry.at + self.seconds - now, INSTANT)
        return 0.0

    def use(self, now: float, amount: float) -> Entry:
        """Count *amount* from now on, whether there is room for it or not."""
        entry = Entry(self, now, amount)
        self._entries.append(entry)
        self.used += amount
        return entry

    def correct(self, now: float, entry: Entry, amount: float) -> None:
        """It was *amount* that was used. What is less was never used; what is more counts from now on."""
        self._forget(now)
        if amount > entry.amount:
            self.use(now, amount - entry.amount)
        elif entry.at + self.seconds - now > INSTANT:
            self.used -= entry.amount - amount
            entry.amount = amount

    def used_since(self, now: float) -> float:
        """What was used in the window that ends now."""
        self._forget(now)
        return self.used

    def _forget(self, now: float) -> None:
        entries = self._entries
        while entries and entries[0].at + self.seconds - now <= INSTANT:
            self.used -= entries.popleft().amount
