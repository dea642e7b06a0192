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
