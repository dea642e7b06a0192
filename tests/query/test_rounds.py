"""Settings that change from round to round."""

import pytest

from quasarloop.errors import SelectionError
from quasarloop.query.options import of_round


def test_one_value_holds_for_all_rounds():
    assert [of_round(300, number) for number in (1, 2, 9)] == [300] * 3


def test_the_last_of_many_values_holds_for_all_later_rounds():
    assert [of_round("entropy", number) for number in (1, 9)] == ["entropy"] * 2
    assert [of_round(("random", "margin"), number) for number in (1, 9)] == ["random", "margin"]
    assert [of_round((1.0, 0.5, 0.0), number) for number in (1, 2, 3, 4)] == [1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(("value", "number"), [((), 1), (300, 0), ([300], -1)])
def test_no_value_and_no_round_are_refused(value, number):
    with pytest.raises(SelectionError):
        of_round(value, number)
