"""Reading survey files: spectra, and truth tables. One file per format."""

from quasarloop.read.detect import (
    FORMATS,
    content_digest,
    find_files,
    find_format,
    iter_spectra,
    read_spectra,
)
from quasarloop.read.formats import named_id, sdss_target_id
from quasarloop.read.truth_tables import read_truth, read_truths, write_truth

__all__ = [
    "FORMATS",
    "content_digest",
    "find_files",
    "find_format",
    "iter_spectra",
    "named_id",
    "read_spectra",
    "read_truth",
    "read_truths",
    "sdss_target_id",
    "write_truth",
]
