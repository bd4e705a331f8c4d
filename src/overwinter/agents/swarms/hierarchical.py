"""A director that plans, delegates, reads the reports, and writes the answer."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Unpack

import msgspec

from overwinter.agents.output import OutputFormat
from overwinter.agents.swarms.answers import answers_of, anyone
from overwinter.agents.swarms.base import Swarm
from overwinter.agents.swarms.checks import all_different, at_least_one
from overwinter.agents.swarms.drawing import END, START, node_of
from overwinter.agents.swarms.graph import Edge, Graph
from overwinter.agents.swarms.options import OutputT
from overwinter.errors import ConfigurationError, NobodyAnswered, OutputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from overwinter.agents.swarms.member import Member
    from overwinter.agents.swarms.options import SwarmOptions
    from overwinter.agents.swarms.results import MemberResult
    from overwinter.agents.swarms.team import Team

__all__ = ["HierarchicalSwarm", "Order", "Plan"]

PLAN = """\
You direct a team and do none of its work yourself. Plan how the team does this task, and give it orders.

The task:

{task}

The team:

{team}

Who gets an order knows neither the task nor the other orders, so say in each order all that is needed for it. \
Orders are worked on at the same time; with "in_order" they are worked on one after the other, and each is told the \
reports of those before.

Answer with one JSON value and nothing else. It must validate against this JSON schema:
{schema}"""

REVIEW = """\
These are the reports of your team:

{reports}

If something is missing or wrong, give further orders in the same form, and say in them what is to be better. \
If nothing is, answer with no orders: {{"plan": "...", "orders": []}}"""

ANSWER = """\
These are the reports of your team:

{reports}

Now write the final answer to the task, for the one who gave it: the whole answer, without a word about the team."""

ANSWER_ONLY = """\
Now write the final answer to the task, for the one who gave it: the whole answer, without a word about the team."""

ORDER_AFTER = """\
{task}

What others of the team reported before:

