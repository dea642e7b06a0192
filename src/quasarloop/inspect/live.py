"""The live queue: what nobody has begun is ranked anew as final labels come in.

Ranking takes a process of its own, so that saves need not wait for it. Only the order changes:
no object comes or goes, and what somebody has begun stays where it is. Every rank is kept.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from quasarloop.artefacts import check_output
from quasarloop.engine.processes import ProcessPool
from quasarloop.errors import InspectionError, QuasarloopError
from quasarloop.inspect import LIVE_AFTER
from quasarloop.inspect.database import Database, now, open_database, setting
from quasarloop.inspect.results import final_labels, results
from quasarloop.inspect.tables import Assignment, Decision, Event, Item, Label, Ranking
from quasarloop.labels.merge import to_truth
from quasarloop.tables import write_table
from quasarloop.truth import TruthTable

__all__ = ["LiveQueue", "Ranker", "export_ranks", "put_ranks"]

_LOG: Final = logging.getLogger(__name__)
# Between two looks for new labels. Source: our choice; one query of a millisecond.
_EVERY_S: Final = 5.0
_NICE: Final = 5  # other processes go first

# Final labels so far -> TARGETID and score of the objects that may be ranked, best first.
Ranker = Callable[[TruthTable], Sequence[tuple[int, float]]]


class LiveQueue:
    """Looks for new final labels, and has a process rank anew after every so many.

    A ranking that fails is logged, and the queue stays as it is; the next is tried after as many
    labels again.

    Args:
        database: the campaign's.
        rank: may be sent to another process.
        after: final labels between two rankings.
    """

    def __init__(self, database: Database, rank: Ranker, after: int = LIVE_AFTER) -> None:
        self._database, self._after = database, after
        self._work = (database.engine.url.render_as_string(hide_password=False), rank)
        self._pool = ProcessPool(1)
        self._seen: tuple[int | None, ...] | None = None
        self._tried = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live queue", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End the process, at whatever it is."""
        self._stop.set()
        while self._thread.is_alive():
            self._pool.interrupt()
            self._thread.join(1)
        self._pool.close()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            try:
                self.look()
            except QuasarloopError as exc:
                self._report(str(exc))

    def look(self) -> bool:
        """Rank anew if enough labels are new; return whether that was done."""
        with self._database.read() as session:
            newest = tuple(
                session.scalar(sa.select(sa.func.max(of.id))) for of in (Label, Decision)
            )
            ranked_by = session.scalar(sa.select(sa.func.max(Ranking.n_labels))) or 0
        if newest == self._seen:
            return False
        n_labels = self._in_process(ranks=False)
        self._seen = newest
        if n_labels is None or n_labels - max(self._tried, ranked_by) < self._after:
            return False
        self._tried = n_labels
        n_ranked = self._in_process(ranks=True)
        if n_ranked is not None:
            _LOG.info("live queue: %d objects ranked by %d labels", n_ranked, n_labels)
        return n_ranked is not None

    def _in_process(self, *, ranks: bool) -> int | None:
        """Return the number of final labels, or of objects ranked; None if it failed."""
        if self._pool.loaded is None:
            self._pool.load(_count_or_rank, self._work)
            self._pool.loaded = self._work
        outcome = next(iter(self._pool.run([ranks], deque([0]))))
        if outcome.error is None:
            return int(outcome.result)
        self._report(outcome.error)
        return None

    def _report(self, error: str) -> None:
        if not self._stop.is_set():
            _LOG.error("the live queue stays as it is: %s", error)


@cache
def _opened(url: str) -> Database:
    with suppress(OSError):
        os.nice(max(0, _NICE - os.nice(0)))
    return open_database(url)


def _count_or_rank(ranks: bool, work: tuple[str, Ranker]) -> int:
    """In the process: count the final labels, or rank by them."""
    url, rank = work
    database = _opened(url)
    with database.read() as session:
        final, title = final_labels(results(session)), setting(session, "title")
    if not ranks:
        return len(final)
    ranked = rank(to_truth(final, title))
    with database.write() as session:
        return put_ranks(session, ranked, len(final))


def put_ranks(session: Session, ranked: Sequence[tuple[int, float]], n_labels: int) -> int:
    """Give objects that nobody has begun their new order, in the places that they have together.

    Args:
        session: to write with; all is kept, or nothing.
        ranked: TARGETID and score, best first; objects that are not in it keep their places.
        n_labels: final labels that the scores are made from.

    Returns:
        How many objects were ranked.
    """
    # PostgreSQL: saves that begin an object wait until its place is known. SQLite has one writer.
    session.execute(sa.select(Assignment.id).with_for_update())
    begun = sa.select(Assignment.item_id).where(
        sa.or_(Assignment.version > 0, Assignment.state == "skipped")
    )
    untouched = sa.select(Item).where(Item.decision_version == 0, Item.id.not_in(begun))
    items = {item.target_id: item for item in session.scalars(untouched)}
    order = [(items[target], score) for target, score in ranked if target in items]
    known, at = set(session.scalars(sa.select(Ranking.item_id))), now()
    for item, _ in order:
        if item.id not in known:
            first = item.predictions.get("score")
            session.add(Ranking(item_id=item.id, at=at, n_labels=0, score=first, rank=item.rank))
    places = sorted(item.rank for item, _ in order)
    for (item, score), place in zip(order, places, strict=True):
        item.rank = place
        session.add(Ranking(item_id=item.id, at=at, n_labels=n_labels, score=score, rank=item.rank))
    detail = f"{len(order)} objects ranked by {n_labels} labels"
    session.add(Event(at=at, kind="rank", detail=detail))
    session.flush()
    return len(order)


def export_ranks(session: Session, path: str | Path, *, overwrite: bool = False) -> int:
    """Write every rank that the live queue gave and found, oldest first; return their number.

    Args:
        session: to read with.
        path: .csv, .fits or .parquet: TARGETID, AT (UTC), N_LABELS (0: as the worklist had it),
            SCORE, RANK (from 1).
        overwrite: replace an existing file.

    Raises:
        InspectionError: nothing was ranked anew.
        OutputError: the file exists or cannot be written.
    """
    import polars as pl  # noqa: PLC0415 -- the page starts without

    target = check_output(path, overwrite=overwrite)
    columns = (Item.target_id, Ranking.at, Ranking.n_labels, Ranking.score, Ranking.rank + 1)
    query = sa.select(*columns).join(Item, Item.id == Ranking.item_id).order_by(Ranking.id)
    rows = [tuple(row) for row in session.execute(query)]
    if not rows:
        raise InspectionError("no object was ranked anew: the page was not served with --live")
    schema = {
        "TARGETID": int,
        "AT": str,
        "N_LABELS": int,
        "SCORE": float,
        "RANK": int,
    }
    write_table(pl.DataFrame(rows, schema, orient="row"), target)
    return len(rows)
