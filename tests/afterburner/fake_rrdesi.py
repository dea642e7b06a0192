"""A program that takes the place of rrdesi, and settings that run it."""

from quasarloop.afterburner.tiles import AfterburnerOptions

# Prints like rrdesi, answers like it would: z = prior + 0.001, in reversed order.
FAKE = """#!{python}
import sys
import numpy as np, fitsio
a = sys.argv[1:]
said = lambda name: a[a.index(name) + 1]
assert a.index("--templates") > 0 and said("--targetids").startswith(" ")
print("Running with 1 multiprocesing processes")
{before}
priors = fitsio.read(said("--priors"), ext="PRIORS")
asked = [int(x) for x in said("--targetids").split(",")]
assert asked == priors["TARGETID"].tolist()
priors = priors[::-1]
n = len(priors)
t = np.zeros(n, dtype=[("TARGETID", "i8"), ("Z", "f8"), ("ZERR", "f4"), ("ZWARN", "i4"),
    ("SPECTYPE", "S6"), ("SUBTYPE", "S3"), ("CHI2", "f4"), ("DELTACHI2", "f4"),
    ("COEFF", "f4", (4,))])
t["TARGETID"], t["Z"], t["ZWARN"] = priors["TARGETID"], priors["Z"] + 0.001, 0
t["ZERR"], t["CHI2"], t["DELTACHI2"], t["COEFF"] = 1e-4, 8000, 50, 2
t["SPECTYPE"], t["SUBTYPE"] = b"QSO", b"LOZ"
{after}
with fitsio.FITS(said("--outfile"), "rw", clobber=True) as f:
    f.write(None, header={{"RRVER": "0.21.0", "TEMNAM00": "QSO:::LOZ", "TEMVER00": "1.1"}})
    f.write(t, extname="REDSHIFTS")
"""


def settings_of(program, template_files, **changes):
    return AfterburnerOptions(rrdesi=program, templates=(template_files,), **changes)
