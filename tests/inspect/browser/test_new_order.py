"""A new order of the live queue reaches a page that is open, in real Chromium."""

import pytest

from quasarloop.inspect.live import put_ranks

pytestmark = pytest.mark.browser

BIG_ID = 39627945488154697


def test_what_is_ahead_comes_in_its_new_order(desk, page_server):
    page = desk(0)
    # What is next was fetched ahead, and comes as it was.
    page.wait_for_function("() => window.quasarloop.desk.ahead !== null")
    page.evaluate("async () => { await window.quasarloop.desk.ahead.object; }")
    with page_server[1].write() as session:
        put_ranks(session, [(BIG_ID + i, float(i)) for i in (9, 7, 5, 3)], 25)
    page.press(["n"])
    page.shown(1)
    page.press(["n"])
    page.shown(2)
    for number in (9, 4, 7, 6):  # four objects traded the places of 3, 5, 7 and 9
        page.press(["n"])
        page.shown(number)
