import time
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop.errors import InspectionError
from quasarloop.inspect.assign import assign, rebalance

# Three inspectors for every object.
NEED = defaultdict(lambda: 3)


def _apply(current, plan, begun=()):
    teams = {target: dict(team) for target, team in current.items()}
    for target, person in plan.drop:
        assert teams[target].pop(person) is False, "nobody loses what they began"
    for target, person in plan.add:
        assert person not in teams[target]
        teams[target][person] = (target, person) in begun
    return teams


def _loads(teams, people):
    counts = Counter(p for team in teams.values() for p, begun in team.items() if not begun)
    return [counts[p] for p in people]


def _pairs(teams, people):
    counts = Counter(pair for team in teams.values() for pair in combinations(sorted(team), 2))
    return [counts[pair] for pair in combinations(people, 2)]


@pytest.mark.parametrize("n_people", [3, 4, 5, 7, 10, 20, 40])
def test_loads_are_equal_and_pairs_spread_evenly(n_people):
    people = list(range(100, 100 + n_people))
    plan = assign(range(500), people, np.random.default_rng(3))
    teams = _apply({t: {} for t in range(500)}, plan)
    assert all(len(team) == 3 for team in teams.values())
    loads, pairs = _loads(teams, people), _pairs(teams, people)
    assert max(loads) - min(loads) <= 1
    assert max(pairs) - min(pairs) <= 3


def test_the_same_seed_gives_the_same_plan():
    plans = [assign(range(50), range(6), np.random.default_rng(8)) for _ in range(2)]
    assert plans[0] == plans[1]


def test_too_few_inspectors_are_refused():
    with pytest.raises(InspectionError, match="2 inspectors for 3"):
        assign(range(5), [1, 2], np.random.default_rng(0))


def test_a_late_joiner_gets_an_equal_share_of_what_is_left():
    people = [1, 2, 3, 4]
    first = assign(range(120), people, np.random.default_rng(0))
    done = {pair for pair in first.add if pair[0] < 40}
    teams = _apply({t: {} for t in range(120)}, first, begun=done)
    plan = rebalance(teams, [*people, 5], np.random.default_rng(1), NEED)
    after = _apply(teams, plan)
    loads = _loads(after, [*people, 5])
    assert max(loads) - min(loads) <= 1
    assert sum(loads) == 80 * 3
    assert all(len(team) == 3 for team in after.values())
    assert plan.short == ()
    pairs_with_new = [
        sum(p in team and 5 in team for t, team in after.items() if t >= 40) for p in people
    ]
    assert max(pairs_with_new) - min(pairs_with_new) <= 4


def test_a_leavers_open_work_moves_on_and_finished_work_counts():
    people = [1, 2, 3, 4]
    first = assign(range(60), people, np.random.default_rng(0))
    done = {pair for pair in first.add if pair[0] < 20}
    teams = _apply({t: {} for t in range(60)}, first, begun=done)
    after = _apply(teams, rebalance(teams, [1, 2, 3], np.random.default_rng(1), NEED))
    assert all(len(team) == 3 for team in after.values())
    assert all(4 not in team for t, team in after.items() if t >= 20)
    assert [4 in after[t] for t in range(20)] == [4 in teams[t] for t in range(20)]


def test_leavers_go_before_surplus_inspectors():
    teams = {0: {1: False, 2: False, 9: False}, 1: {1: True, 2: True}}
    plan = rebalance(teams, [1, 2, 3, 4], np.random.default_rng(0), {0: 2, 1: 2})
    assert plan.drop == ((0, 9),)
    assert plan.add == ()


def test_objects_without_enough_people_are_named():
    plan = rebalance({7: {1: True}, 8: {}}, [1, 2], np.random.default_rng(0), NEED)
    assert plan.short == (7, 8)
    assert set(plan.add) == {(7, 2), (8, 1), (8, 2)}


class _EveryObject:
    """The choice of an object by looking at all of them: what `_OpenWork` must agree with."""

    def __init__(self, table):
        self.table = table

    def put(self, target):
        pass

    def best(self, giver, taker):
        pairs = self.table.pairs
        gains = {
            target: sum(pairs[taker, i] - pairs[giver, i] for i in team.here if i != giver)
            for target, team in self.table.teams.items()
            if giver in team.unbegun and taker not in team.here
        }
        return min(gains, key=gains.get, default=None)


@settings(max_examples=30)
@given(st.integers(3, 7), st.integers(1, 3), st.integers(0, 60), st.integers(0, 99))
def test_moves_are_those_of_looking_at_every_object(n_people, n_new, n_begun, seed):
    rng = np.random.default_rng(seed)
    people = list(range(n_people))
    first = assign(range(30), people, rng)
    teams = _apply({t: {} for t in range(30)}, first, begun=set(first.add[::2][:n_begun]))
    now = [*people[seed % 2 :], *range(50, 50 + n_new)]
    plan = rebalance(teams, now, np.random.default_rng(seed), NEED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quasarloop.inspect.assign._OpenWork", _EveryObject)
        assert rebalance(teams, now, np.random.default_rng(seed), NEED) == plan


@pytest.mark.bench
def test_the_cost_of_a_late_joiner_grows_with_the_objects_not_with_their_square():
    seconds = []
    for n in (10_000, 40_000):
        teams = {t: {1: False, 2: False, 3: False} for t in range(n)}
        start = time.process_time()
        plan = rebalance(teams, [1, 2, 3, 4], np.random.default_rng(0), NEED)
        seconds.append(time.process_time() - start)
        assert len(plan.add) == len(plan.drop) == 3 * n // 4
    assert seconds[1] < 8 * seconds[0]  # 4 of a cost that grows with n, 16 of one with its square


histories = st.lists(
    st.dictionaries(st.integers(1, 8), st.booleans(), max_size=5), min_size=1, max_size=25
)


@settings(max_examples=60)
@given(histories, st.sets(st.integers(1, 8), min_size=3), st.integers(0, 99))
def test_any_history_is_brought_to_full_teams_and_then_left_alone(history, people, seed):
    current = dict(enumerate(history))
    plan = rebalance(current, sorted(people), np.random.default_rng(seed), NEED)
    after = _apply(current, plan)
    for target, team in after.items():
        here = {p for p in team if p in people}
        assert len(team) >= min(3, len(here | people))
        assert all(begun or p in people for p, begun in team.items())
        began = sum(current[target].values())
        assert len(team) <= max(3, began)
    again = rebalance(after, sorted(people), np.random.default_rng(seed + 1), NEED)
    assert (again.add, again.drop) == ((), ())


def test_objects_that_need_more_inspectors_get_them():
    needed = {target: 3 if target % 10 == 0 else 2 for target in range(200)}
    people = [1, 2, 3, 4]
    plan = rebalance({t: {} for t in range(200)}, people, np.random.default_rng(2), needed)
    teams = _apply({t: {} for t in range(200)}, plan)
    assert {target: len(team) for target, team in teams.items()} == needed
    loads = _loads(teams, people)
    assert max(loads) - min(loads) <= 1
    # A third that is needed no more goes, unless it was begun.
    begun = {(0, person) for person in teams[0]}
    teams[0] = dict.fromkeys(teams[0], True)
    plan = rebalance(teams, people, np.random.default_rng(2), dict.fromkeys(range(200), 2))
    assert len(plan.drop) - len(plan.add) == 19  # others move to level the loads
    assert not begun & {*plan.drop}
