"""Options of the afterburner and the quasar catalogue; read without torch and FITS."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from quasarloop.afterburner.mgii import MgIIOptions
from quasarloop.errors import SelectionError
from quasarloop.network.options import PredictOptions
from quasarloop.options import check_options, option

__all__ = ["ON_CPU", "CatalogueOptions", "Policy", "Published", "RerunOptions"]

Policy = Literal["ours", "today", "paper"]  # of `reruns.POLICIES`
Published = Literal["pipeline", "paper", "catalogue"]  # of `reruns.THRESHOLDS`

# Tiles run in many processes, each with a core of its own.
ON_CPU: Final = PredictOptions(device="cpu")


@dataclass(frozen=True, kw_only=True)
class RerunOptions:
    """Which rows redrock fits again, and how it is run.

    Attributes:
        rerun: ``"library"``: in this process; ``"program"``: as `rrdesi`; ``"later"``: not now,
            prior files and commands are written; ``"auto"`` takes the program if one is named,
            else the library if it is installed, else ``"later"``.
        rrdesi: path of ``rrdesi``, or of a ``python`` that has redrock; None is ``rrdesi``.
        templates: quasar template files, or their folder; nothing means redrock's own.

    Raises:
        SelectionError: no such policy, or no such way to run redrock.
    """

    policy: Policy = option("ours", "Which rows are rerun, which priors.")
    templates: tuple[Path, ...] = option(
        (), "Redrock's quasar template (repeat), or their folder. Default: $RR_TEMPLATE_DIR."
    )
    rerun: Literal["auto", "library", "program", "later"] = option(
        "auto", "How redrock runs; later writes priors and commands for --finish."
    )
    rrdesi: str | None = option(None, "rrdesi, or python, of another environment that has redrock.")
    processes: int = option(1, "Redrock's processes per tile.", low=1)

    def __post_init__(self) -> None:
        check_options(self, SelectionError)


@dataclass(frozen=True, kw_only=True)
class CatalogueOptions:
    """How a catalogue is made of redrock's, Mg II's and the network's files.

    Attributes:
        recipe: thresholds, fibres and cuts, of `maskbits.RECIPES`. The default is the code that
            makes the quasar catalogues: the bits and rules are its own, too.
        threshold: confidence in place of the recipe's.
        targets: ``"survey"`` believes the target bits; ``"all"`` treats every science fibre as a
            quasar target, for files that have no bits.
        waiting: redshift of quasars that wait for redrock's second run: ``"redrock"`` keeps the
            first fit's, as in the published catalogues; ``"network"`` takes the network's.
        mgii: ``"file"`` reads qso_mgii files beside the redrock files, ``"fit"`` fits the coadds
            beside them, ``"auto"`` takes whichever is there, ``"none"`` goes without.
        mgii_templates: folder of redrock's templates, for ``"fit"`` (see `mgii_file`).
        mgii_options: for ``"fit"``.

    Raises:
        SelectionError: a value that is not among these.
    """

    recipe: Literal["lss-dr2", "desispec-0.71.5", "lss-dr1"] = option(
        "lss-dr2",
        "Whose code and which version give confidence and fibres: 0.99; the same, variable ones "
        "(bit 20) too; 0.95.",
    )
    threshold: float | None = option(None, "Another confidence than the recipe's.", low=0, high=1)
    targets: Literal["survey", "all"] = option(
        "survey", "all: treat every science fibre as a quasar target."
    )
    waiting: Literal["redrock", "network"] = option(
        "redrock",
        "Redshift of quasars that wait for redrock's second run: its first fit's, as published, "
        "or the network's.",
    )
    mgii: Literal["auto", "file", "fit", "none"] = option(
        "auto", "Read qso_mgii files, fit the coadds, whichever is there, or neither."
    )
    mgii_templates: Path | None = option(
        None,
        "Folder of the redrock templates the redrock files were made with: Mg II must then beat "
        "redrock's own fit. Default: it must beat a constant.",
    )
    mgii_options: MgIIOptions = field(default_factory=MgIIOptions)

    def __post_init__(self) -> None:
        check_options(self, SelectionError)
