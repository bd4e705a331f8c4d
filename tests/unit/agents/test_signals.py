"""Signals that are made into a cancellation."""

from __future__ import annotations

import signal

import pytest

from overwinter.agents.signals import signals_cancel

pytestmark = pytest.mark.anyio


async def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals_cancel(lambda: None):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert callable(signal.getsignal(signal.SIGTERM))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


async def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with signals_cancel(lambda: None) as watch:
        assert watch.received is None
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
