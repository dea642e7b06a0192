"""Every format on a file of it: our reading beside astropy's, and the quasars found.

``python studies/formats_table.py --data $DATA --checkouts CHECKOUTS`` writes
docs/measurements/format_table.md. CHECKOUTS is a folder with checkouts of the public repositories
named below, each in a folder of the repository's name; what is not there is left out of the table,
and named.

The readings with astropy share no code with the package: columns, WCS and specutils's air_to_vac.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from specutils.utils.wcs_utils import air_to_vac

from quasarloop import classify
from quasarloop.read import find_files, read_spectra, read_truth
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.population import Population
from quasarloop.simulate.survey import SurveyOptions, simulate_survey
from quasarloop.truth import match_truth
from skies import TRUNK

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "measurements" / "format_table.md"
SSV: Final = "ADACS-Australia/ssv-py"
# Repository, path, and which reading below.
PUBLIC: Final = (
    (SSV, "tests/data/G12_Y2_009_044.fit", "rows"),
    (SSV, "tests/data/299869.fit", "rows"),
    (SSV, "tests/data/MGC23320.fit", "rows"),
    (SSV, "tests/data/J113606.3+001155a.fit", "images"),
    (SSV, "tests/data/J091726.21+003424.0_a14_040423.fit", "images"),
    (SSV, "tests/data/Spectrum-195254.fit", "images"),
    (SSV, "tests/data/OzDES-DR2_00394.fits", "images"),
    (SSV, "tests/data/OzDES-DR2_04720.fits", "images"),
    (SSV, "tests/data/all-c0022498-344732r_spectrum0.fits", "rows"),
    (SSV, "tests/data/all-c0022498-344732v_spectrum0.fits", "rows"),
    (SSV, "tests/data/all-g2359555-392832.fits", "joined"),
    (SSV, "tests/data/spec-4444-55538-1000.fits", "spec"),
    ("jkrogager/py4most", "mgii/qso_z2.5_G20.1_1hr_obs.fits", "eso"),
    ("jkrogager/py4most", "etc/data/temp_header.fits", "eso"),
)
# Quasars, from names and descriptions of the files -> redshift.
QUASARS: Final = {
    "spec-112360-60000-27021598149616104.fits": 2.73,
    "qso_z2.5_G20.1_1hr_obs.fits": 2.5,
}
# Folders of real spectra with labels, and which reading.
REAL: Final = {
    "boss_plate7102": "spec",
    "boss_qso_plates": "spec",
    "boss_agn": "spec",
    "sdss_misc": "spec",
    "rm017_repeats": "spec",
    "lamost_dr1_stars": "lamost_image",
    "desi_tile80693": "coadd",
    "desi_healpix9144": "coadd",
    "desi_redrock": "coadd",
}
CASES: Final = {
    "01-sdssv-fps-spec": "spec",
    "10-lamost-dr10-table": "lamost_table",
    "15-4most-phase3": "eso",
}
VR_ROWS: Final = 4  # of 6dFGS: flux, variance, sky, wavelength
SIMULATED: Final = {
    "sdssv": "spec",
    "lamost": "lamost_table",
    "4most": "eso",
    "weave": "weave",
}
N_SIMULATED: Final = 60

Reading = list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]  # (wave, flux, ivar) of each arm


def _inverse(variance: NDArray[Any]) -> NDArray[Any]:
    values = np.asarray(variance, "f8")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(values) & (values > 0), 1 / values, 0)


def _vacuum(air_aa: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(air_to_vac(np.asarray(air_aa, "f8") * u.AA).to_value("AA"))


def _axis(header: fits.Header, n_pix: int) -> NDArray[Any]:
    plain = fits.Header({"CTYPE1": "LINEAR", "CUNIT1": "Angstrom", "NAXIS": 1, "NAXIS1": n_pix})
    plain.update({name: header[name] for name in ("CRVAL1", "CRPIX1")})
    plain["CDELT1"] = header.get("CD1_1", header.get("CDELT1"))
    return np.asarray(WCS(plain, naxis=1).pixel_to_world_values(np.arange(n_pix)), "f8") * 1.0


def _spec(hdus: fits.HDUList) -> Reading:
    table = hdus[1].data
    return [(10 ** table["loglam"].astype("f8"), table["flux"][None], table["ivar"][None])]


def _coadd(hdus: fits.HDUList) -> Reading:
    return [tuple(hdus[f"{arm}_{name}"].data for name in ("WAVELENGTH", "FLUX", "IVAR"))
            for arm in "BRZ" if f"{arm}_FLUX" in hdus]  # fmt: skip


def _lamost_image(hdus: fits.HDUList) -> Reading:
    header, image = hdus[0].header, hdus[0].data
    wave = 10 ** (header["COEFF0"] + header["COEFF1"] * np.arange(image.shape[1]))
    return [(wave, image[:1], image[1:2])]


def _lamost_table(hdus: fits.HDUList) -> Reading:
    table = hdus["COADD"].data
    return [(table["WAVELENGTH"][0], table["FLUX"], table["IVAR"])]


def _eso(hdus: fits.HDUList) -> Reading:
    table, header = hdus[1].data, hdus[1].header
    wave = table["WAVE"][0].astype("f8")
    wave = _vacuum(wave) if "obs.atmos" in header.get("TUCD1", "") else wave
    ivar = np.where(table["QUAL"] > 0, 0, _inverse((table["ERR_FLUX"].astype("f8") * 1e17) ** 2))
    return [(wave, table["FLUX"].astype("f8") * 1e17, ivar)]


def _rows(hdus: fits.HDUList) -> Reading:
    header, image = hdus[0].header, hdus[0].data
    sigma = str(header.get("ROW2", "")).upper() in ("ERROR", "SIGMA")
    variance = image[1:2].astype("f8") ** 2 if sigma else image[1:2]
    return [(_vacuum(_axis(header, image.shape[1])), image[:1], _inverse(variance))]


def _joined(hdus: fits.HDUList) -> Reading:
    images = [hdu.data for hdu in hdus if hdu.data is not None and hdu.data.shape[0] == VR_ROWS]
    flux, variance = (np.array([image[row] for image in images]) for row in (0, 1))
    return [(_vacuum(images[0][3]), flux, _inverse(variance))]


def _images(hdus: fits.HDUList) -> Reading:
    flux = hdus[0].data
    wave = _vacuum(_axis(hdus[0].header, len(flux)))
    return [(wave, flux[None], _inverse(hdus["VARIANCE"].data[None]))]


def _weave(hdus: fits.HDUList) -> Reading:
    if "CLASS_SPEC" in hdus:
        table = hdus["CLASS_SPEC"].data
        return [
            (
                _vacuum(table[f"LAMBDA_RR_{arm}"][0]),
                table[f"FLUX_RR_{arm}"] * 1e17,
                table[f"IVAR_RR_{arm}"] * 1e-34,
            )
            for arm in "BR"
        ]
    arm = "BLUE" if "BLUE_DATA" in hdus else "RED"
    data, ivar, sens = (
        hdus[f"{arm}_{name}"].data.astype("f8") for name in ("DATA", "IVAR", "SENSFUNC")
    )
    wave = _axis(hdus[f"{arm}_DATA"].header, data.shape[1])
    return [(wave, data * sens * 1e17, ivar / (sens * 1e17) ** 2)]


READINGS: Final[dict[str, Callable[[fits.HDUList], Reading]]] = {
    "spec": _spec,
    "coadd": _coadd,
    "lamost_image": _lamost_image,
    "lamost_table": _lamost_table,
    "eso": _eso,
    "rows": _rows,
    "joined": _joined,
    "images": _images,
    "weave": _weave,
}


def differences(files: Sequence[Path], kind: str) -> tuple[int, list[float]]:
    """Return spectra, and the largest difference: wavelength (Å), flux and ivar (relative)."""
    n, largest = 0, np.zeros(3)
    for path in files:
        ours = read_spectra(path)
        n += len(ours)
        with fits.open(path) as hdus:
            theirs = READINGS[kind](hdus)
        assert len(theirs) == len(ours.arms), path
        for arm, (wave, flux, ivar) in zip(ours.arms, theirs, strict=True):
            whole = np.isfinite(flux) & np.isfinite(ivar)  # what is not is made 0, and flagged
            largest[0] = max(largest[0], np.abs(arm.wave_aa - wave).max())
            for place, (mine, values) in enumerate(((arm.flux, flux), (arm.ivar, ivar)), start=1):
                other = np.where(whole, values, 0).astype("f4")
                scale = np.maximum(np.abs(other), np.abs(other).max() * 1e-6 + 1e-30)
                largest[place] = max(largest[place], float((np.abs(mine - other) / scale).max()))
    return n, largest.tolist()


def found(files: Sequence[Path], truth_path: Path) -> str:
    """Return how many quasars of the labels are found, and how many others are called quasars."""
    truth = read_truth(truth_path)
    table = classify(files, TRUNK)
    rows = match_truth(np.asarray(table["TARGETID"], np.int64), truth)
    labelled = (rows >= 0) & truth.trains[rows]
    is_qso, called = truth.is_qso[rows] & labelled, np.asarray(table["IS_QSO"], bool)
    others = labelled & ~is_qso
    return (
        f"{(is_qso & called).sum()} of {is_qso.sum()}; {(others & called).sum()} of {others.sum()}"
    )


def one_of(path: Path, z: float | None) -> str:
    """Return whether one spectrum is found, and at what redshift, if it is known for a quasar."""
    if z is None:
        return ""
    row = classify([path], TRUNK)[0]
    return f"{int(row['IS_QSO'])} of 1 (z {row['Z_BEST']:.3f}, known {z}); 0 of 0"


def line(name: str, files: Sequence[Path], kind: str, quasars: str) -> str:
    """Return a row of the table."""
    n, largest = differences(files, kind)
    survey = ", ".join(sorted({str(s) or "desi" for s in read_spectra(files[0]).keys.survey}))
    numbers = " | ".join("0" if value == 0 else f"{value:.0e}" for value in largest)
    return f"| {survey} | {name} | {len(files)} | {n} | {numbers} | {quasars} |"


def table(data: Path, checkouts: Path) -> list[str]:
    """Return all rows."""
    rows = []
    for name, kind in REAL.items():
        files = find_files([data / name])
        rows.append(line(f"`{name}`", files, kind, found(files, data / name / "truth.csv")))
    for name, kind in CASES.items():
        (file,) = find_files([data / "field_cases" / name])
        known = one_of(file, QUASARS.get(file.name))
        rows.append(line(f"`field_cases/{name}`", [file], kind, known))
    for repository, path, kind in PUBLIC:
        file = checkouts / repository.split("/")[1] / path
        if file.exists():
            rows.append(line(f"{repository}: {path}", [file], kind, ""))
        else:
            print(f"left out: {file} is not there")
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in SIMULATED.items():
            out = Path(folder) / name
            options = SurveyOptions(out, seed=5, source=ModelSky(Population()), survey_format=name)
            simulate_survey(options, N_SIMULATED)
            for part in ("L1", "L2") if name == "weave" else ("",):
                files = [p for p in find_files([out / "spectra"]) if part in p.parts or not part]
                label = f"`quasarloop simulate --format {name}`{' ' + part if part else ''}"
                rows.append(line(label, files, kind, found(files, out / "truth.csv")))
    return rows


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkouts", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8").split("<!-- table -->")[0]
    head = "| survey | file or folder | files | spectra | Δλ, Å | Δflux | Δivar | quasars found |\n"
    head += "|---|---|---:|---:|---:|---:|---:|---|\n"
    rows = "\n".join(table(options.data, options.checkouts))
    options.out.write_text(f"{before}<!-- table -->\n\n{head}{rows}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
