"""Whether the offsets of a weights file are rescaled: the one thing such files leave open.

QuasarNET puts a Lambda layer, -0.1 + 1.2 x, behind every offset. QuasarNP looks for one
empty group named exactly ``lambda``; files whose Lambda layers are numbered from 0, or from
7, it reads as plain. ``model_config`` names the layers and what they do: it decides here.
"""

import base64
import binascii
import struct
from typing import Final, Literal, NamedTuple

from quasarloop.errors import WeightsError
from quasarloop.network.keras_file import KerasFile, KerasLayer
from quasarloop.network.keras_layout import LAMBDA_GROUP
from quasarloop.network.model import OFFSET_RANGE, PLAIN_OFFSET_RANGE

__all__ = ["OffsetSpan", "Offsets", "decide_offsets"]

Offsets = Literal["auto", "rescaled", "plain"]


class OffsetSpan(NamedTuple):
    """What was decided.

    Attributes:
        low: smallest offset, in boxes.
        high: largest offset, in boxes.
        why: a sentence for reports.
    """

    low: float
    high: float
    why: str


# How Python's marshal writes the two numbers of "-0.1 + 1.2 x" in a Lambda's bytecode.
_LAMBDA_NUMBERS: Final = tuple(
    struct.pack("<d", number)
    for number in (OFFSET_RANGE[0], round(OFFSET_RANGE[1] - OFFSET_RANGE[0], 9))
)


def decide_offsets(file: KerasFile, n_lines: int, asked: Offsets = "auto") -> OffsetSpan:
    """Decide how the offsets of a file are meant.

    Args:
        file: what was read.
        n_lines: number of line finders.
        asked: ``"auto"`` decides from the file, the others for it.

    Raises:
        WeightsError: the file contradicts itself; the message says how, and how to decide.
    """
    if asked == "rescaled":
        return OffsetSpan(*OFFSET_RANGE, "rescaled, as asked for")
    if asked == "plain":
        return OffsetSpan(*PLAIN_OFFSET_RANGE, "plain, as asked for")
    if asked != "auto":
        raise WeightsError(f"offsets={asked!r}; expected 'auto', 'rescaled' or 'plain'")
    lambdas = file.of_kind("Lambda")
    if not lambdas:
        groups = [group for group in file.groups if group.split("_")[0] == LAMBDA_GROUP]
        if groups:
            raise _undecided(
                file,
                f"model_config has no Lambda layer, but the weights have {', '.join(groups)}",
            )
        return OffsetSpan(*PLAIN_OFFSET_RANGE, "plain: model_config has no Lambda layer")
    names = ", ".join(layer.name for layer in lambdas)
    fed = {source for layer in lambdas for source in layer.sources}
    n_linked = sum(f"fc_offset_{line}" in fed for line in range(n_lines)) if fed else len(lambdas)
    if n_linked != n_lines:
        raise _undecided(
            file, f"of {n_lines} offset layers {n_linked} have a Lambda layer behind them ({names})"
        )
    spans = {_span_of(file, layer) for layer in lambdas}
    if len(spans) != 1:
        raise _undecided(file, f"its Lambda layers ({names}) rescale differently")
    return OffsetSpan(*spans.pop(), f"rescaled: model_config has the Lambda layers {names}")


def _span_of(file: KerasFile, layer: KerasLayer) -> tuple[float, float]:
    arguments = layer.settings.get("arguments") or {}
    if {"low", "high"} <= set(arguments):  # as quasarloop writes it
        return float(arguments["low"]), float(arguments["high"])
    function = layer.settings.get("function")
    if isinstance(function, list) and function and isinstance(function[0], str):
        try:
            code = base64.b64decode(function[0])
        except binascii.Error as exc:
            raise _undecided(file, f"the function of {layer.name} cannot be decoded") from exc
        # The bytecode is looked at, never run.
        if not all(number in code for number in _LAMBDA_NUMBERS):
            raise _undecided(file, f"the function of {layer.name} does not hold -0.1 and 1.2")
    return OFFSET_RANGE


def _undecided(file: KerasFile, found: str) -> WeightsError:
    return WeightsError(
        f"{file.name}: cannot tell whether offsets are rescaled (-0.1 + 1.2 x): {found}. Ask who "
        "trained the network, then pass offsets='rescaled' or 'plain' (--offsets); the wrong one "
        "shifts redshifts by up to 0.1 of a box"
    )
