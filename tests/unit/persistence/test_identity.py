"""The folders of many new agents, made at once."""

from __future__ import annotations

import errno
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from overwinter.errors import WorkspaceError
from overwinter.persistence import AgentFolder, FileOperations, Workspace, agent_id_for, open_identity
from overwinter.persistence.identity import create_identities, read_identity

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


class Disk(FileOperations):
    """Fails to sync the folder ``broken``, and to link in a folder of that name; tells what was synced."""

    def __init__(self, broken: str = "") -> None:
        super().__init__(sync_folders=True)
        self.broken = broken
        self.synced: list[str] = []
        self._guard = threading.Lock()

    def sync_folder(self, path: Path) -> None:
        with self._guard:
            self.synced.append(path.name)
        if path.name == self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def link(self, existing: Path, new: Path) -> None:
        if new.parent.name == self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().link(existing, new)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "agent_workspace")


def folders_of(workspace: Workspace, count: int = 6) -> list[AgentFolder]:
    return [workspace.folder(name := f"bee{number}", agent_id_for(name)) for number in range(count)]


def test_many_new_folders_are_synced_into_their_parent_with_one_sync(workspace: Workspace) -> None:
    """P8: and their identities are on the disk, so that whoever opens them need not see to that."""
    folders, disk = folders_of(workspace), Disk()
    made = create_identities(folders, now=NOW, files=disk)
    assert len(set(made)) == len(folders)
    assert disk.synced[:3] == [workspace.root.parent.name, workspace.root.name, "agents"]
    assert sorted(disk.synced[3:]) == sorted(folder.path.name for folder in folders)
    disk.synced.clear()
    for folder, incarnation in zip(folders, made, strict=True):
        assert open_identity(folder, now=NOW, files=disk, on_disk=incarnation)[1].incarnation == incarnation
    assert disk.synced == []


def test_an_identity_of_another_incarnation_is_brought_to_disk_all_the_same(workspace: Workspace) -> None:
    """K13: somebody removed the folder meanwhile, and another made it anew."""
    (folder,), disk = folders_of(workspace, 1), Disk()
    (made,) = create_identities([folder], now=NOW, files=disk)
    folder.identity_path.unlink()
    open_identity(folder, now=NOW)
    disk.synced.clear()
    assert open_identity(folder, now=NOW, files=disk, on_disk=made)[1].incarnation != made
    assert disk.synced == [folder.path.name]


def test_folders_that_are_there_are_left_to_whoever_opens_them(workspace: Workspace) -> None:
    """P9: the short ones and those whose name holds all digits."""
    there, longer, new = folders_of(workspace, 3)
    _, identity = open_identity(there, now=NOW)
    full = workspace.folder(longer.name, longer.agent_id, full=True)
    full.path.mkdir()
    made = create_identities([there, longer, new], now=NOW)
    assert [bool(each) for each in made] == [False, False, True]
    assert read_identity(there.path) == identity
    assert not longer.path.exists()
    assert list(full.path.iterdir()) == []


def test_of_two_whose_folder_is_the_same_the_first_has_it(workspace: Workspace) -> None:
    """P10: where twelve digits collide, and where one agent is asked for twice."""
    one = workspace.folder("queen", "8573aaac-0014-5524-9881-30cb024893f8")
    other = workspace.folder("queen", "8573aaac-0014-5524-9881-ffffffffffff")
    made = create_identities([one, other, one], now=NOW)
    assert [bool(each) for each in made] == [True, False, False]
    assert open_identity(one, now=NOW, on_disk=made[0])[0] == one
    assert open_identity(other, now=NOW, on_disk=made[1])[0].path != other.path


def test_new_folders_whose_parent_cannot_be_synced_do_not_stay(workspace: Workspace) -> None:
    """P11: whoever opens them meets with it again, and says so."""
    folders = folders_of(workspace)
    workspace.agents_dir.mkdir(parents=True)
    assert create_identities(folders, now=NOW, files=Disk("agents")) == [""] * len(folders)
    assert list(workspace.agents_dir.iterdir()) == []
    with pytest.raises(WorkspaceError, match="cannot be created"):
        open_identity(folders[0], now=NOW, files=Disk("agents"))


def test_a_parent_that_cannot_be_made_is_said_by_whoever_opens(workspace: Workspace) -> None:
    """P11: nothing is raised ahead."""
    workspace.root.touch()
    folders = folders_of(workspace)
    assert create_identities(folders, now=NOW) == [""] * len(folders)
    with pytest.raises(WorkspaceError, match="cannot be created"):
        open_identity(folders[0], now=NOW)


def test_one_that_fails_harms_no_other(workspace: Workspace) -> None:
    """P11: a disk that fails in one place."""
    folders = folders_of(workspace)
    broken = folders[2].path.name
    made = create_identities(folders, now=NOW, files=Disk(broken))
    assert [bool(each) for each in made] == [number != 2 for number in range(len(folders))]
    with pytest.raises(WorkspaceError, match="cannot be opened"):
        open_identity(folders[2], now=NOW, files=Disk(broken), on_disk=made[2])
    assert open_identity(folders[2], now=NOW)[0] == folders[2]


def test_an_identity_that_is_written_but_not_synced_is_synced_by_whoever_opens(workspace: Workspace) -> None:
    """K13: nobody takes it for durable."""

    class Unsynced(Disk):
        def link(self, existing: Path, new: Path) -> None:
            FileOperations.link(self, existing, new)

    (folder,) = folders_of(workspace, 1)
    assert create_identities([folder], now=NOW, files=Unsynced(folder.path.name)) == [""]
    disk = Disk()
    open_identity(folder, now=NOW, files=disk, on_disk="")
    assert disk.synced == [folder.path.name]


def test_when_the_time_is_over_the_others_wait_for_another_turn(workspace: Workspace) -> None:
    """P9: what is left is made by whoever opens it, or the next time."""
    folders = folders_of(workspace)
    made = create_identities(folders, now=NOW, seconds=-1.0)
    assert len(made) == 1
    assert all(create_identities(folders[1:3], now=NOW))
    assert len({open_identity(folder, now=NOW)[1].incarnation for folder in folders}) == len(folders)
