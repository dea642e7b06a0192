"""Assign objects: inspectors for each, equal loads, overlaps spread over all pairs."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import combinations
from math import comb
from typing import Final

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
    dropped = table.drop_leavers()
    added = table.fill(rng)
    table.level(added, dropped)
    short = tuple(t for t in current if len(table.teams[t]) < needed[t])
    return Plan(tuple(sorted(added)), tuple(sorted(dropped)), short)


class _Table:
    """Assignments being changed: teams, open loads and pair counts, kept in step."""

    def __init__(
        self,
        current: Mapping[int, Mapping[int, bool]],
        inspectors: Sequence[int],
        needed: Mapping[int, int],
    ) -> None:
        self.people = sorted(set(inspectors))
        self.index = {person: i for i, person in enumerate(self.people)}
        self.needed = needed
        self.begun = {target: {p for p, b in team.items() if b} for target, team in current.items()}
        self.teams = {target: set(team) for target, team in current.items()}
        n = len(self.people)
        self.load = np.zeros(n, dtype=np.int64)  # not begun: what is still to do
        self.pairs = np.zeros((n, n), dtype=np.int64)
        for target, team in self.teams.items():
            here = self.here(team)
            self._count_pairs(here, +1)
            for i in here:
                self.load[i] += self.people[i] not in self.begun[target]

    def drop_leavers(self) -> set[tuple[int, int]]:
        """Take objects not begun from leavers, and surplus inspectors."""
        dropped = set()
        for target, team in self.teams.items():
            for person in sorted(team - self.begun[target]):
                if person not in self.index or len(team) > self.needed[target]:
                    dropped.add((target, person))
                    self._remove(target, person)
        return dropped

    def fill(self, rng: np.random.Generator) -> set[tuple[int, int]]:
        """Complete every team; the least loaded first, rare pairs preferred."""
        added = set()
        for target, team in self.teams.items():
            for i in self._best_team(team, self.needed[target], rng):
                added.add((target, self.people[i]))
                self._add(target, self.people[i])
        return added

    def level(self, added: set[tuple[int, int]], dropped: set[tuple[int, int]]) -> None:
        """Move objects not begun from the most to the least loaded until they differ by one."""
        open_work = _OpenWork(self)
        while len(self.people) > 1:
            high, low = int(self.load.argmax()), int(self.load.argmin())
            if self.load[high] - self.load[low] <= 1:
                return
            move = open_work.best(high, low)
            if move is None:
                return
            giver, taker = (move, self.people[high]), (move, self.people[low])
            self._remove(*giver)
            self._add(*taker)
            open_work.put(move)
            _cancel(giver, added, dropped)
            _cancel(taker, dropped, added)

    def _best_team(self, team: Collection[int], needed: int, rng: np.random.Generator) -> list[int]:
        if len(team) >= needed:
            return []
        here = self.here(team)
        free = np.array([i for i, p in enumerate(self.people) if p not in team], dtype=np.int64)
        wanted = min(needed - len(team), len(free))
        if wanted <= 0:
            return []
        if comb(len(free), wanted) > _MAX_TEAMS:
            return self._one_by_one(here, free, wanted, rng)
        options = np.array(list(combinations(free, wanted)), dtype=np.int64)  # (n_options, wanted)
        cost = self._pair_cost(options, here)
        # Equal loads come first; among those, rare pairs; among those, chance.
        order = np.lexsort((rng.random(len(options)), cost, self._load_cost(options)))
        return [int(i) for i in options[order[0]]]

    def _one_by_one(
        self, here: list[int], free: NDArray[np.int64], wanted: int, rng: np.random.Generator
    ) -> list[int]:
        chosen: list[int] = []
        for _ in range(wanted):
            left = np.setdiff1d(free, chosen)
            cost = self._pair_cost(left[:, None], [*here, *chosen])
            order = np.lexsort((rng.random(len(left)), cost, self.load[left]))
            chosen.append(int(left[order[0]]))
        return chosen

    def _load_cost(self, options: NDArray[np.int64]) -> NDArray[np.int64]:
        # Adding one to each member raises the sum of squared loads by 2 load + 1.
        return np.asarray(self.load[options].sum(axis=1))

    def _pair_cost(self, options: NDArray[np.int64], here: Sequence[int]) -> NDArray[np.int64]:
        cost = np.zeros(len(options), dtype=np.int64)
        columns = [options[:, k] for k in range(options.shape[1])]
        columns += [np.full(len(options), i) for i in here]
        for first, second in combinations(columns, 2):
            cost += self.pairs[first, second]
        return cost

    def here(self, team: Collection[int]) -> list[int]:
        return sorted(self.index[p] for p in team if p in self.index)

    def _add(self, target: int, person: int) -> None:
        i = self.index[person]
        for j in self.here(self.teams[target]):
            self._count_pairs([i, j], +1)
        self.teams[target].add(person)
        self.load[i] += 1

    def _remove(self, target: int, person: int) -> None:
        self.teams[target].discard(person)
        if person in self.index:
            i = self.index[person]
            for j in self.here(self.teams[target]):
                self._count_pairs([i, j], -1)
            self.load[i] -= 1

    def _count_pairs(self, here: Sequence[int], step: int) -> None:
        for i, j in combinations(here, 2):
            self.pairs[i, j] += step
            self.pairs[j, i] += step


class _OpenWork:
    """Objects that each inspector has not begun, by the present members of their teams.

    Objects with the same members are as good to move as each other, and there are few teams: the
    best object is found without looking at all.
    """

    def __init__(self, table: _Table) -> None:
        self._table = table
        self._targets = list(table.teams)
        self._place = {target: place for place, target in enumerate(self._targets)}
        self._team: list[tuple[int, ...]] = [()] * len(self._targets)
        # Inspector -> team -> places of objects, the first on top; some have left it since.
        self._heaps: list[dict[tuple[int, ...], list[int]]] = [
            defaultdict(list) for _ in table.people
        ]
        for target in self._targets:
            self.put(target)

    def put(self, target: int) -> None:
        """Note the present team of an object."""
        table, place = self._table, self._place[target]
        team = self._team[place] = tuple(table.here(table.teams[target]))
        for i in team:
            if table.people[i] not in table.begun[target]:
                heappush(self._heaps[i][team], place)

    def best(self, giver: int, taker: int) -> int | None:
        """Return the object whose move makes the rarest pairs, of equal ones the first."""
        more = (self._table.pairs[taker] - self._table.pairs[giver]).tolist()
        found: tuple[int, int] | None = None
        heaps = self._heaps[giver]
        for team in list(heaps):
            heap = heaps[team]
            while heap and self._team[heap[0]] != team:
                heappop(heap)
            if not heap:
                del heaps[team]
            elif taker not in team:
                this = (sum(more[i] for i in team if i != giver), heap[0])
                found = this if found is None else min(found, this)
        return None if found is None else self._targets[found[1]]


def _cancel(pair: tuple[int, int], undo: set[tuple[int, int]], make: set[tuple[int, int]]) -> None:
    """Take back a change planned earlier, or else plan this one."""
    if pair in undo:
        undo.remove(pair)
    else:
        make.add(pair)
