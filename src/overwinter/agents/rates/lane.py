"""The way to one model, which all agents of a runtime share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from overwinter.agents.rates.hold import Hold
from overwinter.agents.rates.line import Line
from overwinter.agents.rates.place import Place
from overwinter.agents.rates.window import INSTANT, Window
from overwinter.errors import ModelBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from overwinter.agents.models.retry import RetryPolicy
    from overwinter.agents.rates.limit import RateLimit
    from overwinter.runtime.clock import Cancellable, Clock

__all__ = ["Lane", "Obstacle"]


class Obstacle(msgspec.Struct, frozen=True):
    """What a call waits for: the name of a limit, or ``retry_after``.

    ``seconds`` is how long that takes at least, 0.0 where it is for a call under way to end.
    """

    limit: str
    seconds: float = 0.0


class _Waiter:
    __slots__ = ("future", "policy", "since", "tokens", "who")

    def __init__(self, who: Hashable, tokens: int, policy: RetryPolicy, since: int) -> None:
        self.future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self.who = who
        self.tokens = tokens
        self.policy = policy
        self.since = since


class Lane:
    """Lets calls of one model go within its limit, and holds them back when its provider says so.

    It belongs to one event loop. While it has no limit, holds nothing back and nobody waits it is at rest, and can be
    done without.

    :param name: the model's.
    :param rest: called with it whenever it has come to rest.
    """

    def __init__(self, name: str, limit: RateLimit, *, clock: Clock, rest: Callable[[Lane], object]) -> None:
        self.name = name
        self._clock = clock
        self._rest = rest
        self._line: Line[_Waiter] = Line()
        self._hold = Hold()
        self._timer: Cancellable | None = None
        self._requests: Window | None = None
        self._tokens: Window | None = None
        self.under_way = 0
        self.limit = limit

    @property
    def limit(self) -> RateLimit:
        """The limit. A new one holds from now on, for those who wait as well."""
        return self._limit

    @limit.setter
    def limit(self, limit: RateLimit) -> None:
        self._limit = limit
        self._requests = self._window(self._requests, limit.requests_per_minute)
        self._tokens = self._window(self._tokens, limit.tokens_per_minute)
        self._serve()

    @property
    def counts_tokens(self) -> bool:
        """Whether it matters how many tokens a call is likely to use."""
        return self._tokens is not None

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._line)

    @property
    def who_waits(self) -> list[Hashable]:
        """Who waits, in the order of their turns; from any thread."""
        return self._line.who

    @property
    def held_for(self) -> float:
        """Seconds for which the provider wants to be left alone."""
        return self._hold.left(self._clock.monotonic())

    def holds(self, seconds: float) -> bool:
        """Whether the provider wants to be left alone for that long."""
        return self.held_for + INSTANT >= seconds

    @property
    def used(self) -> tuple[float, float]:
        """Requests and tokens in the window that ends now, as far as they are limited."""
        now = self._clock.monotonic()
        windows = (self._requests, self._tokens)
        requests, tokens = (0 if window is None else window.used_since(now) for window in windows)
        return requests, tokens

    def enter_nowait(self, tokens: int) -> Place | None:
        """A place, if there is one and nobody waits; otherwise ``None``."""
        now = self._clock.monotonic()
        return None if self._line or self._obstacle(now, tokens) else self._begin(now, tokens)

    def obstacle(self, tokens: int) -> Obstacle:
        """What a call of so many *tokens* would have to wait for now, if it is not its turn alone."""
        now = self._clock.monotonic()
        return self._obstacle(now, self._line.first.tokens if self._line else tokens) or Obstacle("turn")

    async def enter(self, who: Hashable, tokens: int, policy: RetryPolicy) -> Place:
        """A place, when it is the turn of *who* and there is one; those who wait take turns.

        :raises ModelBusy: the provider wants to be left alone for longer than *policy* waits.

        Cancelling it takes none, and lets those behind it step up.
        """
        waiter = _Waiter(who, tokens, policy, self._hold.refusals)
        self._refuse_if_hopeless(waiter)
        self._line.join(who, waiter)
        self._serve()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def hold(self, seconds: float, *, began: float | None) -> None:
        """The provider refused a call that began then, and said to come back in so many *seconds*."""
        if self._hold.begin(self._clock.monotonic(), seconds, began=began):
            for waiter in tuple(self._line):
                try:
                    self._refuse_if_hopeless(waiter)
                except ModelBusy as error:
                    self._line.leave(waiter.who, waiter)
                    if not waiter.future.done():
                        waiter.future.set_exception(error)
        self._serve()

    def leave(self, place: Place, *, requests: int | None, tokens: int | None, answered: bool) -> None:
        """What a place says when it ends; ``None`` is for what stays as it was counted."""
        now = self._clock.monotonic()
        self.under_way -= 1
        for entry, used in ((place.request, requests), (place.tokens, tokens)):
            if entry is not None and used is not None:
                entry.window.correct(now, entry, used)
        if answered:
            self._hold.answered(place.began)
        self._serve()

    def close(self) -> None:
        """Leave no timer behind; whoever waits is to be cancelled by others."""
        self._stop_timer()

    def _window(self, window: Window | None, per_minute: float | None) -> Window | None:
        if per_minute is None:
            return None
        capacity, seconds = self._limit.in_window(per_minute), self._limit.window
        if window is None:
            return Window(capacity, seconds)
        window.capacity, window.seconds = capacity, seconds
        return window

    def _obstacle(self, now: float, tokens: int) -> Obstacle | None:
        wait = self._hold.wait(now)
        if wait:
            return Obstacle("retry_after", wait)
        limit = self._limit
        if limit.in_flight is not None and self.under_way >= limit.in_flight:
            return Obstacle("in_flight")
        if self._requests is not None:
            wait = self._requests.wait(now, 1)
            if wait:
                return Obstacle("requests_per_minute", wait)
        if self._tokens is not None:
            wait = self._tokens.wait(now, tokens)
            if wait:
                return Obstacle("tokens_per_minute", wait)
        return None

    def _begin(self, now: float, tokens: int) -> Place:
        self.under_way += 1
        self._hold.went(now)
        return Place(
            self,
            now,
            None if self._requests is None else self._requests.use(now, 1),
            None if self._tokens is None else self._tokens.use(now, tokens),
        )

    def _refuse_if_hopeless(self, waiter: _Waiter) -> None:
        now = self._clock.monotonic()
        if self._hold.is_hopeless(now, waiter.policy, waiter.since):
            raise ModelBusy(self.name, retry_after=self._hold.left(now))

    def _serve(self) -> None:
        """Let all go, in their order, until one has to go on waiting; then it is looked again when that may be over."""
        self._stop_timer()
        now = self._clock.monotonic()
        while self._line:
            waiter = self._line.first
            if waiter.future.done():
                # Cancelled, and about to withdraw. That is no turn that its agent has had.
                self._line.leave(waiter.who, waiter)
                continue
            obstacle = self._obstacle(now, waiter.tokens)
            if obstacle is not None:
                self._look_again(obstacle.seconds)
                return
            waiter.future.set_result(self._begin(now, waiter.tokens))
            self._line.step_up()
        wait = self._hold.wait(now)
        if wait:
            self._look_again(wait)
        else:
            self._hold.end()
            self._rest(self)

    def _look_again(self, seconds: float) -> None:
        if seconds:
            self._timer = self._clock.call_later(seconds, self._serve)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _withdraw(self, waiter: _Waiter) -> None:
        if self._line.leave(waiter.who, waiter):
            self._serve()
        elif not waiter.future.cancelled() and waiter.future.exception() is None:
            # It was served in the very moment in which it was cancelled.
            waiter.future.result().not_taken()
