"""From an agent's name to its id, and to names that every common filesystem accepts.

A name is anything a person types; it never becomes a path. The id is derived from the exact name and session,
and everything on disk carries some of its digits, so that two names which look alike to a filesystem (``A``
and ``a``, ``é`` composed and decomposed) still have two folders.
"""

from __future__ import annotations

import re

__all__ = ["NAMESPACE", "agent_id_for", "folder_name", "id_digits", "slug", "storable_name", "swarm_id_for"]

NAMESPACE = "3f0a4c1e-6f0e-5d0b-9a55-0b7c1d9e2a64"
"""The namespace of every derived id. It never changes: a changed one would make every agent a new one."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")
_CANONICAL_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONGEST = 64
_SHORT_DIGITS = 12


def agent_id_for(agent_name: str, session: str = "") -> str:
    """The id of the agent of this name in this session: the same one in every process, for ever.

    It is a version 5 UUID as text. No two pairs of name and session are joined to the same text before they
    are hashed. Any string is accepted, lone surrogates among them.
    """
    name = agent_name.encode("utf-8", "surrogatepass")
    return _derive(b"%d:%b%b" % (len(name), name, session.encode("utf-8", "surrogatepass")))


def swarm_id_for(name: str, session: str = "") -> str:
    """The id of the swarm of this name in this session; never that of an agent. See :func:`agent_id_for`."""
    encoded = name.encode("utf-8", "surrogatepass")
    return _derive(b"swarm:%d:%b%b" % (len(encoded), encoded, session.encode("utf-8", "surrogatepass")))


def slug(name: str) -> str:
    """*name* as 1 to 64 characters of ``[A-Za-z0-9_-]``, which are safe in any path; not unique.

    A name that is so already stays as it is. Of any other, accents are dropped and every other run of
    characters becomes one ``-``; when nothing is left the slug is ``agent``.
    """
    if _PLAIN.fullmatch(name):
        return name
    import unicodedata  # which few names need, and which takes milliseconds to load

    decomposed = unicodedata.normalize("NFKD", storable_name(name))
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return _OTHER.sub("-", letters).strip("-")[:_LONGEST].rstrip("-") or "agent"


def id_digits(agent_id: str) -> str:
    """The 32 hex digits that stand for *agent_id* in folder names.

    They are the digits of a UUID in canonical form (lower case, with hyphens). An id of any other form is
    hashed, so that an id given by a user can no more leave its folder than a name can.
    """
    if _CANONICAL_ID.fullmatch(agent_id):
        return agent_id.replace("-", "")
    return _derive(b"id:" + agent_id.encode("utf-8", "surrogatepass")).replace("-", "")


def folder_name(name: str, agent_id: str, *, full: bool = False) -> str:
    """``{slug}-{id12}``, the name of the agent's folder; with *full* all 32 digits of the id.

    At most 97 characters, all of ``[A-Za-z0-9_-]``.
    """
    digits = id_digits(agent_id)
    return f"{slug(name)}-{digits if full else digits[:_SHORT_DIGITS]}"


def storable_name(name: str) -> str:
    r"""*name* as JSON can hold it: itself, but for lone surrogates, which become ``\udXXX``.

    For display, and with the same :func:`slug`. Names are compared by the id derived from the exact name.
    """
    # The name itself and no copy, where it can be: it is kept with each claim.
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def _derive(payload: bytes) -> str:
    # Their imports are dear, and whoever imports overwinter may not need an id yet.
    import hashlib
    from uuid import UUID

    digest = hashlib.sha1(UUID(NAMESPACE).bytes + payload, usedforsecurity=False).digest()
    return str(UUID(bytes=digest[:16], version=5))
