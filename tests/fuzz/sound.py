"""Sound inputs of many commands, made from small simulated files, and which file each reads."""

import json
import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from typer.testing import CliRunner

from quasarloop.cli import app

N_OBJECTS = 8
VI = "TARGETID,VI_scanner,VI_quality,VI_issue,VI_z,VI_spectype,VI_comment\n"
POPULATION = """[quasars]
weight = 0.5
bal_fraction = 0.1
[quasars.redshift]
knots = [0.5, 2.0, 3.5]
[galaxies]
weight = 0.2
[stars]
weight = 0.3
[observing]
exposures = 1
"""
_CLASSIFY = "classify {} --out out.parquet"
_SELECT = "select --votes votes --som map.cells.parquet --truth truth.csv --store store --n 4 "
_SELECT += "--outliers 1 --percentile 5 --out chosen"
_VOTE = "ensemble vote --ensemble ensemble --store store --out new"
_TRAIN = "train --store store --truth {} --out t.h5 --from w.h5 --epochs 1 --validation 0.5"
_EVALUATE = "evaluate --catalogue {} --truth {} --out judged"
_QSOCAT = "qsocat desi redrock-0.fits --qn-dir . --mgii none --out all.fits"
_AFTER = "afterburner --coadd coadd-0.fits --redrock redrock-0.fits --output qn.fits --rerun later"


@dataclass(frozen=True)
class Target:
    """A command, and the file among its inputs that is to be damaged."""

    command: str
    file: str
    values: bool = False  # its catalogue out.parquet is held against that of the sound file

    @property
    def kind(self) -> str:
        """What mutations its bytes understand."""
        return {"cells.parquet": "parquet"}.get(self.file, self.file.rsplit(".", 1)[-1])


TARGETS = (
    *(Target(_CLASSIFY.format(f), f, values=True) for f in ("coadd-0.fits", "coadd.fits.gz")),
    Target(_CLASSIFY.format("spec.fits"), "spec.fits", values=True),
    Target(_CLASSIFY.format("store"), "store/shards/{shard}.parquet", values=True),
    Target("classify spec.fits --out out.csv --weights w.h5", "w.h5"),
    Target("ingest coadd-0.fits --store fresh", "coadd-0.fits"),
    Target("ingest spec.fits coadd.fits.gz --store fresh", "coadd.fits.gz"),
    Target("ingest spec.fits --store store", "store/store.json"),
    Target("ingest coadd-0.fits --store store", "store/index.jsonl"),
    Target(_TRAIN.format("truth.csv"), "truth.csv"),
    Target(_TRAIN.format("truth.fits"), "truth.fits"),
    Target(_TRAIN.format("truth.csv"), "w.h5"),
    Target(_VOTE, "store/shards/{shard}.parquet"),
    Target(_VOTE, "ensemble/ensemble.json"),
    Target(_VOTE, "ensemble/members/0001.h5"),
    Target("ensemble info ensemble", "ensemble/ensemble.json"),
    Target("som fit store --out new.npz --rows 2 --columns 3 --epochs 2",
           "store/shards/{shard}.parquet"),
    Target("som fit store --out new.npz --rows 2 --columns 3 --epochs 2", "store/store.json"),
    Target("som assign map.npz store --out new.cells.parquet", "map.npz"),
    Target("som plot map.npz --out drawn", "map.cells.parquet"),
    Target(_SELECT, "votes/{shard}.parquet"),
    Target(_SELECT, "votes/votes.json"),
    Target(_SELECT, "map.cells.parquet"),
    Target(_SELECT + " --exclude ids.csv", "ids.csv"),
    Target("select --votes votes.parquet --n 2 --out chosen", "votes.parquet"),
    *(Target(_EVALUATE.format(f, "truth.csv"), f) for f in
      ("cat.csv", "cat.fits", "cat.parquet", "cat.ecsv")),
    Target(_EVALUATE.format("cat.csv", "truth.csv"), "truth.csv"),
    Target(_EVALUATE.format("cat.csv", "vi.csv"), "vi.csv"),
    Target("evaluate repeats --catalogue cat.csv --out again", "cat.csv"),
    Target("evaluate compare --a cat.csv --b cat.fits --out both", "cat.fits"),
    Target("evaluate oscillation --catalogue cat.parquet --out waves", "cat.parquet"),
    Target("weights info w.h5", "w.h5"),
    Target("weights convert w.h5 safe.h5", "w.h5"),
    Target("labels import vi.csv --db sqlite:///new.db", "vi.csv"),
    Target("labels import merged.csv --db sqlite:///new.db", "merged.csv"),
    Target("labels import merged.fits --db sqlite:///new.db", "merged.fits"),
    Target("labels import vi.csv --db sqlite:///labels.db", "labels.db"),
    Target("labels status --db sqlite:///labels.db", "labels.db"),
    Target("labels export new.csv --at-least 1 --db sqlite:///labels.db", "labels.db"),
    Target("inspect assign --db sqlite:///labels.db", "labels.db"),
    Target("simulate --out sky --objects 2 --population sky.toml", "sky.toml"),
    Target("simulate --out sky --objects 2 --noise-from coadd-0.fits", "coadd-0.fits"),
    Target(_AFTER, "coadd-0.fits"),
    Target(_AFTER, "redrock-0.fits"),
    Target("qsocat mgii --coadd coadd-0.fits --redrock redrock-0.fits --out mgii.fits",
           "redrock-0.fits"),
    Target(_QSOCAT, "redrock-0.fits"),
    Target(_QSOCAT, "qso_qn-0.fits"),
    Target("qsocat network spec.fits --out all.fits", "spec.fits"),
    Target("campaign status campaign", "campaign/campaign.toml"),
    Target("campaign status campaign", "campaign/rounds/01/{step}/manifest.json"),
    Target("campaign run campaign", "campaign/rounds/01/{step}/manifest.json"),
    Target("campaign verify campaign", "campaign/rounds/01/{step}/manifest.json"),
)  # fmt: skip
STEPS = ("truth", "evaluation", "map", "ingest", "votes")


