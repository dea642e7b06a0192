"""Options of the afterburner: each choice has what it names, and nothing else is a choice."""

from typing import get_args

import pytest

from quasarloop.afterburner.maskbits import RECIPES, recipe_for
from quasarloop.afterburner.options import CatalogueOptions, Policy, Published, RerunOptions
from quasarloop.afterburner.reruns import POLICIES, THRESHOLDS
from quasarloop.errors import SelectionError
from quasarloop.options import field_types


def test_choices_are_what_there_is():
    assert set(get_args(Policy)) == set(POLICIES)
    assert set(get_args(Published)) == set(THRESHOLDS)
    assert set(get_args(field_types(CatalogueOptions)["recipe"])) == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_threshold_in_place_of_the_recipes(name):
    assert recipe_for(CatalogueOptions(recipe=name)) is RECIPES[name]
    changed = recipe_for(CatalogueOptions(recipe=name, threshold=0.75))
    assert (changed.name, changed.c_thresh) == (f"{name}, threshold 0.75", 0.75)
    assert changed.spurious_z == RECIPES[name].spurious_z


@pytest.mark.parametrize(
    ("options", "values", "message"),
    [
        (RerunOptions, {"policy": "theirs"}, "policy is 'theirs'; known: ours, today, paper"),
        (RerunOptions, {"rerun": "never"}, "rerun is 'never'; known: auto, library"),
        (RerunOptions, {"processes": 0}, "processes is 0; it must be at least 1"),
        (
            CatalogueOptions,
            {"recipe": "dr9"},
            "recipe is 'dr9'; known: lss-dr2, desispec-0.71.5, lss-dr1",
        ),
        (CatalogueOptions, {"threshold": 95}, "threshold is 95; it must be between 0 and 1"),
        (CatalogueOptions, {"mgii": "ask"}, "mgii is 'ask'; known: auto, file, fit, none"),
    ],
)
def test_impossible_values_are_named(options, values, message):
    with pytest.raises(SelectionError, match=message):
        options(**values)
