"""An option has its default, limits, meaning and source in one place, and is held to them."""

from dataclasses import MISSING, dataclass, field
from typing import Literal

import numpy as np
import pytest

from quasarloop.errors import SelectionError
from quasarloop.options import (
    check_options,
    common_options,
    described_fields,
    like,
    option,
    options_from_dict,
)


@dataclass(frozen=True)
class Star:
    n: int = option(3, "How many.", source="our choice", low=1)
    share: float = option(0.5, "Which part.", low=0, below=1)
    kind: Literal["hot", "cold"] = option("hot", "Which kind.")
    most: int | None = option(None, "At most so many.", low=1)
    per_round: float | tuple[float, ...] = option(0.0, "One, or one per round.", low=0, high=1)
    names: tuple[str, ...] = option((), "Their names.")
    bright: bool = option(True, "Whether bright.")

    def __post_init__(self) -> None:
        check_options(self, SelectionError)


@dataclass(frozen=True)
class Sky:
    star: Star = field(default_factory=Star)
    n: int = like(Star, "n", 10, source="paper")
    kind: Literal["hot", "cold"] = like(Star, "kind")
    name: str = option("sky", "Name.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n is 0; it must be at least 1"),
        ({"n": 1.5}, "n is 1.5; it must be a whole number"),
        ({"n": True}, "n is True; it must be a whole number"),
        ({"share": 1.0}, "share is 1.0; it must be at least 0 and below 1"),
        ({"share": float("nan")}, "share is nan; it must be"),
        ({"share": "0.5"}, "share is '0.5'; it must be a number"),
        ({"kind": "warm"}, "kind is 'warm'; known: hot, cold"),
        ({"most": 0}, "most is 0; it must be at least 1"),
        ({"per_round": (0.5, 1.5)}, "per_round is .*; it must be between 0 and 1"),
        ({"per_round": ()}, "it must hold at least one value"),
        ({"most": (1,)}, "most is .*; it must be a single value"),
        ({"names": "Vega"}, "names is 'Vega'; it must be a list"),
        ({"names": (7,)}, "it must be text"),
        ({"bright": 1}, "bright is 1; it must be true or false"),
        ({"n": 0, "kind": "warm"}, "n is 0.*; kind is 'warm'"),
    ],
)
def test_impossible_values_are_named(change, message):
    with pytest.raises(SelectionError, match=message):
        Star(**change)


def test_possible_values_are_kept():
    star = Star(n=np.int64(4), share=0, most=None, per_round=(0.0, 1), names=("Vega",))
    assert (star.n, star.share, star.per_round) == (4, 0, (0.0, 1))


def test_an_option_like_another():
    described = described_fields(Sky)
    assert set(described) == {"n", "kind", "name"}
    assert described["n"][0].default == 10
    assert described["n"][1].comment == "How many (paper)."
    assert described_fields(Star)["n"][1].comment == "How many (our choice)."
    assert described["kind"][0].default == "hot"
    assert described["kind"][1].comment == "Which kind."
    assert like(Star, "n", 5).metadata["option"].source == "", "the source was the old default's"


def test_required_options_have_no_default():
    @dataclass(frozen=True)
    class Needed:
        n: int = option(MISSING, "How many.")

    with pytest.raises(TypeError):
        Needed()


def test_plain_values_become_options():
    sky = options_from_dict(Sky, {"star": {"names": ["a"], "share": 0}, "n": 2}, SelectionError)
    assert sky == Sky(star=Star(names=("a",), share=0.0), n=2)
    assert isinstance(sky.star.share, float)


def test_every_slip_of_plain_values_is_named_with_its_place():
    wrong = {"star": {"n": 0, "nn": 1}, "n": "many", "name": 5}
    with pytest.raises(SelectionError) as caught:
        options_from_dict(Sky, wrong, SelectionError)
    for text in (
        "star.n is 0",
        "star.nn is no option; known: n, share",
        "n is 'many'",
        "name is 5",
    ):
        assert text in str(caught.value)
    with pytest.raises(SelectionError, match="star is 3; it must be a table"):
        options_from_dict(Sky, {"star": 3}, SelectionError)


def test_options_of_the_same_names():
    assert common_options(Star, Sky(n=7, kind="cold"), share=0.1) == Star(
        n=7, kind="cold", share=0.1
    )