def run(words: str) -> None:
    """Run a command that has to end well."""
    done = CliRunner().invoke(app, words.split())
    if done.exit_code:
        raise RuntimeError(f"{words}: {done.output}") from done.exception


def make_sound(folder: Path, *, campaign: bool) -> None:
    """Write every sound input into a folder; the campaign takes half of the time."""
    folder.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        _make(campaign)
    finally:
        os.chdir(before)


def _make(campaign: bool) -> None:
    Path("sky.toml").write_text(POPULATION)
    run(f"simulate --out made --objects {N_OBJECTS} --seed 5 --population sky.toml")
    run("simulate --out sdss --objects 1 --format sdss --seed 6 --population sky.toml")
    (coadd,) = Path("made").rglob("coadd-*.fits")
    (redrock,) = Path("made").rglob("redrock-*.fits")
    (spec,) = Path("sdss").rglob("spec-*.fits")
    for source, name in ((coadd, "coadd-0.fits"), (redrock, "redrock-0.fits"), (spec, "spec.fits")):
        shutil.copyfile(source, name)
    _gzip("coadd-0.fits", "coadd.fits.gz")
    truth = pl.read_csv("made/truth.csv").select("TARGETID", "SPECTYPE", "Z", "QUALITY", "IS_BAL")
    truth.write_csv("truth.csv")
    shutil.copyfile("made/truth.fits", "truth.fits")
    _labels(truth)
    run("ingest coadd-0.fits --store store")
    run("ensemble train --store store --truth truth.csv --out ensemble --networks 2 --epochs 1 "
        "--filters 2 --batch-size 4")  # fmt: skip
    shutil.copyfile("ensemble/members/0000.h5", "w.h5")
    run("ensemble vote --ensemble ensemble --store store --out votes")
    (votes,) = Path("votes").glob("*.parquet")
    shutil.copyfile(votes, "votes.parquet")
    run("som fit store --out map.npz --rows 2 --columns 3 --epochs 2")
    for kind in ("csv", "fits", "parquet", "ecsv"):
        run(f"classify coadd-0.fits --out cat.{kind}")
    run("afterburner --coadd coadd-0.fits --redrock redrock-0.fits --output qso_qn-0.fits "
        "--rerun later")  # fmt: skip
    run("labels import vi.csv --db sqlite:///labels.db")
    run("labels import merged.csv --db sqlite:///labels.db")
    with sqlite3.connect("labels.db") as opened:
        opened.execute("PRAGMA journal_mode=DELETE")
    opened.close()
    if campaign:
        _campaign()
    shutil.rmtree("made")
    shutil.rmtree("sdss")


