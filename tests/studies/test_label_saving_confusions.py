"""Wrong redshifts of the label-saving study: planted ones are counted, and nothing else."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

_STUDIES = Path(__file__).resolve().parents[2] / "studies"


@pytest.fixture
def confusions(monkeypatch):
    monkeypatch.syspath_prepend(str(_STUDIES))
    return importlib.import_module("label_saving_confusions")


def test_planted_wrong_redshifts_are_counted_where_quasars_are_found(confusions):
    is_qso, z = np.arange(40) < 20, np.full(40, 1.5)
    data = SimpleNamespace(is_qso=is_qso, z=z)
    draw = SimpleNamespace(sky=SimpleNamespace(data=data), test=np.arange(40))
    score = np.where(is_qso, 1.0, 0.0)
    score[19] = -1.0  # a quasar that is not found
    one_line, joint = z + 0.01, z.copy()
    one_line[[0, 1, 2, 19, 30]] += 0.5  # three found, one not found, one no quasar
    joint[0], joint[1] = 0.2, np.nan
    found = confusions.Found(score, one_line, joint)
    counts = {"found": 19, "wrong": 3, "all_wrong": 4, "wrong_joint": 2, "all_wrong_joint": 2}
    assert confusions.wrong(draw, found) == counts
    runs = [{"seed": 0, "arm": "no label", "labels": 0, **counts}]
    runs.append(runs[0] | {"seed": 1, "wrong": 5})
    (row,) = confusions.table(runs).splitlines()[2:]
    assert row == f"| no label | 0 | 2 | 19 | 4 | {4000 / 19:.1f} | {2000 / 19:.1f} | 4 | 2 |"
