"""The choice, against a written-out reference and by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from query_tables import random_votes, votes_of_counts, write_cells, write_votes

from quasarloop.classes import Vote
from quasarloop.errors import DataFormatError, SelectionError
from quasarloop.quality import REFUSED
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.select import Reason, select
from quasarloop.query.som import CellGrid
from quasarloop.query.votes_input import read_target_ids, read_votes_table
from quasarloop.spectra import Flag


def _left(selection):
    return {step.reason: step.left for step in selection.steps}


def _removed(selection):
    return {step.reason: step.removed for step in selection.steps}


def _reference(table, cell, n_cells, truth, options):
    """The paper's steps 4 to 6 as plain loops; returns row numbers, best first."""
    counts = [0] * n_cells
    for c in cell:
        if c >= 0:
            counts[c] += 1
    least = np.percentile(counts, options.percentile)
    known = set(truth) | {row["OBJECT_ID"] for row in table if row["TARGETID"] in truth}
    rows = []
    for i, row in enumerate(table):
        refused = row["FLAGS"] & int(options.refused) or np.isnan(row["ENTROPY"])
        if refused or (cell[i] >= 0 and counts[cell[i]] < least) or row["OBJECT_ID"] in known:
            continue
        rows.append((-row["ENTROPY"], -row["MUTUAL_INFORMATION"], row["TARGETID"], i))
    chosen, seen = [], set()
    for *_, i in sorted(rows):
        if table[i]["OBJECT_ID"] not in seen and len(chosen) < options.n:
            seen.add(table[i]["OBJECT_ID"])
            chosen.append(i)
    return chosen


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 2**32), st.integers(1, 120), st.integers(1, 90), st.integers(1, 60))
def test_random_tables_equal_the_written_out_reference(tmp_path, seed, n_rows, n_objects, n):
    rng = np.random.default_rng(seed)
    columns = random_votes(rng, n_rows, n_networks=3)  # few members: many ties
    votes = write_votes(
        tmp_path / "votes.parquet",
        columns,
        OBJECT_ID=rng.integers(0, n_objects, n_rows) + 10**17,
        TARGETID=rng.permutation(n_rows) + 10**16,
        FLAGS=rng.choice([0, 0, 0, 0, Flag.ARM_Z_MASKED, Flag.NAN_FLUX], n_rows).astype(np.int32),
    )
    grid = CellGrid(3, 4)
    cell = np.minimum(rng.geometric(0.2, n_rows) - 2, 11)
    cells = write_cells(tmp_path / "cells.parquet", cell, grid, votes=votes)
    table = votes.frame.collect().to_dicts()
    truth = rng.choice(n_rows, n_rows // 5, replace=False) + 10**16
    options = SelectionOptions(n=n, score="entropy", n_outliers=5)
    found = select(votes, cells, truth=KnownObjects(truth), options=options)
    expected = _reference(table, cell, grid.n_cells, set(truth.tolist()), options)
    assert found.chosen["INDEX"].to_list() == expected
    assert found.chosen["RANK"].to_list() == list(range(1, len(expected) + 1))
    _check_promises(found, table, truth, n)


def _check_promises(found, table, truth, n):
    chosen = found.chosen
    objects = chosen["OBJECT_ID"].to_list()
    assert len(set(objects)) == len(objects)
    in_truth = {row["OBJECT_ID"] for row in table if row["TARGETID"] in set(truth.tolist())}
    assert not in_truth & set(objects)
    assert not any(flags & int(REFUSED) for flags in chosen["FLAGS"])
    assert not any(0 <= found.counts[c] < found.least_count for c in chosen["CELL"] if c >= 0)
    left = _left(found)
    assert len(chosen) == min(n, left[Reason.IN_TRUTH]) == left[Reason.BELOW_CUT]
    assert sum(_removed(found).values()) + len(chosen) == found.n_spectra == len(table)
    assert found.histogram.sum() == left[Reason.IN_TRUTH]
    assert all(found.counts[c] < found.least_count for c in found.outliers["CELL"])
    assert not set(found.outliers["OBJECT_ID"]) & (in_truth | set(objects))


def test_steps_and_order_by_hand(tmp_path):
    counts = [
        [2, 2, 0],  # 0: 1 bit
        [4, 0, 0],  # 1: 0 bits, same object as row 0
        [2, 1, 1],  # 2: 1.5 bits, in a nearly empty cell
        [2, 1, 1],  # 3: 1.5 bits
        [2, 1, 1],  # 4: 1.5 bits, in T by target
        [1, 2, 1],  # 5: 1.5 bits, in T by object
        [2, 1, 1],  # 6: 1.5 bits, masked arm
        [3, 1, 0],  # 7: 0.81 bits
        [0, 0, 0],  # 8: nobody was asked
    ]
    with np.errstate(invalid="ignore"):
        votes = votes_of_counts(
            tmp_path / "v.parquet",
            counts,
            OBJECT_ID=np.array([1, 1, 2, 3, 4, 4, 6, 7, 8]),
            FLAGS=np.array(
                [0, 0, 0, 0, 0, 0, int(Flag.ARM_R_MASKED), 0, int(Flag.NO_DATA)], np.int32
            ),
        )
    cell = np.array([0, 0, 3, 1, 1, 1, 1, 0, -1])
    cells = write_cells(tmp_path / "c.parquet", cell, CellGrid(1, 4), votes=votes)
    # Counts 3, 4, 0, 1: the 40th percentile is 1.4, so cells 2 and 3 are outliers' cells.
    options = SelectionOptions(n=2, score="entropy", percentile=40.0, n_outliers=3)
    found = select(votes, cells, truth=KnownObjects(np.array([1004])), options=options)
    assert found.counts.tolist() == [3, 4, 0, 1]
    assert found.least_count == pytest.approx(1.4)
    assert found.chosen["INDEX"].to_list() == [3, 0]
    assert found.outliers["INDEX"].to_list() == [2]
    assert _removed(found) == {
        Reason.NO_SCORE: 1,
        Reason.FLAGGED: 1,
        Reason.OTHER_SURVEY: 0,
        Reason.EXCLUDED: 0,
        Reason.OUTLIER: 1,
        Reason.REPEAT: 2,
        Reason.IN_TRUTH: 1,
        Reason.CELL_FULL: 0,
        Reason.BELOW_CUT: 1,
    }
    assert _left(found)[Reason.BELOW_CUT] == 2
    assert found.score_cut == 1.0
    assert found.chosen["REASON"].to_list() == ["top entropy"] * 2


def test_ties_with_the_percentile_stay(tmp_path):
    votes = votes_of_counts(tmp_path / "v.parquet", [[2, 2, 0]] * 8)
    cell = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    cells = write_cells(tmp_path / "c.parquet", cell, CellGrid(2, 2), votes=votes)
    found = select(votes, cells, options=SelectionOptions(n=8))
    assert found.least_count == 2.0
    assert len(found.chosen) == 8


def test_empty_cells_count_in_the_percentile(tmp_path):
    votes = votes_of_counts(tmp_path / "v.parquet", [[2, 2, 0]] * 4)
    cells = write_cells(tmp_path / "c.parquet", [0, 0, 0, 1], CellGrid(2, 5), votes=votes)
    # Eight of ten cells are empty, so the 15th percentile is 0 and nothing lies below it.
    found = select(votes, cells, options=SelectionOptions(n=4))
    assert (found.least_count, len(found.chosen)) == (0.0, 4)


def test_spectra_far_from_their_cell_can_be_outliers_too(tmp_path):
    votes = votes_of_counts(tmp_path / "v.parquet", [[2, 2, 0]] * 5)
    distance = np.array([1.0, 2.0, 3.0, 9.0, np.nan])
    cells = write_cells(
        tmp_path / "c.parquet", [0] * 5, CellGrid(1, 1), votes=votes, distance=distance
    )
    assert len(select(votes, cells).chosen) == 5
    # Half way between the second and the third of four distances.
    found = select(votes, cells, options=SelectionOptions(far_percentile=50, n_outliers=9))
    assert found.chosen["INDEX"].to_list() == [0, 1, 4]
    assert found.outliers["INDEX"].to_list() == [2, 3]


def test_counting_objects_instead_of_spectra_moves_the_cut(tmp_path):
    votes = votes_of_counts(
        tmp_path / "v.parquet", [[2, 2, 0]] * 7, OBJECT_ID=np.array([1, 1, 1, 1, 2, 3, 4])
    )
    cells = write_cells(tmp_path / "c.parquet", [0, 0, 0, 0, 1, 1, 1], CellGrid(1, 2), votes=votes)
    by_spectrum = select(votes, cells, options=SelectionOptions(n=9, percentile=50))
    by_object = select(
        votes, cells, options=SelectionOptions(n=9, percentile=50, count_by="object")
    )
    assert by_spectrum.counts.tolist() == [4, 3]
    assert by_spectrum.chosen["OBJECT_ID"].to_list() == [1]
    assert by_object.counts.tolist() == [1, 3]
    assert by_object.chosen["OBJECT_ID"].to_list() == [2, 3, 4]
    with pytest.raises(SelectionError, match="count_by is 'tile'; known: spectrum"):
        select(votes, cells, options=SelectionOptions(count_by="tile"))


def test_ties_go_to_mutual_information_then_target_then_row(tmp_path):
    votes = votes_of_counts(
        tmp_path / "v.parquet",
        [[2, 2, 0]] * 4,
        MUTUAL_INFORMATION=np.array([0.1, 0.9, 0.1, np.nan], np.float32),
        TARGETID=np.array([50, 60, 40, 1]),
    )
    found = select(votes, options=SelectionOptions(n=4, score="entropy"))
    assert found.chosen["INDEX"].to_list() == [1, 2, 0, 3]
    assert np.isnan(found.least_count)


def test_the_coadd_stands_for_its_object_if_asked(tmp_path):
    votes = votes_of_counts(
        tmp_path / "v.parquet",
        [[4, 0, 0], [2, 2, 0], [3, 1, 0], [2, 1, 1]],
        OBJECT_ID=np.array([1, 1, 2, 2]),
    )
    cells = write_cells(
        tmp_path / "c.parquet", [0] * 4, CellGrid(1, 1), votes=votes, expid=[-1, 7, 8, 9]
    )
    by_score = select(votes, cells, options=SelectionOptions(n=5))
    assert by_score.chosen["INDEX"].to_list() == [3, 1]
    coadd = select(votes, cells, options=SelectionOptions(n=5, keep="coadd"))
    assert coadd.chosen["INDEX"].to_list() == [3, 0]  # object 2 has no coadd
    with pytest.raises(SelectionError, match="coadd"):
        select(votes, options=SelectionOptions(keep="coadd"))


def test_surveys_programs_and_exclusions(tmp_path):
    votes = votes_of_counts(
        tmp_path / "v.parquet",
        [[2, 2, 0]] * 5,
        SURVEY=["main", "sv3", "main", "main", "main"],
        PROGRAM=["dark", "dark", "bright", "dark", "dark"],
        OBJECT_ID=np.array([1, 2, 3, 4, 4]),
    )
    options = SelectionOptions(n=9, surveys=("main",), programs=("dark",))
    found = select(votes, excluded=KnownObjects(np.array([1004])), options=options)
    assert found.chosen["INDEX"].to_list() == [0]
    assert _removed(found)[Reason.OTHER_SURVEY] == 2
    assert _removed(found)[Reason.EXCLUDED] == 2  # both spectra of the object


def test_flags_can_be_allowed(tmp_path):
    flags = np.array([int(Flag.ARM_B_MASKED), int(Flag.CORRUPTED)], np.int32)
    votes = votes_of_counts(tmp_path / "v.parquet", [[2, 2, 0]] * 2, FLAGS=flags)
    assert len(select(votes).chosen) == 0
    assert np.isnan(select(votes).score_cut)
    allowed = SelectionOptions(refused=REFUSED & ~Flag.ARM_B_MASKED)
    assert select(votes, options=allowed).chosen["INDEX"].to_list() == [0]


def test_limits_per_cell_and_class(tmp_path):
    rng = np.random.default_rng(0)
    votes = write_votes(tmp_path / "v.parquet", random_votes(rng, 400))
    cells = write_cells(
        tmp_path / "c.parquet", rng.integers(0, 6, 400), CellGrid(2, 3), votes=votes
    )
    one = select(votes, cells, options=SelectionOptions(n=100, per_cell=3, percentile=0))
    assert one.chosen["CELL"].value_counts()["count"].to_list() == [3] * 6
    assert _removed(one)[Reason.CELL_FULL] + _removed(one)[Reason.BELOW_CUT] == 400 - 18
    shares = {Vote.NOT_QSO: 1, Vote.LOW_Z: 1, Vote.HIGH_Z: 1}
    even = select(votes, cells, options=SelectionOptions(n=30, class_shares=shares)).chosen
    likeliest = even.select("P_NOT_QSO", "P_LOW_Z", "P_HIGH_Z").to_numpy().argmax(axis=1)
    assert np.bincount(likeliest).tolist() == [10, 10, 10]


def test_random_share_and_proportional_draws_are_seeded(tmp_path):
    rng = np.random.default_rng(1)
    votes = write_votes(tmp_path / "v.parquet", random_votes(rng, 300))

    def picks(**options):
        return select(votes, options=SelectionOptions(n=40, **options)).chosen

    half = picks(random_share=0.5)
    assert half["REASON"].to_list() == ["top soft_entropy"] * 20 + ["random"] * 20
    assert half["INDEX"].to_list()[:20] == picks()["INDEX"].to_list()[:20]
    assert half["INDEX"].n_unique() == 40
    assert half.equals(picks(random_share=0.5))
    scouts = picks(random_share=1.0, per_cell=2)  # a first round that sees what is there
    assert scouts["REASON"].to_list() == ["random"] * 40
    assert scouts["INDEX"].n_unique() == 40
    drawn = picks(draw="proportional")["INDEX"].to_list()
    assert drawn == picks(draw="proportional")["INDEX"].to_list()
    assert drawn != picks(draw="proportional", seed=1)["INDEX"].to_list()
    assert set(picks(score="random")["INDEX"]) != set(picks(score="random", seed=1)["INDEX"])


def test_the_random_part_is_drawn_from_all_that_was_left(tmp_path):
    votes = write_votes(tmp_path / "v.parquet", random_votes(np.random.default_rng(1), 300))
    free = select(votes, options=SelectionOptions(n=1)).n_drawn_from + 1
    part = select(votes, options=SelectionOptions(n=40, random_share=0.3))
    assert (part.chosen["REASON"] == "random").sum() == 12
    assert part.n_drawn_from == free - 28
    everything = select(votes, options=SelectionOptions(n=40, score="random", per_cell=None))
    assert everything.n_drawn_from == free
    assert set(everything.chosen["REASON"]) == {"random"}
    by_cells = select(votes, options=SelectionOptions(n=40, score="random", per_cell=2))
    assert set(by_cells.chosen["REASON"]) == {"top random"}  # limits make it no fair sample


def test_spreading_needs_features_and_uses_them(tmp_path):
    votes = votes_of_counts(tmp_path / "v.parquet", [[2, 2, 0]] * 6)
    with pytest.raises(SelectionError, match="flux"):
        select(votes, options=SelectionOptions(spread=True))
    with pytest.raises(SelectionError, match="not both"):
        SelectionOptions(spread=True, per_cell=2)
    place = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 9.0])[:, None]
    found = select(
        votes,
        options=SelectionOptions(n=3, spread=True),
        features=lambda rows: place[rows["ROW"].to_numpy()],
    )
    assert set(found.chosen["INDEX"]) == {0, 3, 5}


