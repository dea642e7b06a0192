"""The table of lines that tests run, from counts made by hand."""

import coverage_table


def content(n_lines: int, missing: list[int]) -> dict[str, object]:
    summary = {"covered_lines": n_lines - len(missing), "num_statements": n_lines}
    return {"summary": summary, "missing_lines": missing}


def test_rooms_are_summed_and_what_is_not_run_is_named():
    text = coverage_table.table(
        {
            "src/quasarloop/read/desi.py": content(60, [7]),
            "src/quasarloop/read/sdss.py": content(40, []),
            "src/quasarloop/classes.py": content(20, [1, 2, 3, 9, 12, 13]),
        }
    )
    assert "| `read` | 100 | 99.0% |" in text
    assert "| `classes` | 20 | 70.0% |" in text
    assert "| **all** | 120 | 94.2% |" in text
    assert "Rooms below 95%: `classes`." in text
    assert "- `classes.py`: 1–3, 9, 12–13" in text
    assert "sdss.py" not in text


def test_rooms_not_measured_keep_what_the_page_has_of_them():
    before = coverage_table.table(
        {
            "src/quasarloop/read/desi.py": content(60, [7]),
            "src/quasarloop/grid/bins.py": content(50, [8, 9]),
        }
    )
    files = {
        "src/quasarloop/read/desi.py": content(40, [1, 2, 3]),
        "src/quasarloop/grid/bins.py": content(50, [*range(50)]),
    }
    text = coverage_table.table(files, before, ["read"])
    assert "| `read` | 40 | 92.5% |" in text
    assert "| `grid` | 50 | 96.0% |" in text
    assert "**all**" not in text
    assert "Rooms below 95%: `read`." in text
    assert text.endswith("- `grid/bins.py`: 8–9\n- `read/desi.py`: 1–3")
