"""How many inspectors look at an object: a fixed number, or more only where the first are unsure.

`"3"` is three for every object. `"2+1"` is two, and a third where they differ by the merge rules,
where a quality is below 3, or where the object is one of a random tenth: the control, by which
`control_of` measures what two let through.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from quasarloop.errors import InspectionError
from quasarloop.labels.merge import conflicts
from quasarloop.labels.verdict import Verdict, is_complete

__all__ = [
    "CONTROL_SHARE",
    "MAX_PER_OBJECT",
    "PER_OBJECT",
    "RULE_PATTERN",
    "SECURE_QUALITY",
    "Control",
    "InspectionRule",
    "control_of",
]

# Source: paper, Section 4: "three separate experts inspect each spectra".
PER_OBJECT: Final = 3
MAX_PER_OBJECT: Final = 9
# Share of objects that get all inspectors whatever the first find (our choice).
CONTROL_SHARE: Final = 0.1
# Below this quality a verdict alone is reason for one more (our choice; one secure feature).
SECURE_QUALITY: Final = 3
RULE_PATTERN: Final = r"[1-9](\+[1-9])?"


@dataclass(frozen=True)
class InspectionRule:
    """Inspectors of every object, and how many more look where it is needed.

    Attributes:
        first: inspectors of every object.
        more: inspectors added where the first differ or are unsure, and for the control.
        seed: which objects are the control.
    """

    first: int = PER_OBJECT
    more: int = 0
    seed: int = 0

    @classmethod
    def from_text(cls, text: str, seed: int = 0) -> "InspectionRule":
        """Read ``"3"`` or ``"2+1"``.

        Raises:
            InspectionError: neither, or more than `MAX_PER_OBJECT` in all.
        """
        parts = [int(part) for part in text.split("+")] if re.fullmatch(RULE_PATTERN, text) else []
        if not parts or sum(parts) > MAX_PER_OBJECT:
            raise InspectionError(
                f"inspectors per object is {text!r}; expected a number from 1 to {MAX_PER_OBJECT}, "
                'or two with a plus, such as "2+1"'
            )
        first, more = (*parts, 0)[:2]
        return cls(first, more, seed)

    def __str__(self) -> str:
        """Return the text that `from_text` reads."""
        return f"{self.first}+{self.more}" if self.more else str(self.first)

    def is_control(self, target_id: int) -> bool:
        """Return whether an object gets all inspectors whatever the first find.

        It depends on the seed and the TARGETID alone, so that it is the same at any time.
        """
        if not self.more:
            return False
        digest = hashlib.sha256(f"{self.seed}:{target_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < CONTROL_SHARE * 2.0**64

    def needed(self, target_id: int, verdicts: Sequence[Verdict]) -> int:
        """Return how many inspectors an object needs, after the verdicts it has."""
        known = [verdict for verdict in verdicts if is_complete(verdict)]
        unsettled = len(known) >= self.first and not _is_settled(known)
        return self.first + self.more * (unsettled or self.is_control(target_id))


@dataclass(frozen=True)
class Control:
    """What the first inspectors let through, measured on the control.

    Attributes:
        n_settled: control objects with all verdicts, on which the first agreed with quality 3.
        n_differ: those of them where a later inspector differs by the merge rules.
    """

    n_settled: int
    n_differ: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share of settled objects on which one more differs.

        Source: Wilson (1927), J. Am. Stat. Assoc. 22, 209.
        """
        # Half of the page's start would be this import; a killed server has to be back soon.
        from scipy.stats import binomtest  # noqa: PLC0415

        found = binomtest(self.n_differ, self.n_settled).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def describe(self) -> str:
        """Return the finding as a sentence; empty without a control."""
        if not self.n_settled:
            return ""
        low, high = self.interval
        return (
            f"control: one more inspector differs on {self.n_differ} of {self.n_settled} objects "
            f"that the first agreed on (95 %: {100 * low:.1f} to {100 * high:.1f} %)"
        )


def control_of(rule: InspectionRule, verdicts: Iterable[tuple[int, Sequence[Verdict]]]) -> Control:
    """Measure what a rule's first inspectors let through.

    Args:
        rule: of the campaign.
        verdicts: TARGETID and its complete verdicts, in the order they were given.
    """
    settled = [
        (every[: rule.first], every[: rule.first + rule.more])
        for target, every in verdicts
        if rule.is_control(target) and len(every) >= rule.first + rule.more
    ]
    differ = [bool(conflicts(every)) for first, every in settled if _is_settled(first)]
    return Control(len(differ), sum(differ))


def _is_settled(known: Sequence[Verdict]) -> bool:
    secure = all((verdict.quality or 0) >= SECURE_QUALITY for verdict in known)
    return secure and not conflicts(known)
