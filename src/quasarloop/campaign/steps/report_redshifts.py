"""The report's part on the weights that leave: repeats, and old against new (Figs. 8 to 10)."""

from collections.abc import Mapping
from typing import Any, Final

from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.redshifts import (
    KINDS,
    Said,
    comparison_of,
    read_redshift_numbers,
    read_said,
    repeats_of,
)
from quasarloop.evaluate.compare import AGREEMENT_KMS
from quasarloop.evaluate.redshift_figures import (
    comparison_figure,
    confusion_figure,
    scatter_figure,
)
from quasarloop.evaluate.repeats import scatter_in_bins
from quasarloop.evaluate.report import Picture, Section, Table

__all__ = ["redshift_sections"]

# The paper's figures are of the most confident line.
_DRAWN: Final = "Z_BEST"
_CONFUSIONS_LISTED: Final = 10


def redshift_sections(context: Context) -> list[Section]:
    """Return the sections on repeats and on the comparison."""
    said, every = read_said(context), read_redshift_numbers(context)
    numbers = {text: every[text] for text in KINDS.values()}
    return [_repeats_section(said, numbers), _comparison_section(said, numbers)]


def _repeats_section(said: Said, numbers: Mapping[str, Any]) -> Section:
    title = "Repeats: is an object called the same each time?"
    best = repeats_of(said, _DRAWN)
    if not best:
        return Section(title, ["No object without a label was observed twice or more."])
    rows = [
        _repeats_row(label, text, found["repeats"][label])
        for text, found in numbers.items()
        for label in said
    ]
    header = [
        "weights",
        "redshift of",
        "objects",
        "called differently",
        "mean entropy, bits",
        "always quasars",
        "median scatter of z",
    ]
    pictures = [
        Picture(
            "Confused repeats",
            confusion_figure(best),
            "Two-class entropy of every object's exposures, old weights against new, and its "
            "distribution (paper, Fig. 8).",
        ),
        Picture(
            "Scatter of repeats",
            scatter_figure({label: scatter_in_bins(one) for label, one in best.items()}),
            "Mean standard deviation of the redshift of one line among exposures, in bins of "
            "redshift; objects called quasars every time (paper, Fig. 9).",
        ),
    ]
    text = [
        "Objects of pool and test spectra observed twice or more, those with a label left out. "
        f"{list(said)[1]}: the weights that leave the campaign, trained on all labels."
    ]
    return Section(title, text, [Table("Repeats", header, rows)], pictures)


def _repeats_row(label: str, kind: str, record: Mapping[str, Any]) -> list[str]:
    scatter = record["median_z_std"]
    return [
        label,
        kind,
        str(record["objects"]),
        str(record["confused"]),
        f"{record['mean_entropy_bits']:.4f}",
        str(record["always_qso"]),
        "–" if scatter is None else f"{scatter:.5f}",
    ]


def _comparison_section(said: Said, numbers: Mapping[str, Any]) -> Section:
    old, new = said
    # Named as the numbers are kept.
    columns = [
        "spectra",
        "quasars of both",
        f"only {old}",
        f"only {new}",
        *(f"within {limit:.0f} km/s" for limit in AGREEMENT_KMS),
    ]
    header = ["redshift of", *columns]
    rows = [
        [text, *(str(found["comparison"][name]) for name in columns)]
        for text, found in numbers.items()
    ]
    tables = [Table(f"{old} and {new}", header, rows)]
    confused = numbers[KINDS[_DRAWN]]["comparison"]["confusions"][:_CONFUSIONS_LISTED]
    if confused:
        tables.append(
            Table(
                "Lines taken for others",
                [f"{old} says", f"{new} says", "spectra"],
                [[c["a"], c["b"], str(c["n"])] for c in confused],
                "Redshift of one line, within 10,000 km/s of the confusion (paper, Table 1).",
            )
        )
    one_line = comparison_of(said, _DRAWN)
    pictures = []
    if len(one_line.z_a):
        pictures.append(
            Picture(
                "Old and new redshifts",
                comparison_figure(one_line, old, new),
                "Redshifts of one line where both say quasar; dashed: line confusions, with the "
                "number of spectra near them (paper, Fig. 10).",
            )
        )
    text = ["Pool and test spectra, those of labelled objects left out."]
    return Section("Old weights and new: do the redshifts agree?", text, tables, pictures)
