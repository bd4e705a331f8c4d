from __future__ import annotations

import gc

import pytest

from overwinter.agents.models.litellm_library import _uncollected


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_afterwards_as_it_was(enabled: bool) -> None:
    """M14"""
    was = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        frozen = gc.get_freeze_count()
        with pytest.raises(ImportError), _uncollected():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() is enabled
        assert gc.get_freeze_count() == frozen
    finally:
        gc.enable() if was else gc.disable()
