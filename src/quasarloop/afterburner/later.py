"""A rerun left for later: prior files, lists and the commands to run, in a folder of their own."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from quasarloop.afterburner.redrock_run import RedrockCall, Run, write_run
from quasarloop.artefacts import check_folder, write_atomically

__all__ = ["COMMANDS", "later_folder", "write_for_later"]

COMMANDS: Final = "redrock.sh"
_OURS: Final = ("priors-*.fits", "targets-*.txt", "redrock-*.fits", COMMANDS)
_TEMPLATES_HERE: Final = '"${RR_TEMPLATE_DIR:?}"/rrtemplate-QSO-*.fits'


def later_folder(output: Path) -> Path:
    """Return the folder beside an output that its rerun waits in.

    >>> later_folder(Path("out/qso_qn-1.fits.gz")).name
    'qso_qn-1-rerun'
    """
    stem = output.name.removesuffix(".gz").removesuffix(".fits")
    return output.with_name(f"{stem}-rerun")


def write_for_later(output: Path, coadd: Path, runs: Sequence[Run], call: RedrockCall) -> Path:
    """Write prior files, target lists and a shell script with the commands.

    Returns:
        The script.
    """
    folder = check_folder(later_folder(output))
    # Results of an earlier rerun must not be taken for those of this one.
    for pattern in _OURS:
        for path in folder.glob(pattern):
            path.unlink()
    lines = [
        "#!/bin/sh",
        "# Redrock with priors, to be run where redrock is. Then:",
        f"#   quasarloop afterburner --output {shlex.quote(str(output))} --finish",
        "set -e",
        'cd "$(dirname "$0")"',
    ]
    for run in runs:
        arguments = write_run(folder, coadd.resolve(), run, call)
        listed = "\n".join(map(str, run.target_id.tolist())) + "\n"
        with write_atomically(folder / f"targets-{run.number}.txt") as temporary:
            temporary.write_text(listed, encoding="ascii")
        lines.append(_command(arguments, call, {"folder": folder, "run": run}))
    script = folder / COMMANDS
    with write_atomically(script) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return script


def _command(arguments: list[str], call: RedrockCall, names: Mapping[str, Any]) -> str:
    folder = f"{names['folder']}/"
    words = [shlex.quote(word.removeprefix(folder)) for word in arguments]
    if not call.templates:
        # Not known here: the place the survey's environments name.
        words.insert(words.index("--templates") + 1, _TEMPLATES_HERE)
    return " ".join([shlex.quote(call.program), *words])