{reports}"""


class Order(msgspec.Struct, frozen=True):
    """What one worker is to do."""

    agent_name: Annotated[
        str, msgspec.Meta(description="Who does it: a name from the team, exactly as it is.")
    ]
    task: Annotated[str, msgspec.Meta(description="What to do, complete in itself.")]


class Plan(msgspec.Struct, frozen=True):
    """What a director answers when it plans."""

    plan: Annotated[str, msgspec.Meta(description="How the task is done, in a few sentences.")]
    orders: list[Order]
    in_order: bool = False


@cache
def _format() -> OutputFormat[Plan]:
    return OutputFormat(Plan)


class HierarchicalSwarm(Swarm[OutputT]):
    """The ``director`` plans and gives orders, the ``agents`` carry them out, and the director writes the answer.

    The director is told the task and who is in the team (``agent_name``, ``agent_description``), and answers with a
    :class:`Plan` in JSON; one that cannot be read, or orders somebody who is not there, is given back with the problem
    named. Each worker is told its order and nothing else, unless the plan says ``in_order``: then the reports of those
    before it as well. The director is told the reports and may give further orders, ``max_loops`` times in all. The
    result is what it writes in the end.

    Of a worker that is skipped the director is told that it gave no answer; when no worker ever gave one the run fails,
    and so it does when the director is skipped.

    :param name: any text; the swarm's, as an ``agent_name`` is an agent's.
    :param agents: the workers: agents, swarms, or any other :class:`~overwinter.Member`, each of them once.
    :param director: an agent whose answers are texts, which is none of the workers.
    :param max_loops: how many times orders are given at most.
    :param plan_attempts: how often a director is asked for one plan before the run fails with ``OutputInvalid``.
    :raises ConfigurationError: a setting cannot work; the message names it.
    """

    def __init__(
        self,
        name: str,
        agents: Iterable[Member],
        director: Member,
        *,
        max_loops: int = 1,
        plan_attempts: int = 3,
        **options: Unpack[SwarmOptions[OutputT]],
    ) -> None:
        self._director = director
        self._workers = {worker.agent_name: worker for worker in all_different(agents)}
        self._max_loops = at_least_one("max_loops", max_loops)
        self._plan_attempts = at_least_one("plan_attempts", plan_attempts)
        if not self._workers:
            raise ConfigurationError(f"swarm {name!r} has a director and nobody to direct; give it agents")
        if director.agent_name in self._workers:
            raise ConfigurationError(
                f"{director.agent_name!r} is the director of swarm {name!r} and cannot be one of its agents as well"
            )
        described = {
            "director": director.agent_name,
            "max_loops": max_loops,
            "plan_attempts": plan_attempts,
        }
        super().__init__(name, [director, *self._workers.values()], described=described, **options)

    async def orchestrate(self, task: str, team: Team) -> str:
        """Plan, delegate, review, and answer."""
        schema = msgspec.json.encode(_format().schema).decode()
        plan = await self._plan(PLAN.format(task=task, team=self._team(), schema=schema), team, 1)
        reports: list[MemberResult] = []
        told = ANSWER_ONLY
        for loop in range(1, self._max_loops + 1):
            latest = await self._delegate(plan, team, loop)
            reports += latest
            if loop == self._max_loops:
                told = ANSWER.format(reports=answers_of(latest))
                break
            plan = await self._plan(REVIEW.format(reports=answers_of(latest)), team, loop + 1)
            if not plan.orders:
                break
        anyone(self.agent_name, reports)
        return (await self._hear(told, team, "answer")).text

    def graph(self) -> Graph:
        """The director between the task and the answer, and the workers below it."""
        boss, workers = node_of(self._director), [node_of(worker) for worker in self._workers.values()]
        edges = [Edge(START.id, boss.id)]
        for worker in workers:
            edges += [Edge(boss.id, worker.id, "orders", True), Edge(worker.id, boss.id, "reports")]
        return Graph((START, boss, *workers, END), (*edges, Edge(boss.id, END.id)))

    def _team(self) -> str:
        lines = [
            (name, getattr(worker, "agent_description", "") or "(nothing more is known)")
            for name, worker in self._workers.items()
        ]
        return "\n".join(f"- {name}: {description}" for name, description in lines)

    async def _hear(self, told: str, team: Team, key: str) -> MemberResult:
        result = await team.ask(self._director, told, key=key)
        if not result.ok:
            raise NobodyAnswered(self.agent_name, {result.member: result.error})
        return result

    async def _plan(self, told: str, team: Team, loop: int) -> Plan:
        problem = ""
        for attempt in range(1, self._plan_attempts + 1):
            key = f"loop-{loop}/plan" if attempt == 1 else f"loop-{loop}/plan-{attempt}"
            answer = await self._hear(told, team, key)
            try:
                return self._checked(_format().read(answer.text), may_be_done=loop > 1)
            except ValueError as error:
                problem = str(error)
                told = _format().ask_again(problem)
        raise OutputInvalid(
            f"director {self._director.agent_name!r} of swarm {self.agent_name!r} gave no plan that can be carried "
            f"out in {self._plan_attempts} attempts; the last problem: {problem}. Use a stronger model, "
            "or raise plan_attempts"
        )

    def _checked(self, plan: Plan, *, may_be_done: bool) -> Plan:
        unknown = [order.agent_name for order in plan.orders if order.agent_name not in self._workers]
        if unknown:
            names = ", ".join(map(repr, self._workers))
            raise ValueError(f"there is no {', '.join(map(repr, unknown))} in the team, which is {names}")
        if any(not order.task.strip() for order in plan.orders):
            raise ValueError("an order has an empty task")
        if not plan.orders and not may_be_done:
            raise ValueError("there are no orders, and nothing was done yet")
        return plan

    async def _delegate(self, plan: Plan, team: Team, loop: int) -> Sequence[MemberResult]:
        orders = [
            (self._workers[order.agent_name], order.task, f"loop-{loop}/{number}-{order.agent_name}")
            for number, order in enumerate(plan.orders, 1)
        ]
        if not plan.in_order:
            return await _all_at_once(orders, team)
        reports: list[MemberResult] = []
        for worker, task, key in orders:
            told = ORDER_AFTER.format(task=task, reports=answers_of(reports)) if reports else task
            reports.append(await team.ask(worker, told, key=key))
        return reports


async def _all_at_once(orders: Sequence[tuple[Member, str, str]], team: Team) -> Sequence[MemberResult]:
    """The reports, in the order of *orders*. Further orders of one worker wait until all have done one."""
    reports: dict[str, MemberResult] = {}
    waiting: list[tuple[Member, str, str]] = list(orders)
    while waiting:
        first = {worker.agent_name: (worker, task, key) for worker, task, key in reversed(waiting)}
        batch = [order for order in waiting if order in first.values()]
        waiting = [order for order in waiting if order not in batch]
        reports |= {result.key: result for result in await team.ask_all(batch)}
    return [reports[key] for _, _, key in orders]
