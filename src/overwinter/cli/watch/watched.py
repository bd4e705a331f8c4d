"""Everybody in a workspace, known from files, and looked at again and again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from overwinter.cli.watch.glance import Glance
from overwinter.cli.watch.runtimes import Runtimes
from overwinter.persistence import AgentFolder, Identity

if TYPE_CHECKING:
    from overwinter.cli.holders import Holder
    from overwinter.persistence import Workspace

__all__ = ["Watched", "Watchfulness"]

_KINDS = ("swarms", "agents")
_SELDOM = 10


class _Config(msgspec.Struct):
    swarm: dict[str, Any] = {}


class _State(msgspec.Struct):
    agent: _Config = msgspec.field(default_factory=_Config)


class Watched:
    """One agent or swarm. Who is not held by a live runtime does not change, and is not read again until it is."""

    def __init__(self, folder: AgentFolder) -> None:
        self.folder = folder
        self.glance = Glance(folder)
        self.held_by: Holder | None = None
        self.swarm: dict[str, Any] = {}
        self._lease: tuple[int, int] | None = None
        self._looks = 0

    @property
    def is_swarm(self) -> bool:
        """Whether it is a swarm."""
        return self.folder.path.parent.name == "swarms"

    @property
    def what(self) -> str:
        """``agent`` or ``swarm``."""
        return "swarm" if self.is_swarm else "agent"

    @property
    def status(self) -> str:
        """The status it has now: what was under way when its process died is interrupted."""
        status = self.glance.status
        return "interrupted" if status == "running" and self.held_by is None else status

    def look(self, runtimes: Runtimes) -> None:
        """Take in what is new. Blocking."""
        lease = _stamp(self.folder.lease_path)
        changed = lease != self._lease
        self._lease = lease
        if changed:
            self.held_by = runtimes.holder_of(self.folder)
            if self.is_swarm:
                self._read_members()
        was_held = self.held_by is not None
        if self.held_by is not None and not runtimes.lives(self.held_by):
            self.held_by = None
        self._looks += 1
        # Of the dead, what they had logged may be brought in by anybody.
        if changed or was_held or self._looks % _SELDOM == 0:
            self.glance.look()

    def _read_members(self) -> None:
        """Who belongs to a swarm. Before its first step is done, only its state tells."""
        with suppress(OSError, msgspec.MsgspecError):
            self.swarm = msgspec.json.decode(self.folder.config_path.read_bytes(), type=_Config).swarm
            return
        with suppress(OSError, msgspec.MsgspecError):
            self.swarm = msgspec.json.decode(self.folder.state_path.read_bytes(), type=_State).agent.swarm
            return
        self._lease = None  # neither is there yet: look again


class Watchfulness:
    """Everybody in a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.runtimes = Runtimes(workspace)
        self._workspace = workspace
        self._stamps: dict[str, tuple[int, int] | None] = {}
        self._found: dict[Path, Watched] = {}

    def look(self) -> list[Watched]:
        """Look at everybody, and return them: swarms, then agents, by folder. Blocking."""
        self.runtimes.look()
        for kind in _KINDS:
            self._find(kind)
        for one in self._found.values():
            one.look(self.runtimes)
        every = sorted(self._found.items(), key=lambda found: (not found[1].is_swarm, found[0]))
        return [one for _, one in every]

    def _find(self, kind: str) -> None:
        """Who came, and who went, where the folder of folders changed."""
        folder = self._workspace.root / kind
        stamp = _stamp(folder)
        if stamp is not None and stamp == self._stamps.get(kind):
            return
        self._stamps[kind] = stamp
        try:
            there = {path for path in folder.iterdir() if path.is_dir()}
        except OSError:
            there = set[Path]()
        for path in [path for path in self._found if path.parent == folder and path not in there]:
            del self._found[path]
        for path in there - set(self._found):
            identity = _identity(path)
            if identity is None:
                self._stamps[kind] = None  # it is being made: look again
                continue
            known = AgentFolder(path, identity.agent_name, identity.agent_id, identity.session)
            self._found[path] = Watched(known)


def _identity(path: Path) -> Identity | None:
    try:
        return msgspec.json.decode((path / ".identity.json").read_bytes(), type=Identity)
    except (OSError, msgspec.MsgspecError):
        return None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
