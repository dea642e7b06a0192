"""Columns of DESI's quasar files: qso_qn, qso_mgii and quasar catalogues."""

from typing import Final

from quasarloop.afterburner.survey_targets import PHASES
from quasarloop.columns import Column, columns_named, columns_of_lines
from quasarloop.lines import BAL_LINE, EMISSION_LINES
from quasarloop.zwarn import N_COEFF

__all__ = [
    "DESI_COLUMNS",
    "MGII_COLUMNS",
    "MOST_PRIORS",
    "NETWORK_COLUMNS",
    "documented_columns",
    "own_columns",
]

# Priors a row can have.
MOST_PRIORS: Final = 2
# Source: desispec.scripts.qsomgii, HDU MGII.
MGII_COLUMNS: Final = (
    "TARGETID", "IS_QSO_MGII", "DELTA_CHI2", "A", "SIGMA", "B", "VAR_A", "VAR_SIGMA", "VAR_B",
)  # fmt: skip


def documented_columns(target_column: str = "DESI_TARGET") -> tuple[Column, ...]:
    """Return desispec's columns, in its order.

    Args:
        target_column: of the survey's phase, e.g. ``"SV3_DESI_TARGET"``.

    Source: desispec.scripts.qsoqn; docs/reference/desi.md, "Afterburner output".
    """
    return (
        Column("TARGETID", "i8", "target"),
        Column("RA", "f8", "right ascension, degrees"),
        Column("DEC", "f8", "declination, degrees"),
        Column(target_column, "i8", "target bits"),
        Column("SPECTYPE_RR", "S6", "class, first redrock run"),
        Column("Z_RR", "f8", "redshift, first redrock run"),
        Column("IS_QSO_QN_NEW_RR", "?", "network: quasar; and redrock was run again"),
        Column("Z_QN", "f4", "network: redshift of the best line"),
        *columns_of_lines(EMISSION_LINES),
        Column("Z_NEW", "f8", "redshift, second redrock run; NaN if not run"),
        Column("ZERR_NEW", "f4", "its error"),
        Column("ZWARN_NEW", "i8", "its warning bits; 0 if not run"),
        Column("SPECTYPE_NEW", "S3", "its class"),
        Column("SUBTYPE_NEW", "S3", "its template"),
        Column("CHI2_NEW", "f4", "its chi2"),
        Column("DELTACHI2_NEW", "f4", "chi2 of the next best redshift less its own"),
        Column("COEFF_NEW", f"{N_COEFF}f4", "its template coefficients"),
    )


def own_columns() -> tuple[Column, ...]:
    """Return quasarloop's columns, which follow desispec's."""
    return (
        *columns_of_lines((BAL_LINE,)),
        Column("IS_QSO_QN", "?", "network: quasar"),
        *columns_named("Z_JOINT", "ZERR_JOINT", "Z_ALT", "P_ALT", "FLAGS"),
        Column("PRIOR_Z", f"{MOST_PRIORS}f8", "centres of the priors; NaN for none"),
        Column("PRIOR_WIDTH", f"{MOST_PRIORS}f8", "full widths of the priors"),
        Column("RERUN_BITS", "i4", "why rerun or not, and what came of it"),
        Column("ZERR_RR", "f4", "error of Z_RR"),
        Column("ZWARN_RR", "i8", "warning bits of Z_RR"),
        Column("DELTACHI2_RR", "f4", "delta chi2 of Z_RR"),
        Column("Z", "f8", "redshift: Z_NEW where it was taken, else Z_RR"),
        Column("ZERR", "f4", "error of Z"),
        Column("ZWARN", "i8", "warning bits of Z"),
        Column("SPECTYPE", "S6", "class that belongs to Z"),
    )


_OURS: Final = (
    *columns_of_lines((BAL_LINE,))[:1],
    *columns_named("Z_JOINT", "ZERR_JOINT", "Z_ALT", "P_ALT"),
)
_TRACE: Final = (
    Column("SOURCE", "U", "file the row came from"),
    *columns_named("ROW"),
)

# Source of the names: desidatamodel, QSO_cat_{SPECPROD}_cumulative (DR1).
DESI_COLUMNS: Final = (
    Column("TARGETID", "i8", "DESI target"),
    Column("Z", "f8", "redshift"),
    Column("ZERR", "f8", "its error"),
    Column("ZWARN", "i8", "redrock's warning bits, of the fit Z is from"),
    Column("SPECTYPE", "U6", "class, of the fit Z is from"),
    Column("Z_SOURCE", "U8", "REDROCK, RERUN, WAITING for one, or NETWORK"),
    Column("COADD_FIBERSTATUS", "i4", "fibre bits"),
    *columns_named("TARGET_RA", "TARGET_DEC"),
    Column("OBJTYPE", "U4", "TGT"),
    Column("COADD_NUMEXP", "i4", "exposures"),
    Column("COADD_EXPTIME", "f4", "exposure time", "s"),
    *(Column(phase.column, "i8", f"target bits, {phase.name}") for phase in PHASES),
    Column("SCND_TARGET", "i8", "secondary target bits, main"),
    Column("SV1_SCND_TARGET", "i8", "secondary target bits, sv1"),
    Column("SV3_SCND_TARGET", "i8", "secondary target bits, sv3"),
    Column("TSNR2_LYA", "f4", "squared template S/N, Lyman-alpha quasars"),
    Column("TSNR2_QSO", "f4", "squared template S/N, quasars"),
    Column("DELTA_CHI2_MGII", "f4", "chi2 of the reference less that of the Mg II line"),
    Column("A_MGII", "f4", "height of the Mg II line"),
    Column("SIGMA_MGII", "f4", "its width, observed", "Angstrom"),
    Column("B_MGII", "f4", "continuum under it"),
    Column("VAR_A_MGII", "f4", "variance of A_MGII"),
    Column("VAR_SIGMA_MGII", "f4", "variance of SIGMA_MGII"),
    Column("VAR_B_MGII", "f4", "variance of B_MGII"),
    Column("Z_RR", "f8", "redshift of redrock's first fit"),
    Column("ZWARN_RR", "i8", "its warning bits"),
    Column("SPECTYPE_RR", "U6", "its class"),
    Column("Z_QN", "f4", "network's redshift of the best line"),
    *columns_of_lines(EMISSION_LINES),
    Column("QSO_MASKBITS", "i4", "which evidence, names in the header"),
    *_OURS,
    *_TRACE,
)

# The same catalogue without redrock.
NETWORK_COLUMNS: Final = (
    *columns_named("TARGETID", "OBJECT_ID"),
    Column("Z", "f8", "redshift"),
    Column("ZERR", "f8", "its error, NaN unknown"),
    Column("ZWARN", "i8", "4: another redshift is nearly as likely"),
    Column("Z_SOURCE", "U8", "JOINT: all lines; LINE: the best line"),
    *columns_named("TARGET_RA", "TARGET_DEC", "SURVEY", "TILEID", "NIGHT", "FIBER"),
    *columns_named("OBJTYPE", "SN_B", "SN_R", "SN_Z"),
    Column("Z_QN", "f4", "redshift of the best line"),
    *columns_named("BEST_LINE"),
    *columns_of_lines(EMISSION_LINES),
    Column("QSO_MASKBITS", "i4", "8: a quasar by the network"),
    *_OURS,
    *columns_named("FLAGS"),
    *_TRACE,
)
