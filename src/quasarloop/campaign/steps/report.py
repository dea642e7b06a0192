"""The report of a round: one self-contained HTML file, the same as PDF, and its numbers."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from quasarloop.artefacts import read_manifest
from quasarloop.campaign.layout import LEDGER
from quasarloop.campaign.ledger import Origin, read_ledger
from quasarloop.campaign.state import MANIFEST, Context, Step
from quasarloop.campaign.steps.candidates import read_candidates
from quasarloop.campaign.steps.evaluation import AGAIN, SAMPLES, read_judgements, read_numbers
from quasarloop.campaign.steps.labels import read_labels, read_verdicts
from quasarloop.campaign.steps.networks import FINAL, SETS_NAME, set_name
from quasarloop.campaign.steps.redshifts import read_redshift_numbers
from quasarloop.campaign.steps.report_sections import (
    agreement_sections,
    redshift_sections,
    selection_section,
    worth_section,
)
from quasarloop.campaign.steps.verdict import points_at_purity, verdict_of
from quasarloop.evaluate.figures import (
    bootstrap_figure,
    equal_size_figure,
    learning_figure,
    threshold_figure,
)
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.report import Picture, Report, Section, Table, write_report
from quasarloop.network.records import read_history
from quasarloop.truth import SpecType, TruthTable

__all__ = ["REPORT", "REPORT_NAME"]

REPORT_NAME: Final = "report.html"
_DATA_OR_NUMBER: Final = "Is it the data or only their number?"


def _run(context: Context) -> None:
    verdict = verdict_of(context)
    report = Report(
        title=f"{context.config.name}: round {context.round_number}",
        verdict=verdict.sentences,
        summary=verdict.table,
        sections=[
            worth_section(context),
            selection_section(context),
            _labels_section(context),
            *agreement_sections(read_verdicts(context)),
            _learning_section(context),
            *(_judgement_section(context, s) for s in SAMPLES if read_numbers(context, s)),
            *redshift_sections(context),
            _flags_section(context),
        ],
        numbers={
            **verdict.numbers,
            "candidates": read_candidates(context),
            "judged": {sample: read_numbers(context, sample) for sample in (*SAMPLES, AGAIN)},
            "redshifts": read_redshift_numbers(context),
        },
        provenance=_provenance(context),
    )
    write_report(report, context.step_folder("report"))


def _labels_section(context: Context) -> Section:
    tables = []
    for origin, labels in read_labels(context).items():
        title = "New labels" if origin == Origin.LOOP.value else "Labels of rejected outliers"
        tables.append(Table(title, ["class", "labels", "secure", "redshift"], _by_class(labels)))
    ledger = read_ledger(context.step_folder("truth") / LEDGER)
    counts = ledger.group_by("ORIGIN", "ROUND", "STATUS").len().sort("ROUND", "ORIGIN", "STATUS")
    tables.append(
        Table(
            "Where the truth table's labels come from",
            ["origin", "round", "status", "labels"],
            [[str(cell) for cell in row] for row in counts.iter_rows()],
        )
    )
    return Section("What the new labels are", tables=tables)


def _by_class(labels: TruthTable) -> list[list[str]]:
    rows = []
    for kind in SpecType:
        mine = labels.spectype == kind
        z = labels.z[mine & np.isfinite(labels.z)]
        span = f"{np.median(z):z.2f} ({z.min():z.2f} to {z.max():z.2f})" if len(z) else "–"
        if mine.any():
            secure = int(np.count_nonzero(labels.trains[mine]))
            rows.append([kind.name, str(int(mine.sum())), str(secure), span])
    return rows


def _learning_section(context: Context) -> Section:
    folder = context.step_folder("networks")
    sizes = read_manifest(folder / SETS_NAME)["sizes"]
    titles = {
        name: f"{name} ({size} spectra)"
        for name, size in sizes.items()
        if name != FINAL and (folder / f"{name}.parquet").is_file()
    }
    histories = {title: read_history(folder / f"{name}.parquet") for name, title in titles.items()}
    pictures = []
    if histories:
        pictures.append(
            Picture(
                "Learning curves",
                learning_figure(histories),
                "Completeness (solid) and five times impurity (dashed) on the same validation set, "
                "per epoch, of all networks that have epochs (paper, Fig. 5).",
            )
        )
    bootstraps = {
        title: [read_history(path) for path in sorted(folder.glob(f"{name}-bootstrap-*.parquet"))]
        for name, title in titles.items()
    }
    if any(bootstraps.values()):
        pictures.append(
            Picture(
                _DATA_OR_NUMBER,
                bootstrap_figure(histories, bootstraps),
                "Completeness per epoch; dashed: the smaller sets drawn with replacement to the "
                "size of the largest (paper, Fig. 6).",
            )
        )
    if again := read_numbers(context, AGAIN):
        points = points_at_purity(context)
        names = [set_name(k) for k in range(context.round_number + 1)]
        pictures.append(
            Picture(
                _DATA_OR_NUMBER,
                equal_size_figure({name: points[name] for name in names}, again),
                "One head per truth set, with its error; open dots beside: heads on the smaller "
                "sets drawn with replacement to the size of the largest. If they stay below it, "
                "the new labels bring more than their number (paper, Fig. 6).",
            )
        )
    return Section("How the networks learn", pictures=pictures)


def _judgement_section(context: Context, sample: str) -> Section:
    judged = read_judgements(context, sample)
    numbers = read_numbers(context, sample)
    rows = [
        {
            "network": name,
            "completeness": str(one.completeness),
            "purity": str(one.purity),
            **{
                f"complete at purity {purity}": f"{value:.3f}"
                for purity, value in zip(FIXED_PURITIES, one.at_purity, strict=True)
            },
            "stars, galaxies called quasars": (
                f"{one.false_found['STAR']}, {one.false_found['GALAXY']}"
            ),
            "redshift right": str(one.redshift.right),
            "NMAD Δz/(1+z)": f"{one.redshift.nmad:.5f}",
            "oscillation, km/s": _amplitude(numbers.get(name, {})),
        }
        for name, one in judged.items()
    ]
    any_one = next(iter(judged.values()))
    picture = Picture(
        "Completeness against purity",
        threshold_figure(judged),
        "Thresholds from 0 to 1; the dot is at the threshold of each network "
        f"({any_one.thresholds.confidence:g} for {next(iter(judged))}), with binomial 68 % "
        "intervals (paper, Fig. 7).",
    )
    text = [
        f"{any_one.n_judged} spectra, {any_one.n_true} of them quasars. Completeness is quasars "
        "true and found over quasars true; purity is quasars true and found over found. "
        "Oscillation: half amplitude of the redshift error over a line's box, 'noise' what chance "
        "alone gives."
    ]
    cells = [list(row.values()) for row in rows]
    table = Table(f"Judged on the {sample} spectra", list(rows[0]), cells)
    return Section(f"How good they are: {sample}", text, [table], [picture])


def _flags_section(context: Context) -> Section:
    contents = read_manifest(context.step_folder("ingest") / "contents.json")
    rows = [
        [name, flag, str(count)]
        for name, content in contents.items()
        for flag, count in content["flags"].items()
    ]
    failed = [[name, file] for name, content in contents.items() for file in content["failed"]]
    tables = [Table("Quality flags", ["spectra", "flag", "rows"], rows)]
    if failed:
        tables.append(Table("Files that could not be read", ["spectra", "file"], failed))
    return Section("What was flagged", tables=tables)


def _amplitude(numbers: Mapping[str, Any]) -> str:
    if "oscillation_kms" not in numbers:
        return "too few"
    parts = (numbers[f"oscillation_{part}kms"] for part in ("", "error_", "noise_"))
    return "{:.0f} ± {:.0f} (noise {:.0f})".format(*parts)


def _written(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in values.items())


def _provenance(context: Context) -> dict[str, str]:
    manifest = read_manifest(context.step_folder("evaluation") / MANIFEST)
    options = asdict(context.config)
    sections = {name: part for name, part in options.items() if isinstance(part, dict)}
    single = {name: value for name, value in options.items() if name not in sections}
    return {
        "options": _written(single),
        **{f"[{name}]": _written(part) for name, part in sections.items()},
        "versions": _written(manifest["versions"]),
        **{
            f"made by {name}": digest
            for name, digest in manifest["origin"].items()
            if name.startswith("step")
        },
    }


REPORT = Step(
    "report",
    "Write the report",
    _run,
    lambda config: {"name": config.name},
    needs=("ingest", "map", "selection", "labels", "truth", "networks", "evaluation", "redshifts"),
)
