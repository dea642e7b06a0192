"""How far a campaign is, as rows of text: the first row names the columns."""

import math

import sqlalchemy as sa
from sqlalchemy.orm import Session

from quasarloop.inspect.agreement import Agreement
from quasarloop.inspect.campaign import progress
from quasarloop.inspect.results import Result
from quasarloop.inspect.tables import User

__all__ = ["agreement_rows", "people_rows", "state_rows"]

Rows = list[tuple[str, ...]]


def state_rows(found: list[Result]) -> Rows:
    """Count objects by where they stand."""
    states = {
        "still open": "open",
        "agreed": "merged",
        "to decide": "conflict",
        "decided": "decided",
    }
    counts = [(name, str(sum(r.state == s for r in found))) for name, s in states.items()]
    return [("state", "objects"), *counts, ("all", str(len(found)))]


def people_rows(session: Session) -> Rows:
    """List everybody with their progress and pace."""
    rows: Rows = [("name", "role", "to do", "skipped", "done", "s per object")]
    for user in session.scalars(sa.select(User).order_by(User.role, User.name)):
        work = progress(session, user.id)
        pace = f"{work.seconds / work.done:.1f}" if work.done and work.seconds else "–"
        numbers = (str(work.todo), str(work.skipped), str(work.done), pace)
        rows.append((user.name, user.role if user.active else f"{user.role}, out", *numbers))
    return rows


def agreement_rows(agreed: Agreement) -> Rows:
    """List agreement over all and per pair."""
    names = ("who", "n", "α class", "α quality", "same class", "Δ quality")
    rows: Rows = [(*names, "z scatter / km/s", "z apart")]
    for pair in agreed.pairs:
        rows.append(
            (
                f"{pair.first} – {pair.second}",
                str(pair.n_common),
                _number(pair.alpha_class, ".3f"),
                _number(pair.alpha_quality, ".3f"),
                _percent(pair.same_class),
                _number(pair.quality_difference, "+.2f"),
                _number(pair.z_scatter_kms, ".0f"),
                _percent(pair.z_outliers),
            )
        )
    alphas = (_number(agreed.alpha_class, ".3f"), _number(agreed.alpha_quality, ".3f"))
    scatter = (_number(agreed.z_scatter_kms, ".0f"), _percent(agreed.z_outliers))
    return [*rows, ("all", str(agreed.n_objects), *alphas, "", "", *scatter)]


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "–"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"
