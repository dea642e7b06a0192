"""The report's part on people: how well the inspectors agree."""

from collections.abc import Mapping

from quasarloop.evaluate.report import Picture, Section, Table
from quasarloop.inspect.agreement import agreement
from quasarloop.inspect.agreement_figure import agreement_figure
from quasarloop.inspect.verdict import Verdict

__all__ = ["agreement_sections"]


def agreement_sections(verdicts: Mapping[int, Mapping[str, Verdict]]) -> list[Section]:
    """Return the section, or none where no two inspectors looked at the same objects.

    Args:
        verdicts: per target, per inspector.
    """
    found = agreement(verdicts)
    if not found.pairs:
        return []
    rows = [
        [
            f"{pair.first} – {pair.second}",
            str(pair.n_common),
            f"{pair.same_class:.3f}",
            f"{pair.alpha_class:.3f}",
            f"{pair.alpha_quality:.3f}",
            f"{pair.z_scatter_kms:.0f}",
            f"{pair.z_outliers:.3f}",
        ]
        for pair in found.pairs
    ]
    header = [
        "inspectors",
        "objects of both",
        "same class",
        "α of the class",
        "α of the quality",
        "redshift scatter, km/s",
        "redshifts apart",
    ]
    picture = Picture(
        "Agreement",
        agreement_figure(found),
        "Krippendorff's α over all inspectors, per pair, and which classes are confused.",
    )
    table = Table("Every pair", header, rows)
    return [Section("How the inspectors agree", [], [table], [picture])]
