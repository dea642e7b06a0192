"""Options: every choice once, with its default, limits, meaning and source.

A class of options is a frozen dataclass whose fields are made by `option`; `check_options` in its
``__post_init__`` holds the values against types and limits. The command line
(`quasarloop.cli.common.with_options`) and ``campaign.toml`` are made from these fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

__all__ = [
    "Described",
    "check_options",
    "common_options",
    "described_fields",
    "field_types",
    "like",
    "option",
    "options_from_dict",
]

T = TypeVar("T")
_KEY: Final = "option"
_PLAIN: Final = {bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Described:
    """What is known of an option besides its default.

    Attributes:
        help: one sentence on its meaning.
        source: where the default comes from; empty where there is nothing to cite.
        low, high: smallest and largest value allowed.
        above, below: limits that are themselves not allowed.
    """

    help: str
    source: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    @property
    def comment(self) -> str:
        """Meaning and source in one sentence."""
        return f"{self.help.removesuffix('.')} ({self.source})." if self.source else self.help

    @property
    def range(self) -> str:
        """The limits in words."""
        if self.low is not None and self.high is not None:
            return f"between {self.low:g} and {self.high:g}"
        limits = {
            "at least": self.low,
            "above": self.above,
            "at most": self.high,
            "below": self.below,
        }
        return " and ".join(f"{word} {x:g}" for word, x in limits.items() if x is not None)

    def allows(self, number: float) -> bool:
        """Whether a number lies within the limits; NaN lies in none."""
        return (
            (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )


def option(default: Any, help: str, *, source: str = "", **limits: float) -> Any:  # noqa: A002 -- as argparse, click and typer
    """Return a dataclass field with its default, meaning, source and limits.

    Args:
        default: value if nothing is given; `dataclasses.MISSING` makes the option required.
        help: one sentence on its meaning, for ``--help`` and ``campaign.toml``.
        source: where the default comes from.
        **limits: ``low``, ``high``, ``above``, ``below`` (see `Described`).
    """
    return field(default=default, metadata={_KEY: Described(help, source, **limits)})


def like(options: type, name: str, default: Any = MISSING, **changes: str) -> Any:
    """Return a field that is described as another class's option.

    Args:
        options: the other class.
        name: of its option.
        default: another default; without, the same.
        **changes: another ``help`` or ``source``; a new default without a source has none.
    """
    original = options.__dataclass_fields__[name]  # type: ignore[attr-defined]  # a dataclass
    if default is not MISSING:
        changes = {"source": "", **changes}
    return field(
        default=original.default if default is MISSING else default,
        metadata={_KEY: replace(original.metadata[_KEY], **changes)},
    )


def described_fields(options: Any) -> dict[str, tuple[Field[Any], Described]]:
    """Return the described fields of a class of options, or of an instance, by name."""
    return {f.name: (f, f.metadata[_KEY]) for f in fields(options) if _KEY in f.metadata}


def field_types(options: Any) -> dict[str, Any]:
    """Return the types of a class's fields by name; quoted ones stay text."""
    return {f.name: f.type for f in fields(options)}


def check_options(options: Any, error: type[Exception]) -> None:
    """Raise an error that names every described field whose value is impossible."""
    values = {name: getattr(options, name) for name in described_fields(options)}
    if faults := _faults(type(options), values):
        raise error("; ".join(faults))


def common_options(options: type[T], other: Any, **values: Any) -> T:
    """Make options from another dataclass's fields of the same names; `values` are others."""
    shared = {f.name for f in fields(options)} & {f.name for f in fields(other)}  # type: ignore[arg-type]  # a dataclass
    return options(**{**{name: getattr(other, name) for name in shared}, **values})


def options_from_dict(options: type[T], content: Mapping[str, Any], error: type[Exception]) -> T:
    """Make options from plain values, as TOML or JSON give them.

    Args:
        options: class to make; fields that are classes of options themselves are tables.
        content: values by name; what is left out keeps its default.
        error: raised with every unknown name and impossible value.
    """
    if faults := _faults(options, content):
        raise error("; ".join(faults))
    return _built(options, content, error)


def _built(options: type[T], content: Mapping[str, Any], error: type[Exception]) -> T:
    values: dict[str, Any] = {}
    for name, value in content.items():
        kind = field_types(options)[name]
        if is_dataclass(kind):
            values[name] = _built(kind, value, error)  # type: ignore[arg-type]  # a class
        elif isinstance(value, list):
            values[name] = tuple(value)
        else:
            values[name] = float(value) if kind is float else value
    return options(**values)


def _faults(options: type, content: Mapping[str, Any], where: str = "") -> list[str]:
    """Name every unknown or impossible value, inner tables included."""
    described, types = described_fields(options), field_types(options)
    faults = []
    for name, value in content.items():
        kind = types.get(name)
        if kind is None:
            faults.append(f"{where}{name} is no option; known: {', '.join(types)}")
        elif is_dataclass(kind):
            if isinstance(value, Mapping):
                faults += _faults(kind, value, f"{where}{name}.")  # type: ignore[arg-type]  # a class
            elif not isinstance(value, kind):  # type: ignore[arg-type]  # a class
                faults.append(f"{where}{name} is {value!r}; it must be a table")
        elif name in described:
            need = _need(kind, described[name][1], value)
            faults += [f"{where}{name} is {value!r}; {need}"] if need else []
    return faults


def _need(kind: Any, text: Described, value: Any) -> str:
    """Return what a value has to be, or nothing if it is that."""
    origin, parts, need = get_origin(kind), get_args(kind), ""
    if origin in (Union, UnionType):
        need = _need_of_union(parts, text, value)
    elif origin is Literal:
        need = "" if value in parts else f"known: {', '.join(parts)}"
    elif origin in (tuple, Sequence):
        if not isinstance(value, list | tuple):
            need = "it must be a list"
        else:
            need = next((n for item in value if (n := _need(parts[0], text, item))), "")
    elif kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
            need = f"it must be a {'whole ' if kind is int else ''}number"
        elif not text.allows(float(value)):
            need = f"it must be {text.range}"
    elif kind in _PLAIN and not isinstance(value, kind):
        need = f"it must be {_PLAIN[kind]}"
    return need


def _need_of_union(parts: Sequence[Any], text: Described, value: Any) -> str:
    if value is None and NoneType in parts:
        return ""
    if value in ((), []):  # one value, or one per round
        return "it must hold at least one value"
    lists = isinstance(value, list | tuple)
    fitting = [p for p in parts if p is not NoneType and (get_origin(p) is tuple) == lists]
    needs = [_need(part, text, value) for part in fitting]
    return "" if "" in needs else (needs or ["it must be a single value"])[0]
