"""Sky fibres, all of them quasars to the network, are never rerun."""

import fitsio
import numpy as np
import pytest

from quasarloop.afterburner.output import read_output
from quasarloop.afterburner.reruns import POLICIES, RerunBit, Selection
from quasarloop.afterburner.tiles import AfterburnerOptions, run_tile


@pytest.mark.parametrize("policy", POLICIES)
def test_no_sky_fibre_is_rerun(policy, tile, network, tmp_path):
    out = tmp_path / "o.fits"
    sky = fitsio.read(tile.redrock, ext="FIBERMAP")["OBJTYPE"].astype(str) == "SKY"
    options = AfterburnerOptions(selection=Selection(0.0), policy=policy, rerun="later")
    run_tile(tile.coadd, tile.redrock, out, network, options)
    table = read_output(out).table
    assert table["IS_QSO_QN"][sky].sum() > 3  # the network is sure of these
    assert (table["RERUN_BITS"][sky] & RerunBit.NOT_TARGET).all()
    assert not (table["RERUN_BITS"][sky] & RerunBit.WAITING).any()
    assert np.isnan(table["PRIOR_Z"][sky]).all()
    assert ((table["RERUN_BITS"][~sky] & RerunBit.WAITING) != 0).sum() > 20
