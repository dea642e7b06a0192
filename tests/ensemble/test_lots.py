"""Tasks of a vote: whole shards that workers write, and the pieces of long ones."""

import pickle
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from quasarloop.ensemble.options import VoteOptions
from quasarloop.ensemble.pieces import PIECE_ROWS, cut_lots, cut_pieces, piece_rows_on
from quasarloop.ensemble.vote import Voters, vote_rule


def _paths(n):
    return [Path(f"{i:04d}.parquet") for i in range(n)]


@given(
    st.lists(st.one_of(st.integers(0, 1500), st.integers(8000, 9500)), max_size=25),
    st.sampled_from(["cpu", "cuda"]),
)
def test_every_piece_is_in_one_task_and_shards_are_whole_unless_they_are_long(n_rows, device):
    most = piece_rows_on(device)
    pieces = cut_pieces(_paths(len(n_rows)), n_rows, most)
    assert max(map(len, pieces), default=0) <= most
    lots = cut_lots(pieces)
    assert [piece for lot in lots for piece in lot.pieces] == pieces
    for lot in lots:
        parts = [part for piece in lot.pieces for part in piece.parts]
        if lot.whole:
            assert parts[0].first == 0
            assert parts[-1].stop == parts[-1].n_shard_rows
            assert max(part.n_shard_rows for part in parts) <= 8192
        else:
            assert len(lot.pieces) == 1


def test_a_large_store_has_larger_tasks_not_more():
    for n_shards in (10, 10_000, 30_000):
        lots = cut_lots(cut_pieces(_paths(n_shards), [4096] * n_shards))
        assert len(lots) <= 20_000
        assert min(map(len, lots)) >= PIECE_ROWS
    assert len(lots) == 15_000


def test_pieces_of_a_gpu_fill_two_of_its_blocks_and_short_shards_go_together():
    pieces = cut_pieces(_paths(4), [4096, 4096, 20_000, 100], piece_rows_on("mps"))
    assert [len(piece) for piece in pieces] == [8192, 8192, 8192, 3616 + 100]
    lots = cut_lots(pieces)
    assert [(len(lot), lot.whole) for lot in lots] == [
        (8192, True),
        *((n, False) for n in (8192, 8192, 3716)),
    ]


def test_tasks_are_named_by_their_shards_and_rows():
    pieces = cut_pieces(_paths(4), [200, 200, 300, 600])
    joined = "shards 0000 to 0001"
    alone = [
        "shard 0002, rows 0 to 299",
        "shard 0003, rows 0 to 511",
        "shard 0003, rows 512 to 599",
    ]
    assert [piece.name() for piece in pieces] == [joined, *alone]
    names = [lot.name() for lot in cut_lots(pieces)]
    assert names == [f"{joined} to {alone[0]}", f"{alone[1]} to {alone[2]}"]


def test_networks_go_to_workers_as_the_names_of_their_files(ensemble):
    voters = Voters(ensemble, "cpu", vote_rule(ensemble, VoteOptions()), keep_members=False)
    sent = pickle.dumps(voters)
    assert len(sent) < sum(path.stat().st_size for path in ensemble.members) / 10
    assert len(pickle.loads(sent).members) == len(ensemble)
