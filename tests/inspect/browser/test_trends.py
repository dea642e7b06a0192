"""The statistics page shows who drifts, and what objects cost."""

import pytest

from quasarloop.inspect.database import now
from quasarloop.inspect.ledger import Save, save_label
from quasarloop.inspect.people import invite, join, person_called
from quasarloop.inspect.tables import Assignment, Item
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

pytestmark = pytest.mark.browser

N = 48
PASSWORD = "correct horse battery"


def test_drift_and_pace_are_drawn(page_server, browser_of):
    server, database = page_server
    with database.write() as session:
        join(session, invite(session, "mia", "merger"), PASSWORD)
        for i in range(N):
            item = Item(target_id=500 + i, rank=1000 + i, source="", row=-1, predictions={})
            session.add(item)
            session.flush()
            for name, seconds in (("ada", 20.0), ("bea", 35.0), ("cyd", 50.0)):
                # In the second half ada gives every other redshift wrong.
                wrong = name == "ada" and i >= N // 2 and i % 2
                user = person_called(session, name)
                session.add(Assignment(item_id=item.id, user_id=user, created=now()))
                session.flush()
                verdict = Verdict(SpecType.QSO, 3.0 if wrong else 2.0, 4.0)
                save = Save(verdict, 0, f"{name}-{i:08}", seconds=seconds)
                save_label(session, item, user, save)
    page = browser_of("mia", home="merge").new_page()
    page.goto(f"{server.url}/statistics")
    page.locator("body[data-ready=true]").wait_for()
    rows = {row.split("\t")[0]: row for row in page.locator("#people tr").all_inner_texts()}
    assert "−50.0 ± " in rows["ada"]
    assert rows["ada"].split("\t")[-4:-2] == ["20", "–"]
    assert "−25.0 ± " in rows["bea"]
    marked = page.locator("#people tr.differs th").all_inner_texts()
    assert "ada" in marked
    lines = page.locator("#people svg.trend")
    assert lines.count() == 3
    assert lines.first.get_attribute("aria-label").startswith("agreement of ada: 100.0 %")
    page.close()
