"""A round's objects are ranked anew as `rerank` ranks them, by heads on T and the labels so far."""

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
import torch
from tests.inspect.conftest import PASSWORD, Server
from typer.testing import CliRunner

from quasarloop.campaign.config import (
    CampaignOptions,
    DataSection,
    EnsembleSection,
    InspectionSection,
)
from quasarloop.campaign.config_file import write_config
from quasarloop.campaign.inspection import live_ranker
from quasarloop.campaign.layout import LEDGER, Stream, seed_number
from quasarloop.campaign.ledger import new_ledger, write_ledger
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.selection import WORKLIST_NAME
from quasarloop.cli import app
from quasarloop.ensemble.features import make_features
from quasarloop.errors import CampaignError, InspectionError, SelectionError
from quasarloop.inspect.database import open_database
from quasarloop.inspect.exchange import import_merged
from quasarloop.inspect.live import LiveQueue
from quasarloop.inspect.people import invite, join
from quasarloop.inspect.tables import Item
from quasarloop.labels.merge import from_truth
from quasarloop.network.model import LineFinder
from quasarloop.network.weights import from_module, write_weights
from quasarloop.query.options import SelectionOptions
from quasarloop.query.rerank import rerank
from quasarloop.store import open_store
from quasarloop.truth import SpecType, TruthTable, join_truth

sys.path.insert(0, str(Path(__file__).parents[1] / "ensemble"))
import ensemble_fakes as fakes

SKY = fakes.small_sky(90, seed=2)  # the pool's: TARGETIDs from 2000
BY_SCORE, AT_RANDOM, OUTLIERS = np.arange(2002, 2032), np.arange(2040, 2048), np.array([2050])


def labels_of(target_id):
    rows = target_id - 2000
    return TruthTable.make(target_id, SKY.spectype[rows], SKY.z[rows])


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """A campaign whose first round waits for people, on a small pool and a small first T."""
    folder = tmp_path_factory.mktemp("live") / "campaign"
    options = CampaignOptions(
        data=DataSection(unlabelled=("pool",), labelled=("first",), truth=("first.csv",)),
        ensemble=EnsembleSection(start="small.h5"),
        inspection=InspectionSection(by="people", inspectors=1),
    )
    context = Context(folder, options, 1)
    selection = context.step_folder("selection")
    for place in (selection, context.step_folder("ingest")):
        place.mkdir(parents=True)
    write_config(folder, options)
    weights = from_module(LineFinder(fakes.SMALL_NETWORK, torch.Generator().manual_seed(1)))
    write_weights(weights, folder / "small.h5")
    fakes.small_store(context.store_folder("pool"), (0, 90))
    fakes.small_store(context.store_folder("labelled"), (40,))
    first = fakes.small_sky(40, seed=1)
    truth = TruthTable.make(np.arange(40) + 1000, first.spectype, first.z)
    write_ledger(new_ledger(truth), context.step_folder("ingest") / LEDGER)
    chosen = np.concatenate([BY_SCORE, AT_RANDOM])
    reasons = ["top entropy"] * len(BY_SCORE) + ["random"] * len(AT_RANDOM)
    frame = pl.DataFrame({"TARGETID": chosen, "OBJECT_ID": chosen, "REASON": reasons})
    frame.write_parquet(selection / "selection.parquet")
    outliers = {"TARGETID": OUTLIERS, "OBJECT_ID": OUTLIERS, "REASON": ["outlier"]}
    pl.DataFrame(outliers).write_parquet(selection / "outliers.parquet")
    worklist = [str(target) for target in (*chosen, *OUTLIERS)]
    (selection / WORKLIST_NAME).write_text(json.dumps(worklist), encoding="utf-8")
    return context, weights, truth


def expected(waiting, labels):
    """The same by `rerank` over the whole pool."""
    context, weights, truth = waiting
    pool, first = (
        make_features(weights, open_store(context.store_folder(name)))
        for name in ("pool", "labelled")
    )
    score = context.config.of_round(1).selection.score
    options = SelectionOptions(n=90, score=score)
    seed = seed_number(context, Stream.ENSEMBLE)
    known = join_truth([truth, labels])
    chosen = rerank(pool, known, labelled=[first], options=options, seed=seed).chosen
    return [target for target in chosen["TARGETID"].to_list() if target in BY_SCORE]


def test_ranks_are_those_of_rerank_and_follow_the_labels(waiting):
    ranker = live_ranker(waiting[0].folder)
    few, more = labels_of(BY_SCORE[:2]), labels_of(np.concatenate([BY_SCORE[:12], OUTLIERS]))
    found = [target for target, _ in ranker(few)]
    assert found == expected(waiting, few)
    assert set(found) == set(BY_SCORE[2:])  # drawn at random, outliers, labelled: not ranked
    after = ranker(more)
    assert [target for target, _ in after] == expected(waiting, more)
    assert [target for target, _ in after] != [t for t in found if t in BY_SCORE[12:]]
    assert sorted(after, key=lambda pair: -pair[1]) == after
    foreign = replace(labels_of(BY_SCORE[:1]), target_id=np.array([7]))
    assert ranker(join_truth([few, foreign])) == ranker(few)


