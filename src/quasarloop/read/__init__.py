"""Reading survey files: spectra, and truth tables. One file per format."""

from quasarloop.read.detect import (
    FORMATS,
    SpectraFile,
    content_digest,
    find_files,
    find_format,
    iter_spectra,
    open_spectra,
    read_spectra,
)
from quasarloop.read.formats import named_id, sdss_target_id
from quasarloop.read.memory import Sources, is_path, list_sources, spectra_from_memory
from quasarloop.read.specutils_files import spectrum_list
from quasarloop.read.truth_tables import read_truth, read_truths, write_truth

__all__ = [
    "FORMATS",
    "Sources",
    "SpectraFile",
    "content_digest",
    "find_files",
    "find_format",
    "is_path",
    "iter_spectra",
    "list_sources",
    "named_id",
    "open_spectra",
    "read_spectra",
    "read_truth",
    "read_truths",
    "sdss_target_id",
    "spectra_from_memory",
    "spectrum_list",
    "write_truth",
]
