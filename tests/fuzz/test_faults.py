"""Inputs of the field that once ended in a traceback or a vague message."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import shared_dir
from tests.fuzz.harness import prepare, run_command
from tests.fuzz.sound import TARGETS, Target, place

from quasarloop.store.files import STORE_FORMAT

FAULTS = shared_dir() / "data" / "field_cases" / "faults"
# The other half of a pair of files has no case of its own.
FILES = sorted(p for p in FAULTS.glob("*") if not p.name.endswith("sqlite_other__p.csv"))
_MANIFEST = "campaign/rounds/01/{}/manifest.json"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("faults") / "sound", campaign=True)


def target_of(file: Path) -> Target:
    """The command that a fault's name gives, and where its file belongs."""
    command, _, rest = file.name.partition("__")
    if command in ("bom.csv", "quoted.csv"):
        return next(t for t in TARGETS if t.file == "ids.csv")
    if command.startswith("campaign-"):
        words = command.replace("-", " ") + " campaign"
        return Target(words, _MANIFEST.format(rest.partition("_")[0]))
    if rest.endswith(".parquet") and rest.startswith("shard"):
        shard = f"store/shards/{rest.rpartition('__')[2][:2]}/{rest.rpartition('__')[2]}"
        words = {
            "classify": "classify store",
            "ensemble-vote": "ensemble vote",
            "som-fit": "som fit",
        }
        begin = words[command]
        return Target(next(t.command for t in TARGETS if t.command.startswith(begin)), shard)
    if command == "evaluate":
        own = "cat.csv" if rest.startswith("cat") else "truth.csv"
        return Target("evaluate --catalogue cat.csv --truth truth.csv --out judged", own)
    if rest == "sqlite_other__l.db":
        return Target("labels import p.csv --db sqlite:///l.db", "l.db")
    begins = {"labels-import": ("labels import merged.csv", "merged.csv"),
              "afterburner": ("afterburner", "redrock-0.fits"),
              "qsocat-mgii": ("qsocat mgii", "redrock-0.fits"),
              "select": ("select --votes votes.parquet", "votes.parquet")}  # fmt: skip
    begin, own = begins[command]
    return Target(next(t.command for t in TARGETS if t.command.startswith(begin)), own)


def renew(shard: Path) -> None:
    """Give a shard of an older version the format of today, so that its fault is what is met."""
    try:
        table = pq.read_table(shard)
    except (pa.ArrowInvalid, OSError):
        return  # its fault comes before its format
    content = json.loads((table.schema.metadata or {}).get(b"quasarloop", b"{}"))
    if content.get("format"):
        text = json.dumps(content | {"format": STORE_FORMAT}).encode()
        pq.write_table(table.replace_schema_metadata({b"quasarloop": text}), shard)


@pytest.mark.skipif(not FILES, reason=f"{FAULTS} is absent; set QUASARLOOP_SHARED to its folder")
@pytest.mark.parametrize("file", FILES or [None], ids=lambda p: p and p.name)
def test_a_fault_of_the_field_ends_in_a_clear_line(sound, file, tmp_path):
    target = target_of(file)
    place(sound, tmp_path, target, np.random.default_rng(0))
    if "shards" in target.file:
        shutil.rmtree(tmp_path / "store" / "shards")
        (tmp_path / "store" / "index.jsonl").unlink()
    path = tmp_path / target.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    shutil.copyfile(file, path)
    if "shards" in target.file:
        renew(path)
    if path.name == "l.db":
        shutil.copyfile(file.with_name(file.name.replace("l.db", "p.csv")), tmp_path / "p.csv")
    ended = run_command(tmp_path, target.command)
    assert not ended.fault(path.name, path.stem, path.parent.name), ended.output