def test_the_queue_of_the_page_is_ranked_by_it(waiting, tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'labels.db'}")
    every = np.concatenate([BY_SCORE, AT_RANDOM, OUTLIERS]).tolist()
    labels = labels_of(BY_SCORE[:6])
    with database.write() as session:
        session.add_all(
            Item(target_id=target, rank=rank, source="", row=-1, predictions={"score": 0.5})
            for rank, target in enumerate(every)
        )
        session.flush()
        import_merged(session, from_truth(labels), "vi-team")
    queue = LiveQueue(database, live_ranker(waiting[0].folder), after=6)
    try:
        assert queue.look()
        with database.read() as session:
            ranked = session.scalars(sa.select(Item.target_id).order_by(Item.rank)).all()
    finally:
        queue.close()
        database.close()
    begun, rest = every[:6], every[len(BY_SCORE) :]
    assert ranked == [*begun, *expected(waiting, labels), *rest]


@pytest.mark.parametrize("options", [[], ["--live"]])
def test_a_campaign_is_served_without_torch(waiting, tmp_path, options):
    if not Path("/proc/self/maps").exists():
        pytest.skip("what a process has loaded is looked up in /proc, which is not here")
    server = Server(f"sqlite:///{tmp_path / 'labels.db'}", [], tmp_path / "server.log")
    server.command += ["--campaign", str(waiting[0].folder), *options]
    try:
        server.start()
        loaded = Path(f"/proc/{server.process.pid}/maps").read_text(encoding="utf-8")
    finally:
        server.stop()
    assert "libarrow" in loaded  # of the store
    assert "libtorch" not in loaded, "seconds of every start"


@pytest.mark.slow
def test_the_command_serves_a_queue_that_follows_the_labels(waiting, tmp_path):
    url, folder = f"sqlite:///{tmp_path / 'labels.db'}", waiting[0].folder
    database = open_database(url)
    with database.write() as session:
        join(session, invite(session, "ada", "inspector"), PASSWORD)
    database.close()
    server = Server(url, [], tmp_path / "server.log")
    server.command += ["--campaign", str(folder), "--live", "--live-after", "8"]
    labels = labels_of(BY_SCORE[:8])
    try:
        server.start()
        with httpx.Client(base_url=server.url, timeout=None) as page:
            csrf = re.search(r'name="csrf" content="(\w+)"', page.get("/login").text)[1]
            page.post("/login", data={"csrf_token": csrf, "name": "ada", "password": PASSWORD})
            page.headers["X-CSRF-Token"] = page.get("/api/me").json()["csrf"]

            def shown():
                objects = page.get("/api/list?state=all").json()["objects"]
                return [int(one["target_id"]) for one in objects]

            every = shown()
            assert every == [*BY_SCORE, *AT_RANDOM, *OUTLIERS]
            for row, target in enumerate(labels.target_id):
                kind, z = SpecType(int(labels.spectype[row])).word, float(labels.z[row])
                save = {"verdict": {"spectype": kind, "z": z, "quality": 4}, "base_version": 0}
                path = f"/api/objects/{target}/label"
                assert page.put(path, json=save | {"save_id": f"save-of-{target}"}).is_success
            end = time.monotonic() + 300
            while shown() == every:
                assert time.monotonic() < end, server.log.read_text(encoding="utf-8")
                time.sleep(0.2)
            assert shown() == [*every[:8], *expected(waiting, labels), *every[len(BY_SCORE) :]]
    finally:
        server.stop()


def test_what_cannot_be_ranked_is_refused(waiting, tmp_path):
    context, weights, _ = waiting
    pool = make_features(weights, open_store(context.store_folder("pool")))
    with pytest.raises(SelectionError, match="none of the objects to rank"):
        rerank(pool, labels_of(BY_SCORE[:8]), targets=np.array([7]))
    with pytest.raises(InspectionError, match="give its folder: --campaign"):
        CliRunner().invoke(app, ["inspect", "serve", "--live"], catch_exceptions=False)
    other = Context(tmp_path, context.config, 1)
    selection = other.step_folder("selection")
    selection.mkdir(parents=True)
    write_config(tmp_path, context.config)
    frame = pl.read_parquet(context.step_folder("selection") / "selection.parquet")
    frame.filter(REASON="random").write_parquet(selection / "selection.parquet")
    with pytest.raises(CampaignError, match="all objects of this round were drawn at random"):
        live_ranker(tmp_path)
    whole = EnsembleSection(kind="networks", start="")
    write_config(tmp_path, replace(context.config, ensemble=whole))
    with pytest.raises(CampaignError, match="whole networks vote"):
        live_ranker(tmp_path)
