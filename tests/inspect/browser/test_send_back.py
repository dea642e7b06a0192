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
SEEN = """(selector) => {
  const { x, y, width, height } = document.querySelector(selector).getBoundingClientRect();
  const there = (place) => document.elementFromPoint(x + width / 2, place)?.closest(selector);
  return height > 0 && Boolean(there(y + 1) && there(y + height - 1));
}"""


def test_a_question_and_its_answer(page_server, browser_of, desk):
    server, database = page_server
    with database.write() as session:
        join(session, invite(session, "mia", "merger,admin"), PASSWORD)
        item = item_of(session, BIG_ID + NUMBER)
        for name, z in (("ada", 2.0), ("bea", 1.4), ("cyd", 1.4)):
            person = person_called(session, name)
            verdict = Verdict(SpecType.QSO, z, 4.0, comment=f"{name} found a line " * 5)
            save = Save(verdict, 0, secrets.token_hex(8))
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
    for width in (1366, 1024, 1920):  # with three comments and a question above it
        merger.set_viewport_size({"width": width, "height": 768})
        assert merger.evaluate(SEEN, "[data-action=decide]"), width
        assert merger.evaluate(SEEN, "#verdict-hint"), width
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
