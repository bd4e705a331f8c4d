"""From a file to a script, with a line for everything that is wrong."""

from __future__ import annotations

import re
import tomllib
from io import BytesIO
from typing import TYPE_CHECKING, Any

from overwinter.cli.refusal import Refusal, os_reason
from overwinter.cli.scripts.agents import read_agent, read_defaults, read_rate_limits
from overwinter.cli.scripts.description import Script
from overwinter.cli.scripts.patterns import PATTERNS
from overwinter.cli.scripts.positions import positions
from overwinter.cli.scripts.problems import Problems, one_of
from overwinter.cli.scripts.sections import Section
from overwinter.cli.scripts.swarms import check_names, names_of, read_swarm

if TYPE_CHECKING:
    import pathlib

    from overwinter.cli.scripts.description import DescribedAgent, DescribedSwarm

__all__ = ["read_again", "read_script"]

_LARGEST = 4 << 20
_AT = re.compile(r"^(.*?) \(at (?:line (\d+), column \d+|end of document)\)$", re.DOTALL)
_HINTS = {
    "name": "it stands under [swarm]",
    "pattern": "it stands under [swarm]",
    "agent": "the agents begin with [[agents]]",
    "policies": "they stand with their swarm, as in [swarm.policies.NAME]",
}


def read_script(path: pathlib.Path) -> Script:
    """Read the file at *path*. Nothing in it is run, and nothing that it names is imported. Blocking.

    :raises Refusal: it cannot be read, or something in it is wrong: a line for each problem, as ``file:line: problem``.
    """
    text = _text(path)
    try:
        data = tomllib.load(BytesIO(text.encode()))
    except tomllib.TOMLDecodeError as error:
        match = _AT.match(str(error))
        told, at = (match[1], match[2]) if match else (str(error), None)
        line = int(at) if at else text.rstrip().count("\n") + 1
        raise Refusal(f"{path}:{line}: this is no TOML: {told[:1].lower()}{told[1:]}") from error
    except RecursionError as error:
        raise Refusal(f"{path}: it is nested too deeply") from error
    return _read(data, Problems(str(path), positions(text)))


def read_again(data: dict[str, Any], where: str) -> Script:
    """Read what :attr:`Script.data` held.

    :param where: where that was found, for the refusal.
    :raises Refusal: something in it is wrong.
    """
    return _read(data, Problems(where, {}))


def _text(path: pathlib.Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > _LARGEST:
            raise Refusal(f"{path}: it has more than {_LARGEST >> 20} MB; a description of a swarm is small")
        data = path.read_bytes()
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {os_reason(error)}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Refusal(f"{path}:{line}: this is no text in UTF-8, as TOML is") from error


def _read(data: dict[str, Any], problems: Problems) -> Script:
    top = Section(data, (), problems, "the file")
    script = Script(data=data, problems=problems)
    sections = _Sections(script)
    if (outermost := top.table("swarm", "the swarm")) is not None:
        sections.outermost(outermost)
    elif "swarm" not in top:
        problems.add((), 'there is no [swarm] in the file, with its name = "..." and its pattern = "..."')
    defaults = top.table("defaults", "defaults")
    common = {} if defaults is None else read_defaults(defaults)
    for section in top.tables("agents", "agent"):
        sections.agent(section, read_agent(section, common))
    for section in top.tables("swarms", "swarm"):
        sections.swarm(section, read_swarm(section, outermost=False))
    script.rate_limits = read_rate_limits(top)
    top.end(_HINTS)
    sections.tie()
    problems.refuse()
    return script


class _Sections:
    """What was read, with the table of each, until all that names each other is known."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._outermost: Section | None = None
        self._of: dict[str, Section] = {}
        self._names_all = True

    def outermost(self, section: Section) -> None:
        """The swarm of the file."""
        script = self._script
        script.session = section.text("session", blank=True) or ""
        script.autosave = section.flag("autosave") is not False
        script.durability = section.choice("durability", ("exit", "async", "sync")) or "async"
        script.task = section.text("task")
        self._names_all = "members" in section
        described = read_swarm(section, outermost=True)
        if described is not None:
            self._outermost = section
            script.swarm = described

    def agent(self, section: Section, described: DescribedAgent | None) -> None:
        """One of the agents."""
        if described is not None and self._is_new(described.name, section):
            self._script.agents[described.name] = described

    def swarm(self, section: Section, described: DescribedSwarm | None) -> None:
        """One of the swarms within."""
        if described is not None and self._is_new(described.name, section):
            self._script.swarms[described.name] = described

    def tie(self) -> None:
        """Find those that are named, and note who is not there, who takes part in nothing, and who in himself."""
        script, outermost = self._script, self._outermost
        if outermost is None:
            return
        within = {name for swarm in script.swarms.values() for _, name in names_of(swarm, ())}
        pattern = PATTERNS.get(script.swarm.pattern)
        if not self._names_all and (pattern is None or pattern.takes):
            named = within | {name for _, name in names_of(script.swarm, ())}
            script.swarm.members = [name for name in self._in_order() if name not in named]
            # Read again, without the lines of the file, it is to come out the same.
            given = {**script.data["swarm"], "members": script.swarm.members}
            script.data = {**script.data, "swarm": given}
        check_names(script.swarm, outermost, self._of)
        for name, swarm in script.swarms.items():
            check_names(swarm, self._of[name], self._of)
        for agent in script.agents.values():
            self._check_handoffs(agent)
        named = within | {name for _, name in names_of(script.swarm, ())}
        for name, section in self._of.items():
            if name not in named:
                told = f"{section.what} takes part in nothing: no swarm names it"
                section.problems.add((*section.path, "name"), told)
        for name in script.swarms:
            if name in _reached(script, name):
                self._of[name].wrong("members", f"{self._of[name].what} is a member of itself")

    def _check_handoffs(self, agent: DescribedAgent) -> None:
        section = self._of[agent.name]
        for index, handoff in enumerate(agent.handoffs):
            if handoff.to not in self._of:
                told = f"{section.what} hands on to {handoff.to!r}, and no agent or swarm of the file is called that"
                section.problems.add((*section.path, "handoffs", index), told + one_of(handoff.to, self._of))

    def _in_order(self) -> list[str]:
        return sorted(self._of, key=lambda name: self._of[name].problems.line_of(self._of[name].path))

    def _is_new(self, name: str, section: Section) -> bool:
        first = self._of.get(name) or (self._outermost if name == self._script.swarm.name else None)
        if first is None:
            self._of[name] = section
            return True
        line = section.problems.line_of(first.path)
        section.wrong(
            "name", f"there is another {name!r}, in line {line}; every agent and swarm has a name of its own"
        )
        return False


def _reached(script: Script, name: str) -> set[str]:
    """Everybody who takes part in a swarm, and in those that take part in it."""
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        swarm = script.swarms.get(waiting.pop())
        if swarm is not None:
            new = {each for _, each in names_of(swarm, ())} - reached
            reached |= new
            waiting += new
    return reached