def _gzip(source: str, target: str) -> None:
    import gzip

    Path(target).write_bytes(gzip.compress(Path(source).read_bytes(), compresslevel=1, mtime=0))


def _labels(truth: pl.DataFrame) -> None:
    ids = truth["TARGETID"].to_list()
    Path("ids.csv").write_text("TARGETID,WHY\n" + "".join(f"{i},seen\n" for i in ids[:2]))
    rows = [
        f"{i},{who},4,,{z:.4f},{kind},good\n"
        for i, kind, z in truth.select("TARGETID", "SPECTYPE", "Z").iter_rows()
        for who in ("ada", "ben")
    ]
    Path("vi.csv").write_text(VI + "".join(row for row in rows if ",ada," in row))
    from quasarloop.labels.merge import Merged, write_merged
    from quasarloop.truth import SpecType

    merged = {
        i: Merged(SpecType.from_word(kind), z, 4.0, None, "", "fine", 2, "good")
        for i, kind, z in truth.select("TARGETID", "SPECTYPE", "Z").head(4).iter_rows()
    }
    write_merged(merged, "merged.csv")
    write_merged(merged, "merged.fits")


def _campaign() -> None:
    from quasarloop.campaign import config as sections
    from quasarloop.campaign.config_file import write_config

    run("simulate --out sky/pool --objects 40 --seed 7")
    run("simulate --out sky/first --objects 24 --seed 8")
    run("simulate --out sky/test --objects 16 --seed 9")
    Path("campaign").mkdir()
    options = sections.CampaignOptions(
        rounds=1,
        data=sections.DataSection(
            unlabelled=("../sky/pool",),
            labelled=("../sky/first",),
            truth=("../sky/first/truth.csv",),
        ),
        ensemble=sections.EnsembleSection(networks=2, epochs=1, learning_rate=1e-3, filters=2),
        map=sections.MapSection(rows=2, columns=2, epochs=2),
        selection=sections.SelectionSection(n=(4,), n_outliers=1),
        inspection=sections.InspectionSection(
            oracle=sections.OracleSection(truth=("../sky/pool/truth.csv",)), by="oracle"
        ),
        training=sections.TrainingSection(epochs=1, filters=2),
        evaluation=sections.EvaluationSection(
            test=("../sky/test",), test_truth=("../sky/test/truth.csv",), bootstraps=1
        ),
    )
    write_config(Path("campaign"), options)
    run("campaign run campaign")


def place(sound: Path, folder: Path, target: Target, rng: np.random.Generator) -> Path:
    """Lay a case's inputs out (links, but copies of what a command changes); return its file."""
    wanted = {word.partition("/")[0] for word in target.command.replace(",", " ").split()}
    wanted |= {target.file.partition("/")[0], "ensemble", "qso_qn-0.fits", "labels.db"}
    needs_sky = "campaign" in wanted
    for entry in sorted(sound.iterdir()):
        if not (entry.name in wanted or (needs_sky and entry.name == "sky")):
            continue
        changes = entry.name in ("labels.db", "campaign", "store")
        copy = shutil.copyfile if changes else os.link
        if entry.is_dir():
            shutil.copytree(entry, folder / entry.name, copy_function=copy)
        else:
            copy(entry, folder / entry.name)
    (shard,) = (sound / "store" / "shards").rglob("*.parquet")
    where = shard.parent.name + "/" + shard.stem if "shards" in target.file else shard.stem
    return folder / target.file.format(shard=where, step=STEPS[int(rng.integers(len(STEPS)))])


def as_json(value: object) -> bytes:
    """JSON as our manifests have it."""
    return json.dumps(value, indent=1).encode()
