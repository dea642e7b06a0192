"""``python -m tests.fuzz --cases 2000`` from the project's root; ``--only 17`` runs one again."""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.harness import prepare, run_cases


def main() -> None:
    """Run cases and print what ended badly, by kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*")
    parser.add_argument("--sound", type=Path, help="folder of sound files, made if absent")
    parser.add_argument("--keep", type=Path, help="copy of the (last) case's inputs")
    given = parser.parse_args()
    sound = given.sound or Path(tempfile.mkdtemp()) / "sound"
    if not sound.exists():
        prepare(sound, campaign=True)
    numbers = given.only or range(given.first, given.first + given.cases)
    kinds: Counter[str] = Counter()
    n = good = 0
    for result in run_cases(sound.resolve(), numbers, given.keep):
        n += 1
        good += result.ended.status == 0
        if result.fault:
            kinds[result.fault.split(":")[0]] += 1
            print(f"{result.number}: {result.target.file}: {result.target.command[:60]}\n"
                  f"    {result.fault}", flush=True)  # fmt: skip
        if given.only:
            ended = result.ended
            print(f"{ended.output}status {ended.status}, {ended.seconds:.1f} s, "
                  f"{ended.megabytes:.0f} MB")  # fmt: skip
    print(f"{n} cases, {good} without error, {sum(kinds.values())} faults: {dict(kinds)}")


if __name__ == "__main__":
    main()
