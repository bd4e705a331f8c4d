"""The swarms of a script: ``[swarm]`` and ``[[swarms]]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.cli.scripts.agents import read_budget
from overwinter.cli.scripts.description import DescribedPolicy, DescribedSwarm
from overwinter.cli.scripts.options import names_in, read_option
from overwinter.cli.scripts.patterns import PATTERNS
from overwinter.cli.scripts.problems import listed, one_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from overwinter.cli.scripts.positions import Path
    from overwinter.cli.scripts.sections import Section

__all__ = ["check_names", "names_of", "read_swarm"]

_HINTS = {
    "agents": "here it is called 'members'; the agents themselves begin with [[agents]]",
    "type": "here it is called 'pattern'",
    "swarm_type": "here it is called 'pattern'",
    "kind": "here it is called 'pattern'",
    "output_type": "types are code, which only a program in Python has",
    "workspace_dir": "the workspace is chosen with --workspace",
    "model": "models are those of the agents; one for all of them stands under [defaults]",
}
_FOR_ALL: dict[str, str] = dict.fromkeys(
    ("session", "autosave", "durability", "task"), "it stands under [swarm], and holds for all"
)
_CODE = "it is code: make this swarm in a program"


def read_swarm(section: Section, *, outermost: bool) -> DescribedSwarm | None:
    """One of the swarms, or None where it has no name or no pattern. Names of members are looked at later."""
    name = section.text("name", required=True)
    chosen = section.text("pattern")
    if chosen is None and "pattern" not in section:
        section.wrong("pattern", f"{section.what} has no pattern; there are {listed(PATTERNS)}")
    elif chosen is not None and chosen not in PATTERNS:
        section.wrong(
            "pattern", f"{section.what} has an unknown pattern {chosen!r}{one_of(chosen, PATTERNS)}"
        )
    pattern = PATTERNS.get(chosen or "")
    members = section.texts("members") if pattern is None or pattern.takes else None
    if not outermost and members is None and "members" not in section and (pattern is None or pattern.takes):
        section.wrong("members", f'{section.what} has no members; name them, as in members = ["a", "b"]')
    swarm = DescribedSwarm(
        name=name or "",
        pattern=chosen or "",
        description=section.text("description", blank=True) or "",
        members=members or [],
        budget=read_budget(section),
        policy=_policy(section),
        policies=_policies(section),
    )
    if pattern is None:
        # Which of them there may be depends on the pattern.
        for key in {key for each in PATTERNS.values() for key in each.options}:
            section.get(key)
    else:
        for key, option in pattern.options.items():
            if option.instead_of and option.instead_of in section and key in section:
                told = f"{section.what} has both {option.instead_of} and {key}; give either"
                section.wrong(key, told)
            value = read_option(section, key, option)
            if value is not None:
                swarm.options[key] = value
    hints = {**_HINTS, **dict.fromkeys(pattern.code if pattern else (), _CODE)}
    section.end(hints if outermost else {**hints, **_FOR_ALL})
    return swarm if name is not None else None


def names_of(swarm: DescribedSwarm, path: Path) -> Iterator[tuple[Path, str]]:
    """Who takes part in a swarm, each with where it is named: its members, and others in its options and policies."""
    yield from (((*path, "members", index), name) for index, name in enumerate(swarm.members))
    yield from ((at, name) for at, name, within in _names_in_options(swarm, path) if not within)
    if swarm.policy is not None and swarm.policy.fallback is not None:
        yield (*path, "policy", "fallback"), swarm.policy.fallback
    for member, policy in swarm.policies.items():
        if policy.fallback is not None:
            yield (*path, "policies", member, "fallback"), policy.fallback


def check_names(swarm: DescribedSwarm, section: Section, known: Collection[str]) -> None:
    """Note every name that is nobody's, or stands where it may not."""
    problems, pattern = section.problems, PATTERNS.get(swarm.pattern)
    for path, name in names_of(swarm, section.path):
        if name not in known:
            told = f"{section.what} names {name!r}, and no agent or swarm of the file is called that"
            problems.add(path, told + one_of(name, known))
    for index, name in enumerate(swarm.members):
        if name in swarm.members[:index] and pattern is not None and not pattern.repeats:
            problems.add((*section.path, "members", index), f"{section.what} has the member {name!r} twice")
    for path, name, within in _names_in_options(swarm, section.path):
        if within and name not in swarm.members:
            told = f"{section.what} names {name!r} here, which is no member of it"
            problems.add(path, told + one_of(name, swarm.members))
    taking_part = {*swarm.members, *(name for _, name, _ in _names_in_options(swarm, ()))}
    for name in swarm.policies:
        if name not in taking_part:
            told = f"{section.what} has a policy for {name!r}, which is no member of it"
            problems.add((*section.path, "policies", name), told + one_of(name, taking_part))


def _names_in_options(swarm: DescribedSwarm, path: Path) -> Iterator[tuple[Path, str, bool]]:
    for key, value in swarm.options.items():
        yield from names_in(value, PATTERNS[swarm.pattern].options[key], (*path, key))


def _policies(section: Section) -> dict[str, DescribedPolicy]:
    table = section.table("policies", f"policies of {section.what}")
    if table is None:
        return {}
    found = {name: _policy(table, name) for name in table.every_key()}
    return {name: policy for name, policy in found.items() if policy is not None}


def _policy(section: Section, key: str = "policy") -> DescribedPolicy | None:
    what = f"policy of {section.what}" if key == "policy" else f"the policy for {key!r}"
    table = section.table(key, what)
    if table is None:
        return None
    policy = DescribedPolicy(
        attempts=table.whole("attempts") or 1,
        timeout=table.number("timeout"),
        then=table.choice("then", ("fail_fast", "skip")) or "fail_fast",
        fallback=table.text("fallback"),
    )
    backoff = table.number("backoff", above_zero=False)
    if backoff is not None:
        policy.backoff = backoff
    table.end({"retry": "here it is called 'attempts'", "retries": "here it is called 'attempts'"})
    return policy
