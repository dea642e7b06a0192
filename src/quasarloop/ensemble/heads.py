"""Linear heads on one trunk: members of an ensemble that are trained in milliseconds.

A head changes every emission line's box logit l into ``gain * l + weights . h + offset``; h is
what the heads of the network read (`quasarloop.network.features`). All boxes move alike: redshifts
stay, and the network with a head is a network of the same layout again (`fold_head`).

A head is fitted as a logistic regression of "quasar or not" on (L, h), where L is the logit that
decides, with a Gaussian prior around the network as it is, (1, 0, 0). The widths of the prior
maximise the evidence of the labels (Laplace's approximation; MacKay 1992, Neural Computation 4,
448 and 720). An object's label counts once, however many spectra it has: its spectra are not
independent, and the evidence would trust them too far. Members are bootstrap samples of the
labelled objects, as those of whole networks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, log_expit

from quasarloop.ensemble.bootstrap import bootstrap_rows, member_seeds
from quasarloop.errors import TruthError, WeightsError
from quasarloop.network.config import NetworkConfig
from quasarloop.network.features import Features
from quasarloop.network.weights import Weights

__all__ = [
    "Heads",
    "LabelledFeatures",
    "PriorWidths",
    "Standard",
    "deciding_logit",
    "fit_head",
    "fit_heads",
    "fold_head",
]

Floats = NDArray[np.float64]

# Widths of the prior that the evidence chooses from: of the weights, for features of scatter 1, and
# of gain and offset. Source: our choice: from "the network as it is" to "no prior".
_WEIGHT_WIDTHS: Final = tuple(float(w) for w in 10.0 ** np.arange(-2.5, 0.76, 0.25))
_GAIN_WIDTHS: Final = (0.03, 0.1, 0.3, 1.0)
_OFFSET_WIDTH: Final = 3.0
# Fewer objects of a class do not constrain a head. Source: our choice.
_MIN_OBJECTS: Final = 2
# Hidden units that hardly ever vary, against the middle one, take no part: divided by their
# scatter, a rare spectrum would be any number.
_DEAD: Final = 1e-3
_MAX_STEPS: Final = 100
_TOLERANCE: Final = 1e-10
_ARMIJO: Final = 1e-4  # part of the promised decrease that a step must bring


@dataclass(frozen=True)
class Standard:
    """Mean and scatter of the hidden units, which the prior's widths are in units of.

    Attributes:
        mean: (n_dense,) float64.
        factor: (n_dense,) float64, one over the scatter; 0 leaves a unit out.
    """

    mean: Floats
    factor: Floats

    @classmethod
    def of(cls, blocks: Iterable[NDArray[np.floating]]) -> "Standard":
        """Measure hidden units in blocks of (n, n_dense); rows of NaN do not count.

        Raises:
            WeightsError: no row is left.
        """
        n, total, squares = 0, 0.0, 0.0
        for hidden in blocks:
            known = hidden[~np.isnan(hidden).any(axis=1)].astype(np.float64)
            n += len(known)
            total, squares = total + known.sum(axis=0), squares + np.square(known).sum(axis=0)
        if not n:
            raise WeightsError("no spectrum has features; give a store with usable spectra")
        mean = np.asarray(total / n)
        scale = np.sqrt(np.maximum(squares / n - np.square(mean), 0.0))
        dead = scale <= _DEAD * np.median(scale)
        return cls(mean, np.where(dead, 0.0, 1 / np.where(dead, 1.0, scale)))

    def apply(self, hidden: NDArray[np.floating]) -> Floats:
        """Return (n, n_dense) of mean 0 and scatter 1."""
        return np.asarray((hidden.astype(np.float64) - self.mean) * self.factor)


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of labelled spectra.

    Attributes:
        features: of n spectra.
        is_qso: (n,) bool.
        object_id: (n,) int64, equal for all spectra of one object.
    """

    features: Features
    is_qso: NDArray[np.bool_]
    object_id: NDArray[np.int64]

    def __getitem__(self, index: NDArray[Any]) -> "LabelledFeatures":
        """Return some rows."""
        return LabelledFeatures(self.features[index], self.is_qso[index], self.object_id[index])

    def in_order(self) -> "LabelledFeatures":
        """Return the rows in an order that depends on what they hold alone."""
        lines = self.features.line_logit.T
        keys = (*self.features.hidden.T, *lines, self.is_qso, self.object_id)
        rows = np.lexsort(keys)
        return self[rows]


class PriorWidths(NamedTuple):
    """Widths of the Gaussian prior of gain, weights (of standardised units) and offset."""

    gain: float
    weights: float
    offset: float


