"""A newcomer practises by keyboard: right or wrong after each, a score at the end."""

import pytest

from quasarloop.inspect.tables import Practice
from quasarloop.truth import SpecType

pytestmark = pytest.mark.browser


def test_practice_by_keyboard(page_server, browser_of, write_coadd):
    server, database = page_server
    path = write_coadd(server.log.parent / "coadd-practice.fits", [3, 4], [2.2, 2.1], step=2.4)
    with database.write() as session:
        for row, z in enumerate((2.2, 2.1)):
            place = {"target_id": row + 3, "source": str(path), "row": row}
            session.add(Practice(**place, spectype=SpecType.QSO, z=z))
    page = browser_of("bea").new_page()
    page.goto(f"{server.url}/list")
    page.get_by_role("link", name="Practice").click()
    page.locator("body[data-target='3']").wait_for()
    result = page.locator("#practice-result")
    page.keyboard.press("n")
    page.locator("#verdict-hint", has_text="quality").wait_for()
    for z, letter, text in (
        ("2.2005", "q", "Right: it is a QSO at z = 2.2."),
        ("2.1", "g", "Not right (class): it is a QSO at z = 2.1."),
    ):
        page.keyboard.press("z")
        page.keyboard.type(z)
        page.keyboard.press("Enter")
        page.keyboard.press(letter)
        page.keyboard.press("4")
        page.keyboard.press("n")
        result.filter(has_text=text).wait_for()
        page.keyboard.press("s")  # too late
        page.keyboard.press("n")
    score = page.locator("#practice-score")
    score.filter(has_text="At the end 1 of 2 right (not right: 1 class); 0 to come.").wait_for()
    page.reload()
    page.locator("#practice-score", has_text="At the end 1 of 2 right").wait_for()
    page.close()
