"""How a redshift is found on the page: fits, candidates, the strip, a line that is named."""

import numpy as np
import pytest

from quasarloop.inspect.database import set_setting
from quasarloop.inspect.ledger import current_label, item_of
from quasarloop.inspect.people import person_called

pytestmark = pytest.mark.browser

BIG_ID = 39627945488154697


def test_a_new_object_opens_at_the_best_fit_and_predictions_stay_hidden(desk):
    page = desk(4, name="cyd")  # z = 2.1
    assert page.trial() == pytest.approx(2.1, abs=1e-3)
    assert "QSO" in page.locator("#template").inner_text()
    assert page.locator("#machine button").count() == 1
    assert page.locator("#fits .chip").count() >= 1
    page.press(["n"])
    page.shown(5)
    assert page.trial() == pytest.approx(2.0, abs=1e-3)
    page.press(["p"])
    page.shown(4)
    assert page.trial() == pytest.approx(2.1, abs=1e-3)


def test_a_clear_quasar_takes_two_keys_and_its_uncertainty_is_kept(desk, page_server):
    page = desk(6, name="cyd")  # z = 1.9
    page.press(["q", "4"])
    verdict = page.saved()
    assert verdict["z"] == pytest.approx(1.9, abs=1e-3)
    with page_server[1].read() as session:
        item = item_of(session, BIG_ID + 6)
        label = current_label(session, item.id, person_called(session, "cyd"))
    assert label.verdict.z == verdict["z"]
    assert 0 < label.z_err < 1e-3
    page.type_z("1.85")
    page.saved()
    with page_server[1].read() as session:
        typed = current_label(session, item.id, person_called(session, "cyd"))
    assert (typed.verdict.z, typed.z_err) == (1.85, None)


def test_where_predictions_may_be_shown_a_new_object_opens_at_the_networks(desk, page_server):
    def show(when):
        with page_server[1].write() as session:
            set_setting(session, "blind", when)

    show("open")
    try:
        page = desk(11, name="cyd")  # z = 1.4
        page.locator("#machine .chip").first.wait_for()
        assert page.trial() == 2.41
    finally:
        show("ask")


@pytest.mark.parametrize("sigma", [1.0, 1.6, 3.0])
def test_the_view_has_room_for_the_peaks_of_narrow_lines_and_for_no_bad_pixel(desk, sigma):
    rng = np.random.default_rng(4)
    noise, n = 0.1, 4000
    pixel = np.arange(n)
    line = 6 * np.exp(-0.5 * ((pixel - 2500.3) / sigma) ** 2)  # [O III], a galaxy's
    flux = 1 + rng.normal(0, noise, n) + line
    bad = flux.copy()
    bad[700] += 60  # a cosmic ray
    ranges = desk(12, name="cyd").evaluate(
        """async ([...spectra]) => {
          const { fluxRange } = await import("/static/spectrum.js");
          return spectra.map((flux) => fluxRange([{ flux, ivar: flux.map(() => 100) }]));
        }""",
        [flux.tolist(), bad.tolist()],
    )
    for bottom, top in ranges:
        room = 0.1 * (top - bottom)  # for the line's name, above the peak
        assert flux.max() + room < top < 2 * flux.max()
        assert bottom < 0


def test_candidates_go_forth_and_back(desk):
    page = desk(7, name="cyd")  # z = 1.8
    page.press(["m"])
    page.locator(".chip", has_text="2.41").wait_for()
    page.press(["x"])
    assert page.trial() == 2.41
    page.press(["x", "X"])
    assert page.trial() == 2.41
    page.press(["X"])  # before the first is the last: a fit
    fits = page.evaluate("() => quasarloop.bench.fits.map(({ z }) => z)")
    assert page.trial() == pytest.approx(fits[-1], abs=1e-9)


def test_a_click_on_the_strip_goes_to_the_best_redshift_there(desk):
    page = desk(8, name="cyd")  # z = 1.7
    page.type_z("0.3")
    place = page.evaluate("() => quasarloop.bench.strip.toX(1.7)")
    page.locator("#strip").click(position={"x": place + 3, "y": 10})
    assert page.trial() == pytest.approx(1.7, abs=0.03)
    page.press(["f"])
    page.locator("#z-hint", has_text="z = 1.").wait_for()
    assert page.trial() == pytest.approx(1.7, abs=1e-3)


def test_a_line_that_is_clicked_and_named_gives_the_redshift(desk):
    page = desk(9, name="cyd")  # z = 1.6: C IV at 4028 Å
    page.type_z("0.2")
    place = page.evaluate(
        """() => {
          const { plot } = quasarloop.bench, frame = plot.frame();
          return [plot.toX(1549.06 * 2.6 + 9, frame), frame.top + frame.height / 2];
        }"""
    )
    page.locator("#plot").click(position={"x": place[0], "y": place[1]})
    dialog = page.locator("#name-line[open]")
    dialog.wait_for()
    choice = dialog.locator("button", has_text="C IV")
    page.keyboard.press(choice.locator("kbd").inner_text())
    page.locator("#name-line:not([open])").wait_for(state="attached")
    assert page.trial() == pytest.approx(1.6, abs=0.02)
    assert page.locator("#name-line[open]").count() == 0
    page.mouse.move(300, 300)
    page.press(["h"])
    dialog.wait_for()
    page.keyboard.press("Escape")


def test_kinds_of_templates_have_a_key(desk):
    page = desk(10, name="cyd")
    page.press(["t", "t"])
    assert page.locator("#subtype").inner_text() == "G"
    page.press(["T"])
    assert page.locator("#subtype").inner_text() == "K"
    drawn = page.evaluate(
        "() => { const { plot } = quasarloop.bench;"
        " return plot.drawn() === plot.templates.STAR.K; }"
    )
    assert drawn
    colours = page.evaluate(
        "() => { const { colours } = quasarloop.bench.plot;"
        " return ['model', 'arm-b', 'arm-r', 'arm-z', 'flux'].map((name) => colours[name]); }"
    )
    assert len(set(colours)) == 5


def test_one_key_flips_through_other_spectra_of_the_object(desk):
    page = desk(9, name="cyd")
    page.wait_for_function(
        """async () => {
          const { bench } = quasarloop;
          if (!bench.repeats) await bench.findRepeats();
          return bench.repeats?.length === 1;
        }"""
    )
    first = "() => quasarloop.bench.plot.separateArms[0].flux[500]"
    own, z = page.evaluate(first), page.trial()
    page.press(["+"])
    view = page.evaluate("() => quasarloop.bench.plot.x.start")
    button = page.locator("#object [data-action=repeat]")
    assert button.inner_text().startswith("spectrum 1 of 2")
    page.press(["r"])
    page.locator("#notice", has_text="coadd-again.fits row 0").wait_for()
    assert button.inner_text().startswith("spectrum 2 of 2")
    assert page.evaluate(first) != own
    assert page.trial() == z
    assert page.evaluate("() => quasarloop.bench.plot.x.start") == view
    page.press(["r"])
    page.locator("#notice").wait_for(state="hidden")
    assert page.evaluate(first) == own
    page.press(["r", "n"])
    page.shown(10)
    assert page.locator("#object [data-action=repeat]").count() == 0
    page.press(["r"])
    page.locator("#z-hint", has_text="no other spectrum").wait_for()
