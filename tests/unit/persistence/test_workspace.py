"""Where everything stands, and whose it is."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from overwinter.errors import CorruptState, SchemaTooNew, WorkspaceError
from overwinter.persistence import (
    AgentFolder,
    FileOperations,
    Identity,
    Workspace,
    agent_id_for,
    create_folder,
    list_folders,
    open_identity,
    sweep_temporaries,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = [
    "../../etc/passwd",
    "CON",
    "",
    "x" * 300,
    "é",
    "e\u0301",
    "A",
    "a",
    "nul\0",
    "\ud800",
    "..",
    "a/b",
    "a\\b",
]


class Failing(FileOperations):
    """Fails the operations named, on paths that end so."""

    def __init__(self, **failing: tuple[int, str]) -> None:
        super().__init__(sync_folders=True)
        self.failing = failing
        self.synced: list[Path] = []

    def _try(self, name: str, path: Path) -> None:
        code, end = self.failing.get(name, (0, ""))
        if code and str(path).endswith(end):
            raise OSError(code, os.strerror(code))

    def mkdir(self, path: Path) -> None:
        self._try("mkdir", path)
        super().mkdir(path)

    def sync_folder(self, path: Path) -> None:
        self._try("sync_folder", path)
        self.synced.append(path)

    def read_bytes(self, path: Path) -> bytes:
        self._try("read_bytes", path)
        return super().read_bytes(path)

    def link(self, existing: Path, new: Path) -> None:
        self._try("link", new)
        super().link(existing, new)

    def unlink(self, path: Path) -> None:
        self._try("unlink", path)
        super().unlink(path)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "agent_workspace")


def folder_of(workspace: Workspace, name: str, session: str = "") -> AgentFolder:
    return workspace.folder(name, agent_id_for(name, session), session=session)


def test_a_folder_that_cannot_be_made_though_its_parent_is_there(tmp_path: Path) -> None:
    """As in /proc, where mkdir says that something is missing."""
    files = Failing(mkdir=(errno.ENOENT, "nope"))
    with pytest.raises(WorkspaceError, match=r"nope.* cannot be created: No such file.*WORKSPACE_DIR"):
        create_folder(tmp_path / "nope" / "agents", files=files)
    assert list(tmp_path.iterdir()) == []


def test_the_workspace_is_the_one_given_or_the_environments_or_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P7: in this order, and always absolute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKSPACE_DIR", raising=False)
    assert Workspace().root == Path.cwd() / "agent_workspace"
    assert Workspace("").root == Path.cwd() / "agent_workspace"
    monkeypatch.setenv("WORKSPACE_DIR", "hive")
    assert Workspace().root == Path.cwd() / "hive"
    assert Workspace(Path("other")).root == Path.cwd() / "other"
    monkeypatch.setenv("WORKSPACE_DIR", "")
    assert Workspace().root == Path.cwd() / "agent_workspace"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Workspace("~/hive").root == tmp_path / "hive"
    assert list(tmp_path.iterdir()) == []


def test_everything_of_an_agent_has_its_place(tmp_path: Path) -> None:
    """P6: the names of DESIGN section 4."""
    workspace = Workspace(tmp_path)
    folder = workspace.folder("queen", "8573aaac-0014-5524-9881-30cb024893f8")
    assert folder.path == tmp_path / "agents" / "queen-8573aaac0014"
    assert folder.config_path == folder.path / "config.json"
    assert folder.state_path == folder.path / "queen_state.json"
    assert folder.previous_path == folder.path / "queen_state.json.previous"
    assert folder.identity_path == folder.path / ".identity.json"
    assert folder.lease_path == folder.path / ".lease.json"
    assert folder.history_dir == folder.path / "history"
    assert folder.journal_dir == folder.path / "journal"
    assert workspace.folder("bee", "id", "actors").path.parent == tmp_path / "actors"
    assert workspace.runtimes_dir == tmp_path / ".runtimes"
    assert workspace.mutex_path == tmp_path / ".mutex"
    assert repr(workspace) == f"Workspace({str(tmp_path)!r})"


def test_folders_are_made_from_the_root_on_and_each_is_synced_into_its_parent(tmp_path: Path) -> None:
    """P8: 0700, and there after a power cut."""
    files = Failing()
    create_folder(tmp_path / "a" / "b" / "c", files=files)
    assert files.synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    if sys.platform != "win32":
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
        assert modes == {0o700}
    create_folder(tmp_path / "a" / "b" / "c", files=files)
    assert files.synced[3:] == [tmp_path / "a" / "b"]


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """P8: its owner chose its mode."""
    shared = tmp_path / "shared"
    shared.mkdir(0o750)
    mode = shared.stat().st_mode
    create_folder(shared / "agents")
    assert shared.stat().st_mode == mode


@pytest.mark.parametrize(
    ("operation", "code", "end"),
    [
        ("mkdir", errno.EACCES, "root"),
        ("mkdir", errno.ENOSPC, "agents"),
        ("mkdir", errno.EROFS, "queen"),
        ("sync_folder", errno.EIO, "root"),
        ("sync_folder", errno.EIO, "agents"),
    ],
)
def test_a_folder_that_cannot_be_made_durably_is_named_and_not_half_there(
    tmp_path: Path, operation: str, code: int, end: str
) -> None:
    """P11: the next attempt begins anew."""
    path = tmp_path / "root" / "agents" / "queen"
    with pytest.raises(WorkspaceError, match="choose another workspace_dir") as caught:
        create_folder(path, files=Failing(**{operation: (code, end)}))
    assert str(tmp_path / "root") in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    create_folder(path)
    assert path.is_dir()


@pytest.mark.parametrize(
    "name", ["file/agents", "file", "dangling", "nul\0byte", "x" * 300, "missing/" + "y" * 300]
)
def test_a_place_that_cannot_hold_a_folder_is_a_workspace_error(tmp_path: Path, name: str) -> None:
    """P11: a file in the way, a name that is none."""
    (tmp_path / "file").touch()
    if sys.platform != "win32":
        (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(WorkspaceError):
        create_folder(tmp_path / name)
    assert (tmp_path / "file").is_file()
    assert not (tmp_path / "missing").exists()


def test_a_filesystem_without_a_root_ends_the_search(tmp_path: Path) -> None:
    """P11: a drive that is not there."""
    with pytest.raises(WorkspaceError, match="No such file"):
        create_folder(tmp_path / "a", files=Failing(mkdir=(errno.ENOENT, "")))


def test_an_identity_is_written_once_and_read_ever_after(workspace: Workspace) -> None:
    """P9: the incarnation stays."""
    folder = folder_of(workspace, "queen", "hive")
    opened, identity = open_identity(folder, now=NOW)
    assert opened == folder
    assert (identity.agent_name, identity.session, identity.agent_id) == ("queen", "hive", folder.agent_id)
    assert identity.created == "2030-01-02T03:04:05+00:00"
    assert len(identity.incarnation) == 32
    assert open_identity(folder, now=datetime.now(UTC)) == (folder, identity)
    assert json.loads(folder.identity_path.read_text())["incarnation"] == identity.incarnation
    assert [path.name for path in folder.path.iterdir()] == [".identity.json"]
    if sys.platform != "win32":
        assert stat.S_IMODE(folder.identity_path.stat().st_mode) == 0o600


def test_a_folder_that_was_deleted_and_made_anew_is_another_incarnation(workspace: Workspace) -> None:
    """P9: the dead stay dead."""
    folder = folder_of(workspace, "queen")
    _, first = open_identity(folder, now=NOW)
    folder.identity_path.unlink()
    folder.path.rmdir()
    _, second = open_identity(folder, now=NOW)
    assert second.incarnation != first.incarnation


def test_all_who_open_a_folder_at_once_see_one_identity(workspace: Workspace) -> None:
    """P9: whoever wins."""
    folder = folder_of(workspace, "queen")
    barrier = threading.Barrier(6)
    seen: list[Identity] = []

    def run() -> None:
        barrier.wait()
        seen.append(open_identity(folder, now=NOW)[1])

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6
    assert len({identity.incarnation for identity in seen}) == 1


def test_every_hostile_name_has_a_folder_of_its_own_inside_the_workspace(
    workspace: Workspace, tmp_path: Path
) -> None:
    """P3: on a real disk."""
    opened = {name: open_identity(folder_of(workspace, name), now=NOW)[0] for name in HOSTILE}
    assert len({str(folder.path).casefold() for folder in opened.values()}) == len(HOSTILE)
    assert {folder.path.resolve().parent for folder in opened.values()} == {workspace.agents_dir.resolve()}
    assert [path.name for path in tmp_path.iterdir()] == ["agent_workspace"]
    for folder in opened.values():
        folder.state_path.write_text("{}")
        folder.previous_path.write_text("{}")
    assert len(list(workspace.agents_dir.glob("*/*_state.json"))) == len(HOSTILE)
    listed = {folder.path: folder for folder in list_folders(workspace)}
    for name, folder in opened.items():
        assert listed[folder.path].state_path == folder.state_path
        assert listed[folder.path].name == name or name == "\ud800"


def test_where_twelve_digits_collide_each_has_its_folder_and_finds_it_again(workspace: Workspace) -> None:
    """P10: the whole id is compared."""
    one = workspace.folder("queen", "8573aaac-0014-5524-9881-30cb024893f8")
    other = workspace.folder("queen", "8573aaac-0014-5524-9881-ffffffffffff")
    assert one.path == other.path
    mine, first = open_identity(one, now=NOW)
    yours, second = open_identity(other, now=NOW)
    assert mine.path == one.path
    assert yours.path.name == "queen-8573aaac001455249881ffffffffffff"
    assert open_identity(other, now=NOW) == (yours, second)
    assert open_identity(yours, now=NOW) == (yours, second)
    assert open_identity(one, now=NOW) == (mine, first)
    one.identity_path.unlink()
    assert open_identity(other, now=NOW) == (yours, second)


def test_a_copied_folder_is_not_taken_for_the_agents_own(workspace: Workspace) -> None:
    """P10: both spellings belong to others."""
    folder = workspace.folder("queen", "8573aaac-0014-5524-9881-30cb024893f8")
    full = workspace.folder("queen", folder.agent_id, full=True)
    open_identity(workspace.folder("queen", "8573aaac-0014-5524-9881-ffffffffffff"), now=NOW)
    create_folder(full.path)
    full.identity_path.write_bytes(folder.identity_path.read_bytes())
    with pytest.raises(WorkspaceError, match="belongs to agent 8573aaac-0014-5524-9881-ffffffffffff"):
        open_identity(folder, now=NOW)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", CorruptState),
        (b"{", CorruptState),
        (b'{"schema_version": 1}', CorruptState),
        (b'{"schema_version": "1"}', CorruptState),
        (b"\xff", CorruptState),
        (b'{"schema_version": 2, "name": "of another shape"}', SchemaTooNew),
    ],
)
def test_a_damaged_identity_is_an_error_and_left_out_of_lists_with_a_warning(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, content: bytes, error: type[Exception]
) -> None:
    """P13: it is never overwritten."""
    folder = folder_of(workspace, "queen")
    healthy, _ = open_identity(folder_of(workspace, "worker"), now=NOW)
    open_identity(folder, now=NOW)
    folder.identity_path.write_bytes(content)
    with pytest.raises(error, match=r"\.identity\.json"):
        open_identity(folder, now=NOW)
    assert folder.identity_path.read_bytes() == content
    with caplog.at_level(logging.WARNING, logger="overwinter.persistence"):
        assert list_folders(workspace) == [healthy]
    assert str(folder.identity_path) in caplog.text


def test_an_identity_that_cannot_be_read_or_written_is_a_workspace_error(workspace: Workspace) -> None:
    """P11: with the reason."""
    folder = folder_of(workspace, "queen")
    with pytest.raises(WorkspaceError, match="cannot be opened"):
        open_identity(folder, now=NOW, files=Failing(link=(errno.EIO, "")))
    with pytest.raises(WorkspaceError, match="cannot be opened"):
        open_identity(folder, now=NOW, files=Failing(sync_folder=(errno.EIO, folder.path.name)))
    open_identity(folder, now=NOW)
    with pytest.raises(WorkspaceError, match="cannot be read"):
        open_identity(folder, now=NOW, files=Failing(read_bytes=(errno.EACCES, "")))


def test_an_identity_that_somebody_writes_meanwhile_is_the_one(workspace: Workspace) -> None:
    """P10: of several at once the first."""
    folder = folder_of(workspace, "queen")

    class Late(FileOperations):
        def link(self, existing: Path, new: Path) -> None:
            open_identity(folder, now=NOW)
            super().link(existing, new)

    _, identity = open_identity(folder, now=NOW, files=Late())
    assert open_identity(folder, now=NOW) == (folder, identity)


def test_an_identity_that_nobody_has_claimed_with_yet_is_brought_to_disk(workspace: Workspace) -> None:
    """K13: whoever wrote it may have died just before that."""
    folder = folder_of(workspace, "queen")
    open_identity(folder, now=NOW)
    files = Failing()
    open_identity(folder, now=NOW, files=files)
    assert files.synced == [folder.path]
    with pytest.raises(WorkspaceError, match="cannot be synced"):
        open_identity(folder, now=NOW, files=Failing(sync_folder=(errno.EIO, "")))
    folder.lease_path.touch()
    open_identity(folder, now=NOW, files=files)
    assert files.synced == [folder.path]


def test_a_folder_that_vanishes_while_it_is_opened_is_an_error(workspace: Workspace) -> None:
    """P11: somebody deletes it meanwhile."""

    class Vanishing(FileOperations):
        def link(self, existing: Path, new: Path) -> None:
            raise FileExistsError

    with pytest.raises(WorkspaceError, match="vanished"):
        open_identity(folder_of(workspace, "queen"), now=NOW, files=Vanishing())


def test_leftover_temporaries_are_swept_and_nothing_else(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """P12: whoever holds the lease does it."""
    folder, _ = open_identity(folder_of(workspace, "queen"), now=NOW)
    kept = ["config.json", "notes.tmp", ".overwinter-notes", "queen_state.json.corrupt-20300102T030405Z"]
    for name in [*kept, ".overwinter-1.tmp", ".overwinter-2.tmp"]:
        (folder.path / name).touch()
    with caplog.at_level(logging.WARNING, logger="overwinter.persistence"):
        assert sweep_temporaries(folder.path, files=Failing(unlink=(errno.EACCES, "2.tmp"))) == 1
    assert ".overwinter-2.tmp" in caplog.text
    assert sweep_temporaries(folder.path) == 1
    assert sorted(path.name for path in folder.path.iterdir()) == sorted([*kept, ".identity.json"])
    assert sweep_temporaries(folder.path / "missing") == 0


def test_the_folders_of_a_workspace_are_listed_by_name(workspace: Workspace) -> None:
    """P13: those that carry an identity."""
    assert list_folders(workspace) == []
    for name in ("worker", "queen"):
        open_identity(folder_of(workspace, name, "hive"), now=NOW)
    (workspace.agents_dir / "somebody's").mkdir()
    (workspace.agents_dir / "README").touch()
    assert list_folders(workspace) == [folder_of(workspace, name, "hive") for name in ("queen", "worker")]
    assert list_folders(workspace, "actors") == []


def test_a_folder_whose_entries_cannot_be_read_is_an_error(workspace: Workspace) -> None:
    """P11: with the reason."""

    class Unlisted(FileOperations):
        def list(self, path: Path) -> Sequence[str]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(WorkspaceError, match=os.strerror(errno.EIO)):
        list_folders(workspace, files=Unlisted())
