"""Count what a house holds: lines, files, names, and the places where a fact is written.

    python studies/house.py 3dc0f74 main     # two git revisions or checkouts, before and after
    python studies/house.py --where          # this checkout: every place that was counted

prints Markdown tables; docs/development/house.md has the ones of the renovation. Everything is read
from text and syntax trees, nothing is imported; the rules are the constants below.
"""

import argparse
import ast
import io
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["House", "compare", "facts", "read_house"]

# Words that are not the field's (docs/development/naming.md), as whole words.
WORDS = re.compile(r"\b(asks?|asked|says?|said|who|whom|stands?|tells?|told|shall)\b", re.I)
# Sources that a reader of the package cannot reach.
UNREACHABLE = re.compile(r"INTEROP|\.\./shared|issue text")
# Columns that identify a spectrum, and the fields of a verdict, in any case.
IDENTITY = frozenset(
    {"targetid", "object_id", "target_ra", "target_dec", "survey", "program", "tileid", "healpix"}
    | {"night", "expid", "petal", "fiber", "objtype", "fiberstatus"}
)
VERDICT = frozenset(("spectype", "z", "quality", "is_bal", "issues", "comment"))
_LISTED = 5  # names of such a set written in one list, class or table make a place
# Numbers that decide: confidence thresholds, the redshift of HIGH_Z, the quality that trains.
THRESHOLDS = (0.95, 0.99, 2.1, 2.5)
_CONFIDENCE = re.compile(r"conf|^c_line|score", re.I)
_THRESHOLD = re.compile(r"thresh", re.I)
_LIGHT = re.compile(
    r"2\.99[78]\d*e\d+|299_?792(\.|_)\d*|import c as \w+|simulate\.constants import SPEED_\w+"
)
_SEEDS = frozenset({"SeedSequence", "default_rng", "seed_of", "_seed", "seeds", "stream"})
_TRIVIAL = (None, True, False, 0, 1, -1, "", 0.0, 1.0)


@dataclass(frozen=True)
class House:
    """One package: its name, and path below it -> text of Python and page files."""

    name: str
    texts: Mapping[str, str]

    @cached_property
    def python(self) -> dict[str, str]:
        """Path -> text of the Python files."""
        return {path: text for path, text in self.texts.items() if path.endswith(".py")}

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Path -> syntax tree."""
        return {path: ast.parse(text) for path, text in self.python.items()}

    @cached_property
    def modules(self) -> dict[str, str]:
        """Dotted name -> path."""
        paths = {path: f"{self.name}/{path}".removesuffix(".py") for path in self.python}
        return {p.removesuffix("/__init__").replace("/", "."): path for path, p in paths.items()}

    @cached_property
    def exported(self) -> dict[str, tuple[str, ...]]:
        """Path -> the names in its ``__all__``, package files left out."""
        return {
            path: tuple(_listed(tree))
            for path, tree in self.trees.items()
            if not path.endswith("__init__.py")
        }

    @cached_property
    def uses(self) -> dict[tuple[str, str], set[str]]:
        """(path, name) -> the other files that use that name, re-exports followed."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for user, tree in self.trees.items():
            for module, name in _references(tree):
                home = self._home(module, name)
                if home is not None and home[0] != user:
                    found[home].add(user)
        return found

    @cached_property
    def importers(self) -> dict[str, set[str]]:
        """Path -> the other files that import it."""
        found: dict[str, set[str]] = defaultdict(set)
        for user, tree in self.trees.items():
            for module, name in _references(tree):
                path = self.modules.get(f"{module}.{name}") or self.modules.get(module)
                if path not in (None, user) and not path.endswith("__init__.py"):
                    found[path].add(user)
        return found

    def _home(self, module: str, name: str) -> tuple[str, str] | None:
        path = self.modules.get(module)
        if path is None or f"{module}.{name}" in self.modules:
            return None
        if path.endswith("__init__.py"):
            for other, own in _references(self.trees[path]):
                if own == name:
                    return self._home(other, name)
        return path, name


