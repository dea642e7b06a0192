import pytest

from quasarloop.lines import BAL_LINE, EMISSION_LINES, NETWORK_LINES, line_label, line_named


def test_network_order_and_wavelengths_are_quasarnets():
    # docs/reference/network.md, "Lines and boxes".
    expected = {
        "LYA": 1215.67,
        "CIV(1548)": 1548.2049,
        "CIII(1909)": 1908.734,
        "MgII(2796)": 2796.3511,
        "Hbeta": 4862.68,
        "Halpha": 6562.8,
    }
    assert {line.name: line.wave_rest_aa for line in EMISSION_LINES} == expected
    assert [line.name for line in EMISSION_LINES] == list(expected)
    assert (*EMISSION_LINES, BAL_LINE) == NETWORK_LINES
    assert BAL_LINE.is_bal
    assert BAL_LINE.wave_rest_aa == EMISSION_LINES[1].wave_rest_aa
    assert not any(line.is_bal for line in EMISSION_LINES)


def test_columns_are_the_afterburners():
    assert [line.column for line in EMISSION_LINES] == [
        "LYA", "CIV", "CIII", "MgII", "Hbeta", "Halpha",
    ]  # fmt: skip
    assert len({line.column for line in NETWORK_LINES}) == len(NETWORK_LINES)


def test_labels_are_those_of_figures_whichever_name_is_given():
    labels = ["Lyα", "C IV", "C III]", "Mg II", "Hβ", "Hα"]
    assert [line_label(line.name) for line in EMISSION_LINES] == labels
    assert [line_label(line.column) for line in EMISSION_LINES] == labels
    assert line_label("the best lines") == "the best lines"


def test_lines_are_found_by_name():
    assert line_named("CIV(1548)") is EMISSION_LINES[1]
    assert line_named("CIV(1548)", bal=True) is BAL_LINE
    with pytest.raises(KeyError, match=r"no line 'OIII' .*known: LYA, .*CIV\(1548\) \(BAL\)"):
        line_named("OIII")
    with pytest.raises(KeyError, match="bal=True"):
        line_named("LYA", bal=True)
