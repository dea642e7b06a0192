"""The report's part on what was chosen, and why the rest was not."""

from quasarloop.artefacts import read_manifest
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps.selection import STEPS_NAME
from quasarloop.evaluate.report import Section, Table

__all__ = ["selection_section"]


def selection_section(context: Context) -> Section:
    """Return the count table and Figs. 2 to 4."""
    record = read_manifest(context.step_folder("selection") / STEPS_NAME)
    rows = [["all spectra", "", f"{record['n_spectra']:,}"]]
    rows += [[s["what"], f"{s['removed']:,}", f"{s['left']:,}"] for s in record["steps"]]
    table = Table("From all spectra to the chosen ones", ["step", "removed", "left"], rows)
    return Section("What was chosen", tables=[table])
