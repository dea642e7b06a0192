"""The report's part on the weights that leave: repeats, and old against new (Figs. 8 to 10)."""

from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.redshifts import (
    KINDS,
    Said,
    comparison_of,
    read_said,
    repeats_of,
)
from quasarloop.evaluate.compare import AGREEMENT_KMS, Comparison, comparison_record
from quasarloop.evaluate.redshift_figures import (
    comparison_figure,
    confusion_figure,
    scatter_figure,
)
from quasarloop.evaluate.repeats import ObjectRepeats, repeats_record, scatter_in_bins
from quasarloop.evaluate.report import Picture, Section, Table

__all__ = ["redshift_sections"]

_CONFUSIONS_LISTED = 10


def redshift_sections(context: Context) -> list[Section]:
    """Return the sections on repeats and on the comparison."""
    said = read_said(context)
    return [_repeats_section(said), _comparison_section(said)]


def _repeats_section(said: Said) -> Section:
    title = "Repeats: is an object called the same each time?"
    by_kind = {kind: repeats_of(said, kind) for kind in KINDS}
    if not all(by_kind.values()):
        return Section(title, ["No object without a label was observed twice or more."])
    rows = [
        _repeats_row(label, KINDS[kind], one)
        for kind, repeats in by_kind.items()
        for label, one in repeats.items()
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
    best = by_kind["Z_BEST"]
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
        f"{said.labels[1]}: the weights that leave the campaign, trained on all labels."
    ]
    return Section(title, text, [Table("Repeats", header, rows)], pictures)


def _repeats_row(label: str, kind: str, repeats: ObjectRepeats) -> list[str]:
    record = repeats_record(repeats, scatter_in_bins(repeats))
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


def _comparison_section(said: Said) -> Section:
    found = {text: comparison_of(said, kind) for kind, text in KINDS.items()}
    old, new = said.labels
    header = [
        "redshift of",
        "spectra",
        "quasars of both",
        f"only {old}",
        f"only {new}",
        *(f"within {limit:.0f} km/s" for limit in AGREEMENT_KMS),
    ]
    rows = [[text, *_comparison_row(one, said.labels)] for text, one in found.items()]
    tables = [Table(f"{old} and {new}", header, rows)]
    one_line = found[KINDS["Z_BEST"]]
    confused = comparison_record(one_line, *said.labels)["confusions"][:_CONFUSIONS_LISTED]
    if confused:
        tables.append(
            Table(
                "Lines taken for others",
                [f"{old} says", f"{new} says", "spectra"],
                [[c["a"], c["b"], str(c["n"])] for c in confused],
                "Redshift of one line, within 10,000 km/s of the confusion (paper, Table 1).",
            )
        )
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


def _comparison_row(one: Comparison, labels: tuple[str, str]) -> list[str]:
    record = comparison_record(one, *labels)
    return [str(value) for name, value in record.items() if name != "confusions"]
