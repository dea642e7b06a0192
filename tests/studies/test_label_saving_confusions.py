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


def test_confused_quasars_among_labels_are_counted_and_ranked(confusions, monkeypatch):
    # Quasars 0 to 9 of 20; 4 and 5 are confused, and so is 15, which is none. The pool lacks 9.
    is_qso, z = np.arange(20) < 10, np.full(20, 1.5)
    z_best = np.where(np.isin(np.arange(20), [4, 5, 15]), 0.5, 1.5)
    data = SimpleNamespace(is_qso=is_qso, z=z)
    sky = SimpleNamespace(data=data, features=SimpleNamespace(z_best=z_best))
    pool = np.delete(np.arange(20), 9)
    taken = dict(zip(confusions.CHOOSING, ([0, 15], [4, 5], [5], [1]), strict=True))

    def chosen(draw, arm, labels):
        (name,) = (n for n in confusions.CHOOSING if confusions.ARMS[n] is arm)
        yield SimpleNamespace(rows=np.array(taken[name]))

    # Doubt of the class falls with the row; that of redshift puts 5 first, and 4 last.
    confidence = np.linspace(0.5, 0.999, 20)[pool][None]
    p_high = np.where(pool == 5, 0.5, 0.0)
    monkeypatch.setattr(confusions, "chosen", chosen)
    monkeypatch.setattr(
        confusions, "voted_by_heads", lambda *given: (confidence, z[pool][None], p_high)
    )
    found = confusions.confused_chosen(SimpleNamespace(sky=sky, pool=pool, seed=0))
    assert [found[name] for name in confusions.CHOOSING] == [0, 2, 1, 0]
    assert (found["quasars"], found["confused"]) == (9, 2)
    assert found["quasar or not"] == pytest.approx(100 * 4.5 / 19)
    assert found["soft entropy"] == pytest.approx(100 * np.mean([0, 5]) / 19)
    table = confusions.chosen_table([found, found]).splitlines()
    assert table[0] == "4 of 18 quasars, 2 seeds, 300 labels each"
    assert "| heads, ours | 4 |" in table
