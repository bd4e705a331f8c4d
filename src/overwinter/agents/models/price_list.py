"""What litellm's price list says of a model, read without litellm, whose import takes seconds."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from overwinter.agents.models.price import Price, price_from_args

__all__ = ["Listed", "listed"]

_FILE = "model_prices_and_context_window_backup.json"


class Listed(msgspec.Struct, frozen=True):
    """A model as the list has it: its price, and whether it can be held to a JSON schema."""

    price: Price | None = None
    takes_schema: bool = False


_reading = Lock()


def listed(provider: str, name: str) -> Listed:
    """The entry of the model that *provider* calls *name*; an empty one where there is none. Blocking.

    The list is 3 MB, and is not kept: reading it anew takes some hundredths of a second, for each name once.
    """
    with _reading:  # a thousand agents begin at once, and the cache lets all of them read
        return _read(provider, name)


@lru_cache(maxsize=256)
def _read(provider: str, name: str) -> Listed:
    try:
        models = msgspec.json.decode(_path().read_bytes(), type=dict[str, msgspec.Raw])
        for key in (f"{provider}/{name}", name):
            if key in models:
                entry: dict[str, Any] = msgspec.json.decode(models[key])
                if key != name or entry.get("litellm_provider") == provider:
                    return Listed(price_from_args(entry), bool(entry.get("supports_response_schema")))
    except (OSError, ImportError, msgspec.MsgspecError, UnicodeDecodeError):
        pass
    return Listed()


def _path() -> Path:
    # A look for the package, which does not import it.
    found = importlib.util.find_spec("litellm")
    if found is None or found.origin is None:
        raise ImportError("litellm is not installed")
    return Path(found.origin).parent / _FILE
