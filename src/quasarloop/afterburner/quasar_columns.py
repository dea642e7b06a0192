"""The columns of the quasar catalogues: DESI's published names where it has them, then ours."""

from typing import Final

from quasarloop.afterburner.survey_targets import PHASES
from quasarloop.catalogue.columns import Column
from quasarloop.lines import EMISSION_LINES

__all__ = ["DESI_COLUMNS", "NETWORK_COLUMNS"]

_CONFIDENCES: Final = tuple(
    Column(f"C_{line.column}", "f4", "", f"confidence of {line.name}") for line in EMISSION_LINES
)
_REDSHIFTS: Final = tuple(
    Column(f"Z_{line.column}", "f4", "", f"redshift if it is {line.name}")
    for line in EMISSION_LINES
)
_OURS: Final = (
    Column("C_BAL", "f4", "", "confidence of broad absorption at C IV"),
    Column("Z_JOINT", "f8", "", "network's redshift of all lines together"),
    Column("ZERR_JOINT", "f4", "", "standard deviation of Z_JOINT"),
    Column("Z_ALT", "f8", "", "next likely redshift, NaN for none"),
    Column("P_ALT", "f4", "", "probability of Z_ALT, at most 0.5"),
)
_TRACE: Final = (
    Column("SOURCE", "U", "", "file the row came from"),
    Column("ROW", "i8", "", "row in that file"),
)

# Source of the names: desidatamodel, QSO_cat_{SPECPROD}_cumulative (DR1).
DESI_COLUMNS: Final = (
    Column("TARGETID", "i8", "", "DESI target"),
    Column("Z", "f8", "", "redshift"),
    Column("ZERR", "f8", "", "its error"),
    Column("ZWARN", "i8", "", "redrock's warning bits, of the answer Z is from"),
    Column("SPECTYPE", "U6", "", "class, of the answer Z is from"),
    Column("Z_SOURCE", "U8", "", "REDROCK, RERUN, WAITING for one, or NETWORK"),
    Column("COADD_FIBERSTATUS", "i4", "", "fibre bits"),
    Column("TARGET_RA", "f8", "deg", "right ascension, ICRS"),
    Column("TARGET_DEC", "f8", "deg", "declination, ICRS"),
    Column("OBJTYPE", "U4", "", "TGT"),
    Column("COADD_NUMEXP", "i4", "", "exposures"),
    Column("COADD_EXPTIME", "f4", "s", "exposure time"),
    *(Column(phase.column, "i8", "", f"target bits, {phase.name}") for phase in PHASES),
    Column("SCND_TARGET", "i8", "", "secondary target bits, main"),
    Column("SV1_SCND_TARGET", "i8", "", "secondary target bits, sv1"),
    Column("SV3_SCND_TARGET", "i8", "", "secondary target bits, sv3"),
    Column("TSNR2_LYA", "f4", "", "squared template S/N, Lyman-alpha quasars"),
    Column("TSNR2_QSO", "f4", "", "squared template S/N, quasars"),
    Column("DELTA_CHI2_MGII", "f4", "", "chi2 of the reference less that of the Mg II line"),
    Column("A_MGII", "f4", "", "height of the Mg II line"),
    Column("SIGMA_MGII", "f4", "Angstrom", "its width, observed"),
    Column("B_MGII", "f4", "", "continuum under it"),
    Column("VAR_A_MGII", "f4", "", "variance of A_MGII"),
    Column("VAR_SIGMA_MGII", "f4", "", "variance of SIGMA_MGII"),
    Column("VAR_B_MGII", "f4", "", "variance of B_MGII"),
    Column("Z_RR", "f8", "", "redshift of redrock's first fit"),
    Column("ZWARN_RR", "i8", "", "its warning bits"),
    Column("SPECTYPE_RR", "U6", "", "its class"),
    Column("Z_QN", "f4", "", "network's redshift of the best line"),
    *_CONFIDENCES,
    *_REDSHIFTS,
    Column("QSO_MASKBITS", "i4", "", "who says quasar, names in the header"),
    *_OURS,
    *_TRACE,
)

# The same catalogue where no redrock has looked.
NETWORK_COLUMNS: Final = (
    Column("TARGETID", "i8", "", "survey's identifier"),
    Column("OBJECT_ID", "i8", "", "equal for all spectra of one object"),
    Column("Z", "f8", "", "redshift"),
    Column("ZERR", "f8", "", "its error, NaN unknown"),
    Column("ZWARN", "i8", "", "4: another redshift is nearly as likely"),
    Column("Z_SOURCE", "U8", "", "JOINT: all lines; LINE: the best line"),
    Column("TARGET_RA", "f8", "deg", "right ascension, ICRS"),
    Column("TARGET_DEC", "f8", "deg", "declination, ICRS"),
    Column("SURVEY", "U10", "", "survey"),
    Column("TILEID", "i4", "", "tile (SDSS: plate), -1 unknown"),
    Column("NIGHT", "i4", "", "night (SDSS: MJD), -1 unknown"),
    Column("FIBER", "i4", "", "fibre, -1 unknown"),
    Column("OBJTYPE", "U4", "", "as the survey says"),
    Column("SN_B", "f4", "", "median S/N per pixel, blue"),
    Column("SN_R", "f4", "", "median S/N per pixel, red"),
    Column("SN_Z", "f4", "", "median S/N per pixel, near infrared"),
    Column("Z_QN", "f4", "", "redshift of the best line"),
    Column("BEST_LINE", "U12", "", "the most confident line"),
    *_CONFIDENCES,
    *_REDSHIFTS,
    Column("QSO_MASKBITS", "i4", "", "8: the network says quasar"),
    *_OURS,
    Column("FLAGS", "i4", "", "quality bits, names in the header"),
    *_TRACE,
)
