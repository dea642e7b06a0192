"""A save that the server will never have: the user sees it, and the object is not jammed."""

import pytest


@pytest.mark.parametrize("status", [422, 500])
def test_a_save_that_cannot_succeed_leaves_the_queue_and_is_shown(desk, status):
    page = desk(12)
    tries = []

    def refuse(route):
        tries.append(route.request.url)
        route.fulfill(status=status, json={"detail": "quality: not a number"})

    page.evaluate(
        "() => { window.setTimeout = ((real) => (f, ms) => real(f, ms / 50))(setTimeout); }"
    )
    page.route("**/api/objects/*/label", refuse)
    page.press(["4"])
    page.wait_for_function(
        "() => !Object.keys(localStorage).some((key) => key.startsWith('quasarloop-unsaved'))"
    )
    badge = page.locator("#save-state[data-state=unsaved]")
    badge.wait_for()
    assert "1 not saved: quality: not a number" in badge.inner_text()
    assert len(tries) == (1 if status == 422 else 6)
    page.unroute("**/api/objects/*/label")
    page.press(["3"])
    assert page.saved()["quality"] == 3
    assert page.locator("#save-state").get_attribute("data-state") == "saved"
