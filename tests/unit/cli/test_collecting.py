"""The garbage collection, held off while a command builds what it prints."""

from __future__ import annotations

import gc

import pytest

from overwinter.cli.collecting import uncollected


def test_nothing_is_collected_within_and_everything_as_before_after_it() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError), uncollected():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_who_had_turned_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
