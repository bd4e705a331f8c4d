"""Where an actor is."""

from __future__ import annotations

import msgspec

__all__ = ["Address"]


class Address(msgspec.Struct, frozen=True):
    """The address of one incarnation of an actor: plain data, which may travel in a message.

    ``system`` is the id of its :class:`ActorSystem`, ``path`` its place there (``"/team/editor"``), and
    ``uid`` tells it from earlier and later actors of the same path. A restart keeps the address.
    """

    system: str
    path: str
    uid: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def __str__(self) -> str:
        return f"overwinter://{self.system}{self.path}#{self.uid}"
