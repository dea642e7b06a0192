"""Assign objects: inspectors for each, equal loads, overlaps spread over all pairs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import combinations
from math import comb
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import InspectionError
from quasarloop.labels.rule import PER_OBJECT

__all__ = ["Plan", "assign", "rebalance"]

# Above this many possible teams a team is chosen member by member instead.
_MAX_TEAMS: Final = 5000


@dataclass(frozen=True)
class Plan:
    """Changes to the assignments.

    Attributes:
        add: (object, inspector) pairs to make.
        drop: pairs to take away; only ones nobody has begun.
        short: objects that have fewer inspectors than wanted, for want of people.
    """

    add: tuple[tuple[int, int], ...]
    drop: tuple[tuple[int, int], ...]
    short: tuple[int, ...]


def assign(
    objects: Sequence[int],
    inspectors: Sequence[int],
    rng: np.random.Generator,
    *,
    per_object: int = PER_OBJECT,
) -> Plan:
    """Give every object its inspectors, from nothing.

    Args:
        objects: identifiers, in the order of the worklist.
        inspectors: identifiers.
        rng: breaks ties.
        per_object: inspectors per object.

    Raises:
        InspectionError: fewer inspectors than each object needs.
    """
    if len(set(inspectors)) < per_object:
        raise InspectionError(
            f"{len(set(inspectors))} inspectors for {per_object} inspections of each object; "
            "invite more, or lower the number per object"
        )
    needed = dict.fromkeys(objects, per_object)
    return rebalance({target: {} for target in objects}, inspectors, rng, needed)


def rebalance(
    current: Mapping[int, Mapping[int, bool]],
    inspectors: Sequence[int],
    rng: np.random.Generator,
    needed: Mapping[int, int],
) -> Plan:
    """Fit the assignments to the present inspectors: late joiners get work, leavers' moves on.

    What anybody has begun stays theirs: a leaver's finished verdict still counts.

    Args:
        current: per object, per inspector (also leavers): True if begun.
        inspectors: those of now.
        rng: breaks ties.
        needed: inspectors of each object.

    Returns:
        What to change; after applying it, a second call changes nothing.
    """
    table = _Table(current, inspectors, needed)
    table.fill(rng)
    table.level()
    add: list[tuple[int, int]] = []
    drop: list[tuple[int, int]] = []
    for target, team in table.teams.items():
        had, has = current[target], {table.people[i] for i in team.here}
        add += [(target, person) for person in has if person not in had]
        drop += [(target, person) for person in had if not had[person] and person not in has]
    short = tuple(target for target, team in table.teams.items() if team.lacking > 0)
    return Plan(tuple(sorted(add)), tuple(sorted(drop)), short)


class _Team(NamedTuple):
    """Inspectors of an object, as numbers of present people; objects alike share one."""

    here: tuple[int, ...]  # in order, without leavers
    unbegun: frozenset[int]  # those of them without begun work
    lacking: int  # inspectors to add; leavers with begun work count as there


@lru_cache(maxsize=4096)
def _changed(team: _Team, given: tuple[int, ...], taken: tuple[int, ...] = ()) -> _Team:
    here = tuple(sorted({*team.here, *given}.difference(taken)))
    unbegun = team.unbegun.union(given).difference(taken)
    return _Team(here, unbegun, team.lacking - len(given) + len(taken))


@lru_cache(maxsize=256)
def _options(free: tuple[int, ...], wanted: int) -> NDArray[np.int64]:
    return np.array(list(combinations(free, wanted)), dtype=np.int64)  # (n_options, wanted)


class _Table:
    """Assignments being changed: teams, open loads and pair counts, kept in step.

    Leavers lose at once what they have not begun, and teams their surplus inspectors.
    """

    def __init__(
        self,
        current: Mapping[int, Mapping[int, bool]],
        inspectors: Sequence[int],
        needed: Mapping[int, int],
    ) -> None:
        self.people = sorted(set(inspectors))
        self.load = [0 for _ in self.people]  # not begun: what is still to do
        self.pairs = np.zeros((len(self.people),) * 2, dtype=np.int64)
        self.teams: dict[int, _Team] = {}
        # What is the same for many objects is found once.
        known: dict[tuple[object, ...], _Team] = {}
        for target, turns in current.items():
            alike = (needed[target], *turns.items())
            if alike not in known:
                known[alike] = self._team(turns, needed[target])
            self.teams[target] = known[alike]
        for team, number in Counter(self.teams.values()).items():
            self._count(team, number)

    def fill(self, rng: np.random.Generator) -> None:
        """Complete every team; the least loaded first, rare pairs preferred."""
        for target, team in self.teams.items():
            if team.lacking > 0:
                self._replace(target, self._filled(team, team.lacking, rng))

    def level(self) -> None:
        """Move objects not begun from the most to the least loaded until they differ by one."""
        open_work, load = _OpenWork(self), self.load
        while len(load) > 1:
            high, low = load.index(max(load)), load.index(min(load))
            if load[high] - load[low] <= 1:
                return
            target = open_work.best(high, low)
            if target is None:
                return
            self._replace(target, _changed(self.teams[target], (low,), (high,)))
            open_work.put(target)

    def _team(self, turns: Mapping[int, bool], needed: int) -> _Team:
        team, numbers = {**turns}, {person: i for i, person in enumerate(self.people)}
        for person in sorted(turns, key=lambda person: (person in numbers, person)):
            if not turns[person] and (person not in numbers or len(team) > needed):
                del team[person]
        here = {numbers[person]: begun for person, begun in team.items() if person in numbers}
        unbegun = frozenset(i for i, begun in here.items() if not begun)
        return _Team(tuple(sorted(here)), unbegun, needed - len(team))

    def _filled(self, team: _Team, wanted: int, rng: np.random.Generator) -> _Team:
        free = tuple(i for i in range(len(self.people)) if i not in team.here)
        wanted = min(wanted, len(free))
        if comb(len(free), wanted) > _MAX_TEAMS:
            for _ in range(wanted):
                team = self._filled(team, 1, rng)
            return team
        options = _options(free, wanted)
        if len(options) > 1:
            load, cost = np.array(self.load)[options].sum(axis=1), np.zeros(len(options))
            for i, j in combinations([*options.T, *team.here], 2):
                cost += self.pairs[i, j]
            # Equal loads come first (adding one to each member raises the sum of squared loads by
            # 2 load + 1); among those, rare pairs; among those, chance.
            order = np.lexsort((rng.random(len(options)), cost, load))
            options = options[order[:1]]
        return _changed(team, tuple(options[0].tolist()))

    def _replace(self, target: int, team: _Team) -> None:
        self._count(self.teams[target], -1)
        self._count(team, +1)
        self.teams[target] = team

    def _count(self, team: _Team, step: int) -> None:
        for i in team.unbegun:
            self.load[i] += step
        for i, j in combinations(team.here, 2):
            self.pairs[i, j] += step
            self.pairs[j, i] += step


class _OpenWork:
    """Objects that each inspector has not begun, by the present members of their teams.

    Objects with the same members are as good to move as each other, and there are few teams: the
    best object is found without looking at all.
    """

    def __init__(self, table: _Table) -> None:
        self._table = table
        # Inspector -> team -> its objects, the first on top; some have left it since.
        self._heaps: list[dict[tuple[int, ...], list[int]]] = [
            defaultdict(list) for _ in table.people
        ]
        for target in table.teams:
            self.put(target)

    def put(self, target: int) -> None:
        """Note the present team of an object."""
        team = self._table.teams[target]
        for i in team.unbegun:
            heappush(self._heaps[i][team.here], target)

    def best(self, giver: int, taker: int) -> int | None:
        """Return the object whose move makes the rarest pairs, of equal ones the first."""
        teams, pairs = self._table.teams, self._table.pairs
        more = (pairs[taker] - pairs[giver]).tolist()
        more[giver] = 0
        found: tuple[int, int] | None = None
        heaps = self._heaps[giver]
        for here in list(heaps):
            heap = heaps[here]
            while heap and teams[heap[0]].here != here:
                heappop(heap)
            if not heap:
                del heaps[here]
            elif taker not in here:
                this = (sum([more[i] for i in here]), heap[0])
                found = this if found is None else min(found, this)
        return None if found is None else found[1]
