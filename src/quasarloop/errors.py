"""Every exception quasarloop raises on purpose, as one tree.

A message contains what was found, what was expected and what to do; the original exception is
kept as the cause (``raise ... from exc``).
"""

__all__ = [
    "CampaignError",
    "DataFormatError",
    "GridError",
    "InspectionError",
    "OutputError",
    "QuasarloopError",
    "RedrockError",
    "SelectionError",
    "TaskError",
    "TruthError",
    "WeightsError",
]


class QuasarloopError(Exception):
    """Base of all errors of this package: catch this one to catch them all."""


class DataFormatError(QuasarloopError):
    """A spectrum file, catalogue or store is not what its format promises."""


class GridError(QuasarloopError):
    """A wavelength grid is not uniform, or two grids that must agree do not."""


class WeightsError(QuasarloopError):
    """A weights file or ensemble is incomplete, ambiguous or of another kind."""


class TruthError(QuasarloopError):
    """A truth table has wrong columns, impossible values or clashing rows."""


class SelectionError(QuasarloopError):
    """Votes, map and truth do not fit together, or nothing is left to choose."""


class InspectionError(QuasarloopError):
    """A worklist, label or inspector is not what was requested."""


class CampaignError(QuasarloopError):
    """A campaign folder is stale, inconsistent or misconfigured."""


class RedrockError(QuasarloopError):
    """Redrock or its templates are missing, or a run of redrock failed."""


class TaskError(QuasarloopError):
    """A task of the engine failed for good; the message names the task."""


class OutputError(QuasarloopError):
    """A result cannot be written: folder missing, not writable, file exists, disk full."""
