"""Cascade voting: few members are asked first, and most spectra need no more.

Only the most confused spectra matter to a query. After every stage the members asked so far
forecast what the whole ensemble would say (`forecast`); spectra whose chance to reach the
entropy of the present K-th is negligible, all together, are dropped.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from quasarloop.engine import Engine, open_session
from quasarloop.ensemble.cascade_asks import CHUNK_ROWS, Answers, answer
from quasarloop.ensemble.cascade_run import CascadeRun
from quasarloop.ensemble.manifest import Ensemble
from quasarloop.ensemble.options import CascadeOptions, VoteOptions
from quasarloop.ensemble.pieces import cut_pieces, read_piece
from quasarloop.ensemble.vote import load_voters, on_device, vote_rule
from quasarloop.ensemble.votes_folder import MANIFEST, Votes, VotesWriter, open_votes, piece_votes
from quasarloop.store import Store

__all__ = ["CascadeOptions", "cascade_vote"]

_ANSWERS: Final = "answers"

OnStep = Callable[[str, int, int], None]


def cascade_vote(
    ensemble: Ensemble,
    store: Store,
    out: str | Path,
    *,
    cascade: CascadeOptions | None = None,
    options: VoteOptions | None = None,
    engine: Engine | None = None,
    on_step: OnStep | None = None,
) -> Votes:
    """Find the most confused spectra of a store with a part of the work, and write the votes.

    Every spectrum gets its row; ``N_ASKED`` says how many members its numbers come from. No
    spectrum asked of some members only ranks among the first ``top_k``. The manifest reports
    work, expected loss and audit under ``cascade_report``. Killed and started again, it goes on;
    the bytes are the same for any number of workers.

    Args:
        ensemble: the members.
        store: the spectra.
        out: folder of the votes.
        cascade: how to ask.
        options: thresholds, and what to keep.
        engine: where to run.
        on_step: called with a step's name, questions answered and questions in all (one
            question: one member, one spectrum).

    Raises:
        GridError, OutputError, TaskError: as `vote`.
    """
    chosen, how = on_device(options or VoteOptions(), engine), cascade or CascadeOptions()
    folder, rule = Path(out), vote_rule(ensemble, chosen)
    writer = VotesWriter.start(
        ensemble,
        store,
        folder,
        rule,
        keep_members=chosen.keep_members,
        device=chosen.device,
        cascade=asdict(how),
    )
    chunks = cut_pieces(writer.shards, writer.n_rows, CHUNK_ROWS)
    if (folder / MANIFEST).exists() and not writer.missing(chunks):
        return open_votes(folder)
    voters = load_voters(ensemble, chosen, rule)
    with open_session(answer, engine=engine, shared=voters) as session:
        answers = Answers(
            folder / _ANSWERS,
            chunks,
            len(ensemble),
            ensemble.config.n_lines,
            session,
            on_step or (lambda name, done, total: None),
        )
        report = CascadeRun(answers, how, rule.decision, len(ensemble)).find()
    for chunk in chunks:
        rows = read_piece(chunk, with_flux=False)
        votes_on_chunk = piece_votes(
            chunk,
            rows.keys,
            rows.flags,
            answers.finds(chunk.number),
            rule,
            ensemble.config.lines,
            keep_members=chosen.keep_members,
        )
        writer.take(chunk, votes_on_chunk)
    votes = writer.finish(cascade_report=report)
    shutil.rmtree(answers.folder, ignore_errors=True)
    return votes
