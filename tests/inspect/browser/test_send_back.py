"""The merger sends an object back by the page, its inspector answers, and the list shows it."""

import secrets

import pytest

from quasarloop.inspect.ledger import Save, item_of, save_label
from quasarloop.inspect.people import invite, join, person_called
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

pytestmark = pytest.mark.browser

BIG_ID = 39627945488154697
NUMBER = 11
PASSWORD = "correct horse battery"


def test_a_question_and_its_answer(page_server, browser_of, desk):
    server, database = page_server
    with database.write() as session:
        join(session, invite(session, "mia", "merger,admin"), PASSWORD)
        item = item_of(session, BIG_ID + NUMBER)
        for name, z in (("ada", 2.0), ("bea", 1.4), ("cyd", 1.4)):
            person = person_called(session, name)
            save = Save(Verdict(SpecType.QSO, z, 4.0), 0, secrets.token_hex(8))
            save_label(session, item, person, save)
    context = browser_of("mia", home="merge")
    merger = context.new_page()
    merger.goto(f"{server.url}/merge/object?target={BIG_ID + NUMBER}")
    merger.locator(f"body[data-target='{BIG_ID + NUMBER}']").wait_for()
    merger.get_by_label("send back to ada").focus()
    merger.keyboard.press("Enter")
    merger.locator("#send-back[open]").wait_for()
    merger.keyboard.type("Is the line Mg II?")
    merger.keyboard.press("Enter")
    merger.locator("#verdicts", has_text="no answer yet").wait_for()
    merger.goto(f"{server.url}/merge?state=returned")
    merger.locator("#rows", has_text="waits for ada").wait_for()

    ada = desk(NUMBER)
    assert "Is the line Mg II?" in ada.locator("#questions").inner_text()
    ada.locator("#answer").focus()
    ada.keyboard.type("no, C IV")  # n and C are letters here, no keys
    ada.keyboard.press("Enter")
    ada.locator("#verdict-hint", has_text="answered").wait_for()
    assert ada.locator("#answer-form").is_hidden()

    merger.reload()
    merger.locator("#none").wait_for()
    merger.goto(f"{server.url}/merge/object?target={BIG_ID + NUMBER}")
    merger.locator("#verdicts", has_text="answer: no, C IV").wait_for()
    merger.close()
