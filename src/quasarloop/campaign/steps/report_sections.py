"""Sections of the report: what labels brought, agreement, the choice, the weights that leave."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from quasarloop.artefacts import read_manifest
from quasarloop.campaign.layout import truth_set
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.candidates import START, WAYS, read_candidates
from quasarloop.campaign.steps.networks import set_name
from quasarloop.campaign.steps.redshifts import (
    KINDS,
    Outputs,
    comparison_of,
    read_outputs,
    read_redshift_numbers,
    repeats_of,
)
from quasarloop.campaign.steps.selection import CELLS_NAME, CHOSEN_NAME, OUTLIERS_NAME, STEPS_NAME
from quasarloop.campaign.steps.verdict import WAYS_IN_WORDS, points_at_purity, sample_judged
from quasarloop.evaluate.compare import AGREEMENT_KMS, CONFUSION_KMS
from quasarloop.evaluate.figures import labels_figure
from quasarloop.evaluate.map_figures import chosen_figure, counts_by_class, counts_figure
from quasarloop.evaluate.redshift_figures import (
    comparison_figure,
    confusion_figure,
    scatter_figure,
)
from quasarloop.evaluate.repeats import scatter_in_bins
from quasarloop.evaluate.report import Picture, Section, Table
from quasarloop.evaluate.selection_figures import (
    outlier_panels,
    outliers_figure,
    score_figure,
)
from quasarloop.labels.agreement import agreement, agreement_figure, agreement_table
from quasarloop.labels.verdict import Verdict
from quasarloop.lines import line_label
from quasarloop.query.som_files import read_cells

__all__ = [
    "agreement_sections",
    "redshift_sections",
    "selection_section",
    "worth_section",
]


def worth_section(context: Context) -> Section:
    """Return completeness against labels, and how the network that leaves was found."""
    points = points_at_purity(context)
    sets = [set_name(k) for k in range(context.round_number + 1)]
    begun = [name for name in (START, *sets) if name in points]
    series = {" – ".join((begun[0], begun[-1])): [points[name] for name in begun]}
    series |= {name: [point] for name, point in points.items() if name not in begun}
    picture = Picture(
        "Completeness against labelled spectra",
        labels_figure(series),
        f"The table above as a figure: on the {sample_judged(context)} spectra, errors 1 σ.",
    )
    record = read_candidates(context)
    tables = [] if record is None else [_candidates_table(record)]
    return Section("What the labels brought", tables=tables, pictures=[picture])


def _wrong_redshifts(score: Mapping[str, Any]) -> tuple[str, str]:
    if "wrong_z" not in score:  # judged before redshifts were looked at
        return "–", "–"
    fewer, error = score["fewer_wrong_by"], score["fewer_wrong_by_error"]
    return f"{score['wrong_z']:.4f}", f"{fewer:.4f} ± {error:.4f}"


def _candidates_table(record: Mapping[str, Any]) -> Table:
    rows = [
        [
            way + (" (leaves)" if way == record["leaves"] else ""),
            WAYS_IN_WORDS[way],
            str(score["n_labels"]),
            f"{score['log_loss']:.4f} ± {score['log_loss_error']:.4f}",
            f"{score['better_by']:.4f} ± {score['better_by_error']:.4f}",
            *_wrong_redshifts(score),
            *(
                f"{value:.3f} ± {error:.3f}"
                for value, error in zip(score["at_purity"], score["at_purity_error"], strict=True)
            ),
        ]
        for way in WAYS  # the simplest first; JSON has them by name
        for score in [record["scores"].get(way)]
        if score is not None
    ]
    weighted = (
        "weighted back to the pool by those drawn at random"
        if record["weighted"]
        else "each counted once, as none was drawn at random: confusing spectra count too much"
    )
    note = (
        f"Judged on labels it has not learned from (a head: by cross-validation), {weighted}. Each "
        "is compared with the simpler one that led before it, and leads if its log loss is lower "
        "by more than the error; or, if it is not higher, if its share of quasars of wrong "
        "redshift is lower by more than the error."
    )
    header = ["network", "what it is", "labels", "log loss, nats", "below the leader's"]
    header += ["wrong redshifts", "below the leader's"]
    header += [f"complete at purity {purity}" for purity in record["purities"]]
    return Table("Which network leaves", header, rows, record.get("fault", note))


def agreement_sections(verdicts: Mapping[int, Mapping[str, Verdict]]) -> list[Section]:
    """Return the section, or none where no two inspectors looked at the same objects."""
    found = agreement(verdicts)
    if not found.pairs:
        return []
    heading, *rows = agreement_table(found)
    picture = Picture(
        "Agreement",
        agreement_figure(found),
        "Krippendorff's α over all inspectors, per pair, and which classes are confused.",
    )
    table = Table("Every pair", list(heading), [list(row) for row in rows])
    return [Section("How the inspectors agree", [], [table], [picture])]


def selection_section(context: Context) -> Section:
    """Return the count table and Figs. 2 to 4."""
    record = read_manifest(context.step_folder("selection") / STEPS_NAME)
    rows = [["all spectra", "", f"{record['n_spectra']:,}"]]
    rows += [[s["what"], f"{s['removed']:,}", f"{s['left']:,}"] for s in record["steps"]]
    table = Table("From all spectra to the chosen ones", ["step", "removed", "left"], rows)
    chosen = pl.read_parquet(context.step_folder("selection") / CHOSEN_NAME)
    score = str(context.config.selection.score)
    pictures = [
        *_map_pictures(context, record),
        Picture(
            "How confused the ensemble is",
            score_figure(np.array(record["edges"]), np.array(record["histogram"]), chosen, score),
            "Scores of the objects that could be chosen, and of those that were; the line is the "
            "lowest score chosen by rank (paper, Fig. 3).",
        ),
    ]
    outliers = pl.read_parquet(context.step_folder("selection") / OUTLIERS_NAME)
    if panels := outlier_panels(outliers, score):
        caption = (
            f"Spectra of the highest score ({score.replace('_', ' ')}) among those that the map "
            "rejected, as observed (light) and smoothed (dark) (paper, Fig. 4)."
        )
        pictures.append(Picture("Rejected outliers", outliers_figure(panels), caption))
    return Section("What was chosen", (), [table], pictures)


def _map_pictures(context: Context, record: dict[str, Any]) -> list[Picture]:
    path = context.step_folder("map") / CELLS_NAME
    if not path.is_file():
        return []
    cells_file = read_cells(path)
    frame = cells_file.scan().select("TARGETID", "CELL").collect()
    by_class = counts_by_class(
        frame["TARGETID"].to_numpy(),
        frame["CELL"].to_numpy(),
        truth_set(context, context.round_number),
        cells_file.cells,
    )
    counts, least = np.array(record["counts"], dtype=np.int64), float(record["least_count"])
    chosen = pl.read_parquet(context.step_folder("selection") / CHOSEN_NAME)
    return [
        Picture(
            "The map",
            counts_figure(counts, by_class, cells_file.cells, least),
            "Spectra in every cell of the map: all of the pool, and those with a label, class by "
            f"class, on a scale of their own. Outlined: the {int((counts < least).sum())} cells "
            f"with fewer than {least:g} spectra, whose spectra are outliers (paper, Fig. 2).",
        ),
        Picture(
            "Where the chosen ones lie",
            chosen_figure(counts, cells_file.cells, least, chosen["CELL"].to_numpy()),
            "Chosen spectra (dots, larger for more) over the counts of the map.",
        ),
    ]


# The paper's figures are of the most confident line.
_DRAWN: Final = "Z_BEST"
_CONFUSIONS_LISTED: Final = 10


def redshift_sections(context: Context) -> list[Section]:
    """Return the sections on repeats and on the comparison."""
    outputs, every = read_outputs(context), read_redshift_numbers(context)
    numbers = {text: every[text] for text in KINDS.values()}
    return [_repeats_section(outputs, numbers), _comparison_section(outputs, numbers)]


def _repeats_section(outputs: Outputs, numbers: Mapping[str, Any]) -> Section:
    title = "Repeats: is an object called the same each time?"
    best = repeats_of(outputs, _DRAWN)
    if not best:
        return Section(title, ["No object without a label was observed twice or more."])
    cells: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "objects": lambda n: str(n["objects"]),
        "called differently": lambda n: str(n["confused"]),
        "mean entropy, bits": lambda n: f"{n['mean_entropy_bits']:.4f}",
        "always quasars": lambda n: str(n["always_qso"]),
        "median scatter of z": lambda n: (
            "–" if n["median_z_std"] is None else f"{n['median_z_std']:.5f}"
        ),
    }
    header = ["weights", "redshift of", *cells]
    rows = [
        [label, text, *(cell(found["repeats"][label]) for cell in cells.values())]
        for text, found in numbers.items()
        for label in outputs
    ]
    pictures = [
        Picture(
            "Confused repeats",
            confusion_figure(best),
            "Two-class entropy of every object's exposures: objects with each pair of values, "
            "old weights against new (left), and with each value (right) (paper, Fig. 8).",
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
        f"{list(outputs)[1]}: the weights that leave the campaign, trained on all labels."
    ]
    return Section(title, text, [Table("Repeats", header, rows)], pictures)


def _comparison_section(outputs: Outputs, numbers: Mapping[str, Any]) -> Section:
    old, new = outputs
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
    tables.append(
        Table(
            "Lines taken for others",
            [f"by {old}", f"by {new}", "spectra"],
            [[line_label(c["a"]), line_label(c["b"]), str(c["n"])] for c in confused]
            or [["none", "none", "0"]],
            f"Redshift of one line, within {CONFUSION_KMS:,.0f} km/s of the confusion (paper, "
            "Table 1).",
        )
    )
    one_line = comparison_of(outputs, _DRAWN)
    pictures = []
    if len(one_line.z_a):
        pictures.append(
            Picture(
                "Old and new redshifts",
                comparison_figure(one_line, old, new),
                f"Redshifts of one line of the {len(one_line.z_a):,} spectra where both find a "
                "quasar; dashed: line confusions, with the number of spectra near them. Below: "
                "their difference, and where velocities differ by 3000 (dashed) and 5000 km/s "
                "(paper, Fig. 10).",
            )
        )
    text = ["Pool and test spectra, those of labelled objects left out."]
    return Section("Old weights and new: do the redshifts agree?", text, tables, pictures)
