"""Methods that are remembered without keeping alive what they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import MethodType

__all__ = ["weakly"]

P = ParamSpec("P")
T = TypeVar("T")


def weakly(method: Callable[P, T], otherwise: T) -> Callable[P, T]:
    """*method*, which returns *otherwise* when its object is gone.

    So two that know each other are no circle, and are gone with their last user: a circle waits for the garbage
    collection, and where agents come and go by the thousand that is too long.
    """
    return _Weakly(cast("MethodType", method), otherwise)


class _Weakly(Generic[T]):
    # Not weakref.WeakMethod, which is made of eight objects.
    __slots__ = ("_function", "_object", "_otherwise")

    def __init__(self, method: MethodType, otherwise: T) -> None:
        self._object = ref(method.__self__)
        self._function = method.__func__
        self._otherwise = otherwise

    def __call__(self, *args: Any, **kwargs: Any) -> T:
        found = self._object()
        return self._otherwise if found is None else self._function(found, *args, **kwargs)
