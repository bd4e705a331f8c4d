"""Models that stand in the configuration of an agent, so that it can be made anew without its program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from overwinter.errors import ConfigurationError
from overwinter.persistence.secrets import REDACTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from overwinter.agents.models.protocol import Model

__all__ = ["descriptions", "remade"]

_DIRECT = "OpenAICompatible"


def descriptions(models: Sequence[Model]) -> list[dict[str, Any] | None] | None:
    """What *models* say of themselves (``description``), in their order; None where a name says all of each.

    A server of one's own has to be known by its address: what was told it is not to go to whoever else has a
    model of that name.
    """
    told = [getattr(model, "description", None) for model in models]
    found = [cast("dict[str, Any]", one) if isinstance(one, dict) else None for one in told]
    return found if any(found) else None


def remade(description: Mapping[str, Any] | None) -> Model | None:
    """The model of that description, its credentials taken from the environment; None where there is none.

    :raises ConfigurationError: it describes none that could be made.
    """
    if not description:
        return None
    # What stands in a file is not always what the types say.
    kind = description.get("kind") if isinstance(description, dict) else None
    if kind != _DIRECT:
        raise ConfigurationError(f"a model of kind {kind!r} is not known here")
    from overwinter.agents.models.openai_compatible import OpenAICompatible
    from overwinter.agents.models.price import Price

    settings = _without_credentials({name: value for name, value in description.items() if name != "kind"})
    price = settings.pop("price", None)
    try:
        return OpenAICompatible(**settings, price=None if price is None else Price(**price))
    except ConfigurationError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the description of model {settings.get('model_name')!r}: {error}"
        ) from error


def _without_credentials(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_credentials(cast("dict[str, Any]", each)) if isinstance(each, dict) else each
        for name, each in value.items()
        if each != REDACTED
    }