@dataclass(frozen=True)
class Heads:
    """Heads on one trunk.

    Attributes:
        table: (m, n_dense + 2) float64: gain, weights of the hidden units, offset of each.
        standard: the units the prior was given in.
        widths: of the prior.
        n_lines: the logit that was fitted is that of the ``n_lines``-th most confident line.
    """

    table: Floats
    standard: Standard
    widths: PriorWidths
    n_lines: int = 1

    def __len__(self) -> int:
        """Return the number of heads."""
        return len(self.table)

    def shift(self, hidden: NDArray[np.floating]) -> Floats:
        """Return (m, n) what every head adds to the logits: weights . h + offset."""
        return np.asarray(self.table[:, 1:-1] @ hidden.T.astype(np.float64) + self.table[:, -1:])

    def logits(self, features: Features, config: NetworkConfig, n_lines: int = 1) -> Floats:
        """Return (m, n) logits that decide, with every head."""
        own = deciding_logit(features, config, n_lines)
        return np.asarray(self.table[:, :1] * own + self.shift(features.hidden))


def deciding_logit(features: Features, config: NetworkConfig, n_lines: int = 1) -> Floats:
    """Return (n,) logit of the ``n_lines``-th most confident emission line.

    Raises:
        WeightsError: the network has fewer emission lines.
    """
    emission = features.line_logit[:, list(config.emission_index)]
    if n_lines > emission.shape[1]:
        raise WeightsError(f"{n_lines} lines must count; the network finds {emission.shape[1]}")
    return np.partition(emission, -n_lines, axis=1)[:, -n_lines].astype(np.float64)


def fit_head(
    labelled: LabelledFeatures,
    config: NetworkConfig,
    *,
    standard: Standard | None = None,
    n_lines: int = 1,
) -> Heads:
    """Fit one head to all labels; arguments and errors as `fit_heads`."""
    fit = _Fit.of(labelled.in_order(), config, standard, n_lines)
    return fit.heads([fit.solve(fit.share, fit.widths)])


def fit_heads(
    labelled: LabelledFeatures,
    config: NetworkConfig,
    *,
    n_heads: int,
    seed: int,
    standard: Standard | None = None,
    n_lines: int = 1,
) -> Heads:
    """Fit heads, each to a bootstrap sample of the labelled objects.

    Neither the order of the rows nor the number of heads changes a bit of any.

    Args:
        labelled: what to fit.
        config: the trunk's network.
        n_heads: how many.
        seed: of the samples, which are those of whole networks (`member_seeds`).
        standard: of the unlabelled spectra; None measures the labelled ones.
        n_lines: lines that must count for a quasar.

    Raises:
        TruthError: labels of one class only, or too few.
    """
    ordered = labelled.in_order()
    fit = _Fit.of(ordered, config, standard, n_lines)
    whole = fit.solve(fit.share, fit.widths)
    found = []
    for seeds in member_seeds(seed, n_heads):
        drawn = bootstrap_rows(ordered.object_id, np.random.default_rng(seeds.bootstrap))
        times = fit.share * np.bincount(drawn, minlength=len(fit.design))
        found.append(fit.solve(times, fit.widths, start=whole))
    return fit.heads(found)


def fold_head(weights: Weights, heads: Heads, index: int) -> Weights:
    """Return the network with a head as a network of the same layout, for every reader."""
    gain, own, offset = np.split(heads.table[index], [1, -1])
    if len(own) != weights.config.n_dense:
        raise WeightsError(
            f"a head on {len(own)} hidden units does not fit a network of {weights.config.n_dense}"
        )
    arrays: dict[str, NDArray[np.float32]] = dict(weights.arrays)
    for line in weights.config.emission_index:
        kernel, bias = (arrays[f"fc_box_{line}/{part}"] for part in ("kernel", "bias"))
        arrays[f"fc_box_{line}/kernel"] = (gain * kernel + own[:, None]).astype(np.float32)
        arrays[f"fc_box_{line}/bias"] = (gain * bias + offset).astype(np.float32)
    story: Mapping[str, Any] = {"member": index, "trunk": weights.digest()}
    return replace(weights, arrays=arrays, provenance={**weights.provenance, "head": story})


class _Terms(NamedTuple):
    """Minus ln (likelihood times prior), its gradient and its curvature at some parameters."""

    value: float
    gradient: Floats
    curvature: Floats


