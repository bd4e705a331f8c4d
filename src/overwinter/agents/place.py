"""Where an agent's folder is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from overwinter.errors import ConfigurationError
from overwinter.persistence.workspace import Workspace

if TYPE_CHECKING:
    import os

    from overwinter.agents.profile import Profile
    from overwinter.agents.runtime import Runtime
    from overwinter.persistence.workspace import AgentFolder

__all__ = ["Place"]


class Place:
    """Which workspace an agent is in, and where in it; it outlives runtimes."""

    def __init__(self, profile: Profile[Any], workspace: Workspace | None) -> None:
        self._profile = profile
        self._chosen = workspace
        self._workspace = workspace or Workspace()
        self._folder: AgentFolder | None = None

    @property
    def folder(self) -> AgentFolder:
        """The agent's folder, as far as is known without looking at the disk."""
        if self._folder is None:
            profile = self._profile
            self._folder = self._workspace.folder(
                profile.name, profile.agent_id, profile.kind, session=profile.settings.session
            )
        return self._folder

    @property
    def workspace(self) -> Workspace:
        """Where its folder is."""
        return self._workspace

    @property
    def chosen(self) -> Workspace | None:
        """The workspace that it was given; None where it takes its runtime's."""
        return self._chosen

    @property
    def has_chosen(self) -> bool:
        """Whether it was given a workspace, which no runtime can change."""
        return self._chosen is not None

    def has_state(self, path: str | os.PathLike[str] | None) -> bool:
        """Whether there is something to load, at *path* or in the agent's folder. Blocking."""
        if path is not None:
            return Path(path).exists()
        # What a process that died left may stand in its runtime's log still, and come here with the claim.
        return self.folder.path.exists()

    def make_runtime(self) -> Runtime:
        """A private runtime for this agent alone."""
        from overwinter.agents.runtime import Runtime

        return Runtime(self._workspace.root)

    def be_in(self, workspace: Workspace) -> None:
        """Have the folder in *workspace* from now on."""
        if self._workspace.root != workspace.root:
            self._workspace = workspace
            self._folder = None
            self._moved()

    def _moved(self) -> None:
        """What was known of the folder is none of the new one's."""

    def _move_to(self, runtime: Runtime) -> None:
        if self._chosen is not None and self._chosen.root != runtime.workspace.root:
            raise ConfigurationError(
                f"agent {self._profile.name!r} was given workspace_dir={str(self._chosen.root)!r}, but the runtime's "
                f"is {str(runtime.workspace.root)!r}; give it to one of the two only"
            )
        self.be_in(runtime.workspace)