def test_votes_of_another_store_are_refused(tmp_path):
    votes = votes_of_counts(tmp_path / "v.parquet", [[2, 2, 0]] * 3)
    other = votes_of_counts(tmp_path / "o.parquet", [[2, 2, 0]] * 3, SHARD=["zz"] * 3)
    fewer = votes_of_counts(tmp_path / "f.parquet", [[2, 2, 0]] * 2)
    cells = write_cells(tmp_path / "c.parquet", [0, 0, 0], CellGrid(1, 1), votes=votes)
    for wrong in (other, fewer):
        with pytest.raises(SelectionError, match="not of the same store"):
            select(wrong, cells)


def test_broken_votes_and_lists_are_named(tmp_path):
    bad = tmp_path / "bad.parquet"
    bad.write_text("x")
    with pytest.raises(DataFormatError, match=r"bad\.parquet"):
        read_votes_table(bad)
    votes_of_counts(tmp_path / "v.parquet", [[2, 2, 0]]).frame.drop(
        "ENTROPY"
    ).collect().write_parquet(tmp_path / "less.parquet")
    with pytest.raises(DataFormatError, match="ENTROPY"):
        read_votes_table(tmp_path / "less.parquet")
    (tmp_path / "ids.txt").write_text("# seen before\n39633333333333333\n\n12  # twice\n12\n")
    (tmp_path / "ids.csv").write_text("Z,TARGETID\n0.1,7\n")
    ids = read_target_ids([tmp_path / "ids.txt", tmp_path / "ids.csv"])
    assert ids.tolist() == [7, 12, 39633333333333333]
    # As spreadsheets write them.
    (tmp_path / "bom.csv").write_text('\ufeffTARGETID,"Z"\n9,"1,5"\n')
    (tmp_path / "quoted.csv").write_text('"TARGETID"\n"8"\n')
    assert read_target_ids([tmp_path / "bom.csv", tmp_path / "quoted.csv"]).tolist() == [8, 9]
    (tmp_path / "long.txt").write_text("9223372036854775808\n")
    with pytest.raises(DataFormatError, match=r"long\.txt, line 1"):
        read_target_ids([tmp_path / "long.txt"])
    (tmp_path / "wrong.txt").write_text("12\nquasar\n")
    with pytest.raises(DataFormatError, match="line 2"):
        read_target_ids([tmp_path / "wrong.txt"])
    with pytest.raises(DataFormatError, match=r"gone\.csv"):
        read_target_ids([tmp_path / "gone.csv"])


def test_the_default_is_the_score_the_page_recommends(tmp_path):
    rng = np.random.default_rng(2)
    votes = write_votes(tmp_path / "v.parquet", random_votes(rng, 100))
    found = select(votes, options=SelectionOptions(n=5)).chosen
    highest = np.sort(votes.frame.collect()["SOFT_ENTROPY"].to_numpy())[::-1][:5]
    assert found["SCORE"].to_list() == highest.tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0},
        {"per_cell": 0},
        {"random_share": 1.5},
        {"percentile": -1},
        {"draw": "best"},
        {"keep": "first"},
        {"n_outliers": -1},
        {"far_percentile": 101},
    ],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(SelectionError):
        SelectionOptions(**wrong)
