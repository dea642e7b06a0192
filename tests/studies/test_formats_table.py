"""The readings of docs/measurements/format_table.md equal astropy's on inputs of field cases."""

import pytest

from quasarloop.read import find_files

pytest.importorskip("specutils", reason="the extra [specutils] is not installed")

from formats_table import CASES, differences


@pytest.mark.parametrize(("name", "kind"), CASES.items())
def test_our_reading_is_astropys(shared_data, name, kind):
    files = find_files([shared_data / "field_cases" / name])
    n, largest = differences(files, kind)
    assert n == len(files) == 1
    assert largest == [0.0, 0.0, 0.0]