@dataclass(frozen=True)
class _Fit:
    """A logistic regression, ready to be solved.

    Attributes:
        design: (n, n_dense + 2): logit, standardised hidden units, 1.
        is_qso: (n,) 1 for quasars, else 0.
        share: (n,) what each row counts: spectra of one object share its one label.
        standard: of the hidden units.
        n_lines: of the logit.
    """

    design: Floats
    is_qso: Floats
    share: Floats
    standard: Standard
    n_lines: int
    widths: PriorWidths

    @classmethod
    def of(
        cls,
        labelled: LabelledFeatures,
        config: NetworkConfig,
        standard: Standard | None,
        n_lines: int,
    ) -> "_Fit":
        """Check the labels, standardise, and choose the prior's widths on them."""
        _check(labelled)
        units = standard or Standard.of([labelled.features.hidden])
        hidden = units.apply(labelled.features.hidden)
        logit = deciding_logit(labelled.features, config, n_lines)
        design = np.column_stack([logit, hidden, np.ones(len(logit))])
        _, place, n_spectra = np.unique(labelled.object_id, return_inverse=True, return_counts=True)
        is_qso, share = labelled.is_qso.astype(np.float64), 1 / n_spectra[place]
        fit = cls(design, is_qso, share, units, n_lines, PriorWidths(1, 1, 1))
        return replace(fit, widths=fit.likeliest_widths())

    def likeliest_widths(self) -> PriorWidths:
        """Return the widths of most evidence."""
        best = -np.inf
        for gain in _GAIN_WIDTHS:
            start = None
            for weight in _WEIGHT_WIDTHS:
                widths = PriorWidths(gain, weight, _OFFSET_WIDTH)
                start = self.solve(self.share, widths, start)
                evidence = self.evidence(start, widths)
                if evidence > best:
                    best, chosen = evidence, widths
        return chosen

    def solve(self, times: Floats, widths: PriorWidths, start: Floats | None = None) -> Floats:
        """Return the most probable (n_dense + 2,) parameters, by Newton's method.

        Args:
            times: (n,) how often every row counts.
            widths: of the prior.
            start: parameters to start from.
        """
        prior = self._prior(widths)
        found = prior[1] if start is None else start
        terms = self._terms(found, times, prior)
        for _ in range(_MAX_STEPS):
            step = cho_solve(cho_factor(terms.curvature), terms.gradient)
            decrease = float(terms.gradient @ step)
            if decrease < _TOLERANCE:
                break
            length = 1.0  # halved until the value falls: far from the minimum Newton overshoots
            while length > _TOLERANCE:
                after = self._terms(found - length * step, times, prior)
                if after.value <= terms.value - _ARMIJO * length * decrease:
                    break
                length /= 2
            found, terms = found - length * step, after
        return found

    def evidence(self, found: Floats, widths: PriorWidths) -> float:
        """Return ln p(labels | widths) in Laplace's approximation at the most probable values."""
        prior = self._prior(widths)
        terms = self._terms(found, self.share, prior)
        log_det = 2 * np.log(np.diag(cho_factor(terms.curvature)[0])).sum()
        return float(-terms.value + 0.5 * np.log(prior[0]).sum() - 0.5 * log_det)

    def heads(self, found: list[Floats]) -> Heads:
        """Return solutions in the hidden units as they are."""
        gain, weights, offset = np.split(np.array(found), [1, -1], axis=1)
        raw = weights * self.standard.factor
        offset = offset - raw @ self.standard.mean[:, None]
        table = np.hstack([gain, raw, offset])
        return Heads(table, self.standard, self.widths, self.n_lines)

    def _prior(self, widths: PriorWidths) -> tuple[Floats, Floats]:
        """Return the precision of the prior and its centre, the network as it is."""
        n_hidden = self.design.shape[1] - 2
        scatter = np.array([widths.gain, *[widths.weights] * n_hidden, widths.offset])
        return 1 / np.square(scatter), np.eye(1, n_hidden + 2)[0]

    def _terms(self, at: Floats, times: Floats, prior: tuple[Floats, Floats]) -> _Terms:
        precision, centre = prior
        logit, apart = self.design @ at, at - centre
        sign, p = 2 * self.is_qso - 1, expit(logit)
        value = -times @ log_expit(sign * logit) + 0.5 * precision @ np.square(apart)
        gradient = self.design.T @ (times * (p - self.is_qso)) + precision * apart
        weighted = self.design * (times * p * (1 - p))[:, None]
        return _Terms(float(value), gradient, weighted.T @ self.design + np.diag(precision))


def _check(labelled: LabelledFeatures) -> None:
    bad = np.flatnonzero(np.isnan(labelled.features.hidden).any(axis=1))
    if len(bad):
        raise WeightsError(
            f"{len(bad)} labelled spectra have no features (first: row {bad[0]}); leave out those "
            "without usable data"
        )
    n_qso = len(np.unique(labelled.object_id[labelled.is_qso]))
    n_other = len(np.unique(labelled.object_id[~labelled.is_qso]))
    if min(n_qso, n_other) < _MIN_OBJECTS:
        raise TruthError(
            f"{n_qso} quasars and {n_other} other objects are labelled; heads need at least "
            f"{_MIN_OBJECTS} of both: label more spectra (at random, without heads to choose by), "
            "or use the weights as they are"
        )
