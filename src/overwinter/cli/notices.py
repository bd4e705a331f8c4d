"""The library's warnings and its log, told as calm lines."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from overwinter.errors import OverwinterWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["notices"]


@contextmanager
def notices(
    note: Callable[[str], object], *, instead: Callable[[Warning | str], bool] = lambda _: False
) -> Generator[None]:
    """Hand the library's warnings and errors to *note*, without tracebacks, and nobody else's warnings.

    :param instead: is asked first, and true says that a warning has been told in other words.
    """

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if not instead(message) and issubclass(category, OverwinterWarning):
            note(str(message))

    handler = _NoticeHandler(note)
    logger = logging.getLogger("overwinter")
    logger.addHandler(handler)
    # Not within warnings.catch_warnings: at its end it would undo the filters that litellm has set meanwhile.
    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before
        logger.removeHandler(handler)


class _NoticeHandler(logging.Handler):
    """Hands on warnings and errors of the log, without their tracebacks."""

    def __init__(self, note: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(record.getMessage())