def _references(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of imports, and of attributes of imported modules."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.module, alias.name
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
                aliases[alias.asname or alias.name] = alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = ast.unparse(node.value)
            if owner in aliases:
                yield aliases[owner], node.attr


def _listed(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(getattr(target, "id", "") == "__all__" for target in targets):
                yield from (str(name) for name in ast.literal_eval(node.value))


def _words_of(node: ast.AST) -> Iterator[str]:
    """Yield field, keyword and text names at the first levels of one statement."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value.lower()
        elif isinstance(part, ast.keyword) and part.arg:
            yield part.arg.lower()
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id.lower()


def _lists_of(names: frozenset[str]) -> Callable[[House], list[str]]:
    """Return a finder of top-level statements and page scripts with most of these names."""

    def find(house: House) -> list[str]:
        places = [
            f"{path}:{node.lineno}"
            for path, tree in house.trees.items()
            for node in tree.body
            if len(names & set(_words_of(node))) >= _LISTED
        ]
        for path, text in house.texts.items():
            if path.endswith(".js"):
                keys = re.findall(r"\b(\w+)\b\s*:|\.(\w+)\b", text.lower())
                if len(names & {first or second for first, second in keys}) >= _LISTED:
                    places.append(path)
        return places

    return find


def _nodes(house: House) -> Iterator[tuple[str, ast.AST]]:
    """Yield (path:line, node) of every node of every file."""
    for path, tree in house.trees.items():
        for node in ast.walk(tree):
            yield f"{path}:{getattr(node, 'lineno', 0)}", node


def _decisions(house: House) -> list[str]:
    """Find comparisons of a confidence or score with a threshold."""
    return [
        place
        for place, node in _nodes(house)
        if isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.Gt | ast.GtE)
        and _CONFIDENCE.search(ast.unparse(node.left))
        and _THRESHOLD.search(ast.unparse(node.comparators[0]))
    ]


def _defaults(tree: ast.Module) -> Iterator[tuple[str, object]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            named = [*node.args.posonlyargs, *node.args.args]
            values = node.args.defaults
            pairs = [*zip(named[len(named) - len(values) :], values, strict=True)]
            pairs += [*zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
            yield from ((a.arg, v.value) for a, v in pairs if isinstance(v, ast.Constant))
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    value = item.value
                    if isinstance(value, ast.Call) and value.args:  # pydantic's Field(30, ...)
                        value = value.args[0]
                    if isinstance(value, ast.Constant):
                        yield item.target.id, value.value


def _copied_defaults(house: House) -> list[str]:
    """Find defaults (name and value) that an earlier file has too."""
    seen: dict[tuple[str, str], str] = {}
    places = []
    for path, tree in house.trees.items():
        for name, value in dict.fromkeys(_defaults(tree)):
            if value is not ... and not any(value == trivial for trivial in _TRIVIAL):
                first = seen.setdefault((name, repr(value)), path)
                if first != path:
                    places.append(f"{path} {name}={value!r} ({first})")
    return places


def _typed_thresholds(house: House) -> list[str]:
    """Find the numbers of `THRESHOLDS` in Python code, but for the simulator's spectra."""
    return [
        f"{place} {node.value}"
        for place, node in _nodes(house)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, float)
        and node.value in THRESHOLDS
        and not place.startswith("simulate/")
    ]


def _bare_seeds(house: House) -> list[str]:
    """Find whole numbers typed into the making of a random stream."""
    return [
        place
        for place, node in _nodes(house)
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in _SEEDS
        and any(
            isinstance(part, ast.Constant) and type(part.value) is int
            for argument in node.args
            for part in (argument, *getattr(argument, "elts", ()))
        )
    ]


def _matches(pattern: re.Pattern[str]) -> Callable[[House], list[str]]:
    """Return a finder of a pattern in the texts, once for each match."""

    def find(house: House) -> list[str]:
        return [
            f"{path}:{number} {match.group()}"
            for path, text in house.texts.items()
            for number, line in enumerate(text.splitlines(), 1)
            for match in pattern.finditer(line)
        ]

    return find


def _lines(texts: Mapping[str, str]) -> int:
    return sum(len(text.splitlines()) for text in texts.values())


def _single(house: House) -> list[str]:
    return [path for path, users in house.importers.items() if len(users) == 1]


def _little_used(house: House) -> list[str]:
    return [
        f"{path} {name}"
        for path, names in house.exported.items()
        for name in names
        if len(house.uses[path, name]) <= 1
    ]


def _lines(texts: Mapping[str, str]) -> int:
    return sum(len(text.splitlines()) for text in texts.values())


# What is counted -> a number, or the list of places that is counted.
FACTS: dict[str, Callable[[House], int | list[str]]] = {
    "Python files": lambda house: len(house.python),
    "lines of Python": lambda house: _lines(house.python),
    "lines of the pages (js, html, css)": lambda house: _lines(house.texts) - _lines(house.python),
    "longest file, lines": lambda house: max(len(t.splitlines()) for t in house.python.values()),
    "names exported (`__all__`)": lambda house: sum(map(len, house.exported.values())),
    "… used by at most one other file": _little_used,
    "files imported by exactly one other": _single,
    "… lines in them": lambda house: sum(len(house.python[p].splitlines()) for p in _single(house)),
    "places that list identity columns (5 or more)": _lists_of(IDENTITY),
    "places that list a verdict's fields (5 or more)": _lists_of(VERDICT),
    "comparisons of a confidence with a threshold": _decisions,
    "defaults typed again in another file": _copied_defaults,
    f"thresholds typed ({', '.join(map(str, THRESHOLDS))})": _typed_thresholds,
    "speed of light written": _matches(_LIGHT),
    "random streams with bare numbers": _bare_seeds,
    "words that are not the field's": _matches(WORDS),
    "citations nobody can reach": _matches(UNREACHABLE),
}
# Columns of the table of rooms.
_OF_ROOMS = {
    "files": "Python files",
    "lines": "lines of Python",
    "words": "words that are not the field's",
    "citations": "citations nobody can reach",
}


def facts(house: House) -> dict[str, int | list[str]]:
    """Return what `FACTS` finds in one house."""
    return {name: find(house) for name, find in FACTS.items()}


def read_house(place: str, repository: Path = Path()) -> House:
    """Read the package below ``src/`` of a checkout or a git revision.

    Args:
        place: a folder with ``src/``, or a revision of the repository.
        repository: where revisions are looked up.

    Raises:
        SystemExit: neither; git's own message is shown.
    """
    folder = Path(place, "src")
    texts = {}
    if folder.is_dir():
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                texts[path.relative_to(folder).as_posix()] = path.read_bytes()
    else:
        command = ["git", "-C", str(repository), "archive", "--format=tar", place, "src"]
        answer = subprocess.run(command, capture_output=True, check=False)
        if answer.returncode:
            raise SystemExit(f"{place}: no folder with src/, and {answer.stderr.decode().strip()}")
        with tarfile.open(fileobj=io.BytesIO(answer.stdout)) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    texts[member.name.removeprefix("src/")] = content.read()
    endings = (".py", ".js", ".html", ".css")
    wanted = {name: texts[name] for name in sorted(texts) if name.endswith(endings)}
    package = next(iter(wanted)).split("/")[0]
    below = {name.removeprefix(f"{package}/"): t.decode("utf-8") for name, t in wanted.items()}
    return House(package, below)


def _rooms(house: House) -> dict[str, House]:
    rooms: dict[str, dict[str, str]] = defaultdict(dict)
    for path, text in house.texts.items():
        rooms[path.split("/")[0].removesuffix(".py")][path] = text
    return {room: House(house.name, texts) for room, texts in rooms.items()}


def _row(cells: Iterable[int | str | list[str]]) -> str:
    numbers = (len(cell) if isinstance(cell, list) else cell for cell in cells)
    return f"| {' | '.join(n if isinstance(n, str) else f'{n:,}' for n in numbers)} |"


def compare(houses: Mapping[str, House]) -> str:
    """Return the Markdown tables of one house, or of two beside each other."""
    found = [facts(house) for house in houses.values()]
    lines = [_row(["what", *houses]), _row(["---", *("---:" for _ in houses)])]
    lines += [_row([name, *(each[name] for each in found)]) for name in FACTS]
    heads = [f"{kind} {name}" for kind in _OF_ROOMS for name in houses]
    lines += ["", _row(["room", *heads]), _row(["---", *("---:" for _ in heads)])]
    by_house = [_rooms(house) for house in houses.values()]
    for room in sorted({room for rooms in by_house for room in rooms}):
        cells = [
            FACTS[fact](rooms[room]) if room in rooms else ""
            for fact in _OF_ROOMS.values()
            for rooms in by_house
        ]
        lines.append(_row([f"`{room}`", *cells]))
    lines.append(_row(["all", *(each[fact] for fact in _OF_ROOMS.values() for each in found)]))
    return "\n".join(lines)


def main() -> None:
    """Print the tables, or the places behind them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "places", nargs="*", default=["."], help="one or two checkouts or git revisions"
    )
    parser.add_argument("--where", action="store_true", help="list the places, of the last one")
    chosen = parser.parse_args()
    names = ("before", "after") if chosen.places[1:] else ("count",)
    houses = {n: read_house(place) for n, place in zip(names, chosen.places, strict=True)}
    if chosen.where:
        for name, found in facts(houses[names[-1]]).items():
            if isinstance(found, list):
                print(f"\n{name}: {len(found)}", *found, sep="\n  ")
    else:
        print(compare(houses))


if __name__ == "__main__":
    main()
