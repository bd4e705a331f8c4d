"""How the agents of a runtime are made that are known by name only."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

from overwinter.agents.rebuilding import CannotRebuild, missing_from, rebuilt
from overwinter.agents.runs import Runs
from overwinter.errors import AgentNotDefined, ConfigurationError, PersistenceError
from overwinter.persistence.document import read_document
from overwinter.persistence.names import agent_id_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from overwinter.persistence import AgentFolder, FileOperations, Storage

__all__ = ["Definitions", "Make", "from_files"]

#: Makes the agent of a name and a session; None where it makes none of that name.
Make: TypeAlias = "Callable[[str, str], Runs[Any, Any] | None]"


class Definitions:
    """The functions that make agents: by exact name first, then by pattern in the order in which they were defined.

    What none of them makes is made from its files, as far as these say everything.
    """

    def __init__(self, default: Make | None = None) -> None:
        self._default = default
        self._made_by: dict[str, Make] = {}

    def define(self, name: str, make: Make) -> None:
        """Have *make* make the agents whose name is *name*, or fits it as a pattern (``*``, ``?``, ``[ab]``)."""
        if not callable(make):
            raise ConfigurationError(
                f"what makes agent {name!r} is a function of name and session, not {make!r}"
            )
        self._made_by[name] = make

    @property
    def empty(self) -> bool:
        """Whether there are none."""
        return self._default is None and not self._made_by

    def can_make(self, name: str, session: str, agent_id: str) -> bool:
        """Whether the agent of that id is made, and not only read from its files; it is, and let go of."""
        made = self.make(name, session)
        return made is not None and made.agent_id == agent_id

    def make(self, name: str, session: str) -> Runs[Any, Any] | None:
        """The agent of that name and session, made now; None where nobody said how.

        :raises ConfigurationError: another one was made.
        """
        for make in self._fitting(name):
            made = make(name, session)
            if made is None:
                continue
            if not isinstance(made, Runs):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(
                    f"what was defined to make agent {name!r} returned {type(made).__name__}, and no agent"
                )
            if (made.agent_name, made.session) != (name, session):
                raise ConfigurationError(
                    f"what was defined to make agent {name!r} of session {session!r} made {made.agent_name!r} of "
                    f"session {made.session!r}; pass on both, as in Agent(name, ..., session=session)"
                )
            return made
        return None

    def _fitting(self, name: str) -> list[Make]:
        exact = [self._made_by[name]] if name in self._made_by else []
        patterns = [
            make for pattern, make in self._made_by.items() if pattern != name and fnmatchcase(name, pattern)
        ]
        return [*exact, *patterns, *(() if self._default is None else (self._default,))]


async def from_files(storage: Storage, name: str, session: str) -> Runs[Any, Any]:
    """The agent of that name and session, made from the configuration in its folder.

    :raises AgentNotDefined: there is none, or it does not say everything.
    """
    agent_id = agent_id_for(name, session)
    workspace = storage.workspace
    folders = [workspace.folder(name, agent_id, session=session, full=full) for full in (True, False)]
    found = await storage.call(_read_first, folders, storage.files)
    if found is None:
        raise AgentNotDefined(name, "it has none in this workspace that could be read")
    folder, configuration = found
    missing = missing_from(configuration)
    if missing:
        raise AgentNotDefined(name, f"it has {' and '.join(missing)}, and its files do not hold those")
    try:
        return rebuilt(folder, configuration)
    except CannotRebuild as error:
        raise AgentNotDefined(name, str(error)) from error


def _read_first(
    folders: list[AgentFolder], files: FileOperations
) -> tuple[AgentFolder, Mapping[str, Any]] | None:
    for folder in folders:
        configuration = _read(folder, files)
        if configuration is not None:
            return folder, configuration
    return None


def _read(folder: AgentFolder, files: FileOperations) -> Mapping[str, Any] | None:
    """The configuration as config.json has it, or else the state file; None where neither can be read."""
    for path, kind in ((folder.config_path, "config"), (folder.state_path, "state")):
        try:
            metadata, body = read_document(
                files.read_bytes(path), path, checksum_required=kind == "state", kind=kind
            )
        except (OSError, PersistenceError):
            continue
        if metadata.agent_id == folder.agent_id:
            configuration: Mapping[str, Any] = body if kind == "config" else body.get("agent", {})
            return configuration
    return None
