"""The peers' environments: ``.venv-peers/<name>``, each with what ``<name>.txt`` pins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.contest import Skipped

__all__ = ["PEERS", "install", "python_of"]

PEERS = ("autogen", "pykka", "langgraph", "swarms", "tantra")
_NEEDS = {"tantra": (3, 13)}
_HERE = Path(__file__).resolve().parent
_ENVIRONMENTS = _HERE.parent.parent / ".venv-peers"
_LONGEST = 900


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment.

    :raises Skipped: it was not installed, and why.
    """
    why = _ENVIRONMENTS / f"{name}.missing"
    if why.exists():
        raise Skipped(why.read_text("utf-8"))
    for place in ("bin/python", "Scripts/python.exe"):
        if (_ENVIRONMENTS / name / place).exists() and _is_current(name):
            return _ENVIRONMENTS / name / place
    raise Skipped("not installed; `make bench-peers` does that")


def install(name: str) -> None:
    """Make the environment of a peer, unless it is there; what hinders it is noted for :func:`python_of`."""
    _ENVIRONMENTS.mkdir(exist_ok=True)
    why = _ENVIRONMENTS / f"{name}.missing"
    why.unlink(missing_ok=True)
    if _is_current(name):
        return
    try:
        python = _interpreter(_NEEDS.get(name))
        print(f"Installing {name} in {_ENVIRONMENTS.name}/{name}", file=sys.stderr, flush=True)
        shutil.rmtree(_ENVIRONMENTS / name, ignore_errors=True)
        _run(python, "-m", "venv", str(_ENVIRONMENTS / name))
        inside = next(path for path in (_ENVIRONMENTS / name).glob("*/python*") if path.stem == "python")
        _run(str(inside), "-m", "pip", "install", "--quiet", "--requirement", str(_pins(name)))
        _mark(name).write_bytes(_pins(name).read_bytes())
    except Skipped as reason:
        why.write_text(str(reason), "utf-8")


def _pins(name: str) -> Path:
    return _HERE / f"{name}.txt"


def _mark(name: str) -> Path:
    return _ENVIRONMENTS / name / "installed.txt"


def _is_current(name: str) -> bool:
    return _mark(name).exists() and _mark(name).read_bytes() == _pins(name).read_bytes()


def _interpreter(version: tuple[int, int] | None) -> str:
    """An interpreter of at least that version; this one, if any will do."""
    if version is None or sys.version_info[:2] >= version:
        return sys.executable
    wanted = f"{version[0]}.{version[1]}"
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [str(path) for path in sorted(root.glob(f"versions/{wanted}*/bin/python{wanted}"))]
    for candidate in (shutil.which(f"python{wanted}"), *found):
        if candidate is None:
            continue
        if subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    raise Skipped(f"it needs Python {wanted}, which is not on this machine")


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LONGEST, check=False)
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"installing took more than {_LONGEST} seconds") from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise Skipped(f"it could not be installed: {last[:200]}")
