"""Why a row was or was not given to redrock again, and what came of it: one bit each."""

from enum import IntFlag
from typing import Final

__all__ = ["AGAINST", "Why", "why_names"]


class Why(IntFlag):
    """Bits of column RERUN_BITS; a row can have several. Names stand in the file's header."""

    RERUN = 1  # redrock was run again, with a prior
    CHANGED = 2  # class or redshift is another one since
    NOT_TARGET = 4  # sky or broken fibre: OBJTYPE is not TGT
    CLASS_NOT_ASKED = 8  # of no target class that was asked for
    NO_SPECTRUM = 16  # nothing the network could read
    NOT_QUASAR = 32  # the network sees no quasar
    REDROCK_AGREES = 64  # redrock had a quasar at that redshift already
    CLASS_EXEMPT = 128  # the policy leaves this class of redrock's alone
    NO_TEMPLATE = 256  # no quasar template reaches the prior's redshifts
    TWO_PRIORS = 512  # two redshifts were likely: run with a prior on each
    SECOND_WON = 1024  # and the second fits better
    WAITING = 2048  # to be rerun, but redrock's answer is not in yet
    NO_ANSWER = 4096  # redrock gave none: no data left, or the target is missing in its file
    OUTSIDE_PRIOR = 8192  # redrock's answer lies outside the prior, so it was not taken
    WARNED = 16384  # redrock's second fit has a warning


# Any of these keeps a row from being rerun.
AGAINST: Final = (
    Why.NOT_TARGET
    | Why.CLASS_NOT_ASKED
    | Why.NO_SPECTRUM
    | Why.NOT_QUASAR
    | Why.REDROCK_AGREES
    | Why.CLASS_EXEMPT
    | Why.NO_TEMPLATE
)


def why_names(value: int) -> str:
    """Return the names of a bit mask, ``"|"`` between them, ``""`` for none.

    >>> why_names(3)
    'RERUN|CHANGED'
    """
    return "|".join(str(bit.name) for bit in Why if value & bit)
