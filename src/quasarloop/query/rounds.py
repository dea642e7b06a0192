"""Settings of a selection that change from round to round, as growing rounds need them.

A small random round first shows a network what its first truth table never held; larger rounds
by score follow (docs/label_saving.md).
"""

from collections.abc import Sequence
from typing import TypeVar

from quasarloop.errors import SelectionError

__all__ = ["of_round"]

Number = TypeVar("Number", int, float)


def of_round(value: Number | Sequence[Number], number: int) -> Number:
    """Return the value of a round.

    Args:
        value: one for all rounds, or one per round; the last holds for all later rounds.
        number: of the round, from 1.

    Raises:
        SelectionError: no value, or no such round.

    >>> [of_round((75, 75, 150, 300), number) for number in (1, 3, 4, 5)]
    [75, 150, 300, 300]
    """
    if number < 1:
        raise SelectionError(f"round {number}; rounds are counted from 1")
    if not isinstance(value, Sequence):
        return value
    if not value:
        raise SelectionError("a setting per round names no round; give at least one number")
    return value[min(number, len(value)) - 1]
