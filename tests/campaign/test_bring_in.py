"""The first step: files that cannot be read are named and counted, what is missing is named."""

import shutil
from dataclasses import replace

import polars as pl
import pytest
from tests.campaign.test_run import simulate

from quasarloop.artefacts import read_manifest
from quasarloop.campaign.config import CampaignOptions, DataSection, InspectionSection
from quasarloop.campaign.layout import LEDGER, WITHDRAWALS
from quasarloop.campaign.ledger import active_truth, read_ledger
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.ingest import INGEST
from quasarloop.campaign.steps.labels import LABELS
from quasarloop.campaign.steps.selection import CHOSEN_NAME, OUTLIERS_NAME
from quasarloop.errors import CampaignError


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sky")
    simulate(folder / "pool", 6, seed=1)
    return folder / "pool"


def context(folder, truth=("pool/truth.csv",)):
    """A first round of which nothing is done."""
    lines = []
    data = DataSection(unlabelled=("pool",), truth=truth)
    made = Context(folder, CampaignOptions(data=data), 1, report=lines.append)
    for step in (INGEST, LABELS):
        made.step_folder(step.name).mkdir(parents=True)
    return made, lines


def test_a_file_that_cannot_be_read_is_named_and_the_others_come_in(sky, tmp_path):
    shutil.copytree(sky, tmp_path / "pool")
    (tmp_path / "pool" / "coadd-torn.fits").write_bytes(b"SIMPLE  =")
    here, lines = context(tmp_path)
    INGEST.run(here)
    (contents,) = (read_manifest(p) for p in here.step_folder("ingest").glob("*.json"))
    assert contents["pool"]["spectra"] == 6
    assert contents["pool"]["failed"] == ["coadd-torn.fits"]
    assert any("not read" in line and "coadd-torn.fits" in line for line in lines)


def test_without_one_sound_file_the_step_ends(tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "coadd-torn.fits").write_bytes(b"SIMPLE  =")
    here, lines = context(tmp_path)
    with pytest.raises(CampaignError, match="none of the 1 files of pool could be read"):
        INGEST.run(here)
    assert "coadd-torn.fits" in lines[0]


def test_without_a_first_truth_table_the_step_ends(sky, tmp_path):
    shutil.copytree(sky, tmp_path / "pool")
    with pytest.raises(CampaignError, match=r"no first truth table.*\[data\]"):
        INGEST.run(context(tmp_path, truth=())[0])


def test_withdrawn_targets_leave_and_unknown_ones_wait(sky, tmp_path):
    shutil.copytree(sky, tmp_path / "pool")
    truth = pl.read_csv(tmp_path / "pool" / "truth.csv")
    first = int(truth["TARGETID"][0])
    (tmp_path / WITHDRAWALS).write_text(f"TARGETID,REASON\n{first},blend\n{first + 10**6},gone\n")
    here, _ = context(tmp_path)
    INGEST.run(here)
    known = active_truth(read_ledger(here.step_folder("ingest") / LEDGER)).target_id.tolist()
    assert sorted(known) == sorted(truth["TARGETID"].to_list()[1:])


def test_an_oracle_without_truth_is_named(tmp_path):
    here, _ = context(tmp_path)
    here = replace(here, config=CampaignOptions(inspection=InspectionSection(by="oracle")))
    folder = here.step_folder("selection")
    folder.mkdir()
    for name in (CHOSEN_NAME, OUTLIERS_NAME):
        pl.DataFrame({"TARGETID": [1], "OBJECT_ID": [1]}).write_parquet(folder / name)
    with pytest.raises(CampaignError, match=r"the oracle has no truth.*\[inspection.oracle\]"):
        LABELS.run(here)
