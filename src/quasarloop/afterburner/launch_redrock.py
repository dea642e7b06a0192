"""Run rrdesi under a numpy that redrock 0.21.0 does not know yet.

Redrock 0.21.0, the newest on PyPI, evaluates tophat priors with ``numpy.NaN``, which numpy 2 took
away. This file imports nothing of ours, so that the Python of any environment can run it:
``python launch_redrock.py --infiles …``.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["main", "numpy_as_redrock_knows_it"]


@contextmanager
def numpy_as_redrock_knows_it() -> Iterator[None]:
    """Give numpy its old name of NaN back for as long as redrock runs.

    >>> with numpy_as_redrock_knows_it():
    ...     vars(np)["NaN"]
    nan
    """
    names = vars(np)
    known = "NaN" in names
    names.setdefault("NaN", np.nan)
    try:
        yield
    finally:
        if not known:
            del names["NaN"]


def main(arguments: list[str]) -> None:
    """Do what ``rrdesi`` does."""
    from redrock.external.desi import rrdesi  # noqa: PLC0415 -- optional extra

    with numpy_as_redrock_knows_it():
        rrdesi(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
