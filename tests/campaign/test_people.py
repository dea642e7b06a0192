"""Labels of people come in from a table or from the page's database, verdicts and all."""

import polars as pl
import pytest
import sqlalchemy as sa

from quasarloop.campaign.config import CampaignOptions, InspectionSection
from quasarloop.campaign.config_file import write_config
from quasarloop.campaign.inspection import inspection_of
from quasarloop.campaign.people import close_round
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.labels import LABELS, read_effort, read_labels, read_verdicts
from quasarloop.campaign.steps.report_sections import agreement_sections
from quasarloop.errors import CampaignError, InspectionError
from quasarloop.inspect.database import open_database
from quasarloop.inspect.exchange import import_file
from quasarloop.inspect.ledger import Save, current_label, save_label
from quasarloop.inspect.tables import Assignment, Item
from quasarloop.labels.prospect_csv import Inspection as Row
from quasarloop.labels.prospect_csv import write_inspections
from quasarloop.labels.rule import InspectionRule
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

BIG = 39627945488154697
IDS = (BIG, 11, 12)


@pytest.fixture
def waiting(tmp_path):
    """A campaign whose first round waits for people to label three targets."""
    folder = tmp_path / "campaign"
    chosen = folder / "rounds" / "01" / "selection"
    chosen.mkdir(parents=True)
    (folder / "rounds" / "01" / "labels").mkdir()
    config = CampaignOptions(inspection=InspectionSection(by="people"))
    write_config(folder, config)
    frame = pl.DataFrame({"TARGETID": IDS, "OBJECT_ID": (1, 2, 3)})
    frame.write_parquet(chosen / "selection.parquet")
    frame.head(0).write_parquet(chosen / "outliers.parquet")
    return Context(folder, config, 1)


@pytest.fixture
def said(tmp_path):
    """What three inspectors said: they agree on two of three targets asked for."""
    qso = Verdict(SpecType.QSO, 2.1, 4.0)
    star = Verdict(SpecType.STAR, 0.0, 4.0)
    verdicts = {"ada": (qso, star, qso), "bob": (qso, star, star), "eve": (qso, star, qso)}
    files = []
    for name, given in verdicts.items():
        rows = [Row(i, name, v) for i, v in zip(IDS, given, strict=True)]
        files.append(tmp_path / f"{name}.csv")
        write_inspections([*rows, Row(99, name, qso)], files[-1])
    return files


def test_database_brings_labels_and_everybodys_verdicts(waiting, said, tmp_path):
    url = f"sqlite:///{tmp_path / 'labels.db'}"
    database = open_database(url)
    for file in said:
        with database.write() as session:
            import_file(session, file, "merger")
    database.close()
    # The third object is in conflict: it waits for the merger and has no final label.
    assert close_round(waiting.folder, database=url) == 2
    LABELS.run(waiting)
    assert read_labels(waiting)["loop"].target_id.tolist() == [BIG, 11]
    verdicts = read_verdicts(waiting)
    assert sorted(verdicts) == sorted(IDS)
    assert verdicts[12]["bob"].spectype == SpecType.STAR
    section = agreement_sections(verdicts)[0]
    assert section.tables[0].rows[0][:3] == ["ada – bob", "3", "0.667"]


def test_recorded_seconds_come_with_the_verdicts(waiting, said, tmp_path):
    url = f"sqlite:///{tmp_path / 'labels.db'}"
    database = open_database(url)
    with database.write() as session:
        for file in said:
            import_file(session, file, "merger")
        wanted = sa.select(Assignment).join(Item, Item.id == Assignment.item_id)
        wanted = wanted.where(Item.target_id.in_(IDS)).order_by(Assignment.id)
        for turn in session.scalars(wanted).all()[:4]:
            item = session.get(Item, turn.item_id)
            before = current_label(session, item.id, turn.user_id)
            save = Save(before.verdict, turn.version, f"timed-{turn.id:04d}", seconds=45.5)
            save_label(session, item, turn.user_id, save)
    database.close()
    close_round(waiting.folder, database=url)
    LABELS.run(waiting)
    assert read_effort(waiting) == (4, 4 * 45.5)
    close_round(waiting.folder, said[0], inspections=said)
    LABELS.run(waiting)
    assert read_effort(waiting) == (0, 0.0)  # prospect's files have no time


def test_files_of_inspectors_may_come_with_a_table(waiting, said, tmp_path):
    table = tmp_path / "merged.csv"
    table.write_text(f"TARGETID,best_z,best_quality,best_spectype\n{BIG},2.1,4,QSO\n")
    assert close_round(waiting.folder, table, inspections=said) == 1
    assert close_round(waiting.folder, table) == 1  # again, without them: they are gone
    LABELS.run(waiting)
    assert read_verdicts(waiting) == {}
    assert agreement_sections({}) == []


def test_what_cannot_be_is_refused(waiting, said, tmp_path):
    with pytest.raises(CampaignError, match="either"):
        close_round(waiting.folder)
    with pytest.raises(CampaignError, match="either"):
        close_round(waiting.folder, said[0], database="sqlite:///x.db")
    with pytest.raises(InspectionError, match="no column"):
        close_round(waiting.folder, said[0], inspections=[waiting.folder / "campaign.toml"])


def test_the_rule_of_the_campaign_reaches_the_page(waiting):
    found = inspection_of(waiting.folder)
    assert found.rule == InspectionRule(3, 0, waiting.config.seed)
    write_config(waiting.folder, CampaignOptions(inspection=InspectionSection(inspectors="2+1")))
    assert str(inspection_of(waiting.folder).rule) == "2+1"
    assert found.worklist.name == "worklist.json"
    with pytest.raises(CampaignError, match=r"inspection\.inspectors: .* expected a number from 1"):
        InspectionSection(inspectors="2+")
    with pytest.raises(CampaignError, match="inspectors is 0; it must be at least 1"):
        InspectionSection(inspectors=0)
    with pytest.raises(CampaignError, match=r"no round of .* waits for labels"):
        (waiting.folder / "rounds" / "01" / "selection" / "selection.parquet").unlink()
        inspection_of(waiting.folder)
