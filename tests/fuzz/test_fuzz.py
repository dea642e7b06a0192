"""Damaged files of every kind: no traceback, no hang, no hunger, a named file, no wrong value."""

import pytest
from tests.fuzz.harness import prepare, run_cases
from tests.fuzz.sound import TARGETS

N_CASES = 2200
# Of commands of all kinds, 20 s in all; a campaign takes half of the making.
QUICK = [i for i, t in enumerate(TARGETS) if "campaign" not in t.file][::7]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("fuzz") / "sound", campaign=False)


def faults(sound, numbers):
    ends = run_cases(sound, numbers)
    return [f"{end.number}: {end.target.command}: {end.fault}" for end in ends if end.fault]


def test_a_few_damaged_files_end_well(sound):
    assert not faults(sound, QUICK)


@pytest.mark.slow
def test_two_thousand_damaged_files_end_well(tmp_path_factory):
    assert len({" ".join(t.command.split()[:2]) for t in TARGETS}) >= 14, "commands"
    sound = prepare(tmp_path_factory.mktemp("fuzz") / "sound", campaign=True)
    assert not faults(sound, range(N_CASES))
