"""How what an earlier overwinter wrote is read: each version has a function that makes the next of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from overwinter.errors import PersistenceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["migrate", "register_migration"]

_migrations: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}


def register_migration(
    kind: str, from_version: int, migration: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Have what is of *kind* and *from_version* read through *migration*.

    Of a document (``state``, ``config``) it is given the whole, ``_autosave_metadata`` included, and returns
    it as the next version would have been written; ``schema_version`` is set for it. Of a journal
    (``record``) it is given the record and returns the record.

    :raises ValueError: there is one already.
    """
    if (kind, from_version) in _migrations:
        raise ValueError(f"a migration of {kind!r} from version {from_version} is already registered")
    _migrations[kind, from_version] = migration


def migrate(kind: str, found: dict[str, Any], version: int, wanted: int, path: Path | str) -> dict[str, Any]:
    """*found*, of *kind* and *version*, as version *wanted* has it.

    :param path: where it was read, for the error.
    :raises PersistenceError: no migration is registered for one of the versions between.
    """
    for old in range(version, wanted):
        migration = _migrations.get((kind, old))
        if migration is None:
            raise PersistenceError(
                f"{path} has schema version {version}, and this overwinter has no migration of {kind!r} from "
                f"version {old}. Open it with an earlier overwinter; the file was left as it is."
            )
        found = migration(found)
    return found
