"""DESI's own merging functions on our exports (tamarastro/DESI_SV, VI_merge_functions_v3.py)."""

import importlib
import os

import numpy as np
import pandas as pd
import pytest

from quasarloop.labels.merge import conflicts, merge_verdicts
from quasarloop.labels.prospect_csv import Inspection, file_name, write_inspections
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

HERE = os.environ.get("VI_MERGE_DIR")
# `make redrock` runs it where the checkout is named; a skip is an error there.
pytestmark = [pytest.mark.redrock] if HERE else []
N = 60


def inspections(rng):
    """Three inspectors of N targets: agreement, and each kind of conflict."""
    rows = {}
    for target in range(1, N + 1):
        z = round(float(rng.uniform(0.1, 4)), 4)
        spectype, quality = rng.choice([SpecType.QSO, SpecType.GALAXY]), rng.integers(2, 5)
        for scanner in ("ada", "berta", "cleo"):
            other = scanner == "berta" and target % 4
            redshift = z + (0.02 * (1 + z) if other == 1 else 0.001 * (scanner == "cleo"))
            verdict = Verdict(
                spectype=SpecType.STAR if other == 2 else SpecType(spectype),
                z=round(redshift, 4),
                quality=float((quality + 2) % 5 if other == 3 else quality),
                issues="R" if target % 5 == 0 else "",
                comment="" if target % 3 else f"broad, blue {target}",
            )
            columns = {"Redrock_z": str(z), "Redrock_spectype": "GALAXY"}
            rows[target, scanner] = Inspection(target, scanner, verdict, columns=columns)
    return rows


@pytest.mark.skipif(not HERE, reason="set VI_MERGE_DIR to a checkout of DESI_SV")
@pytest.mark.filterwarnings("ignore")  # of pandas, about code for an earlier one
def test_they_find_our_conflicts_and_our_means(tmp_path, monkeypatch):
    rows = inspections(np.random.default_rng(6))
    frames = []
    for scanner in ("ada", "berta", "cleo"):
        path = tmp_path / file_name("round 1", scanner)
        write_inspections([row for (_, s), row in rows.items() if s == scanner], path)
        # As their read_in_data does, whose `append` pandas 2 has no more.
        frames.append(pd.read_csv(path, delimiter=",", engine="python", keep_default_na=False))
    monkeypatch.syspath_prepend(HERE)
    theirs = importlib.import_module("VI_merge_functions_v3")
    vi = pd.concat(frames, ignore_index=True)
    for step in ("z", "spectype", "quality"):
        getattr(theirs, f"choose_best_{step}")(vi)
    theirs.concatenate_all_issues(vi)
    theirs.concatenate_all_comments(vi)
    found = set(theirs.find_conflicts(vi.groupby("TARGETID"))["TARGETID"])
    verdicts = {t: [rows[t, s].verdict for s in ("ada", "berta", "cleo")] for t in range(1, N + 1)}
    assert found == {target for target, given in verdicts.items() if conflicts(given)}
    assert 30 < len(found) < N
    for target in set(verdicts) - found:
        merged, row = merge_verdicts(verdicts[target]), vi[vi["TARGETID"] == target].iloc[0]
        assert row["best_z"] == pytest.approx(merged.z, abs=1e-12)
        assert row["best_spectype"] == merged.spectype.word
        assert row["best_quality"] == merged.quality
        assert (row["all_VI_issues"], row["all_VI_comments"]) == (merged.issues, merged.comments)
