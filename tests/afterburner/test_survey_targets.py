import pytest

from quasarloop.afterburner.file_columns import PHASES, phase_of, target_mask
from quasarloop.errors import SelectionError


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (["TARGETID"], "main"),
        (["TARGETID", "DESI_TARGET", "BGS_TARGET"], "main"),
        (["CMX_TARGET"], "cmx"),
        (["SV1_DESI_TARGET", "DESI_TARGET"], "sv1"),
        (["DESI_TARGET", "SV2_DESI_TARGET"], "sv2"),
        (["SV3_DESI_TARGET", "SV1_DESI_TARGET"], "sv3"),  # the first one wins
    ],
)
def test_phase_from_columns(columns, name):
    assert phase_of(columns).name == name


def test_masks_by_name():
    main, cmx = phase_of([]), phase_of(["CMX_TARGET"])
    assert target_mask(main, ["QSO"]) == 4
    assert target_mask(main, ["qso", "ELG"]) == 6
    assert target_mask(phase_of(["SV1_DESI_TARGET"]), ["QSO_RF_4PASS"]) == 1 << 13
    assert target_mask(cmx, ["QSO"]) == (1 << 12) | (1 << 55)
    assert target_mask(cmx, ["M31_M31cen"]) == 1 << 24
    with pytest.raises(SelectionError, match="no target class 'QUASAR' in DESI_TARGET"):
        target_mask(main, ["QUASAR"])


@pytest.mark.redrock
@pytest.mark.parametrize("phase", PHASES, ids=lambda p: p.name)
def test_desitarget_has_the_same_bits(phase):
    reason = "desitarget is absent: pip install quasarloop[redrock]"
    targetmask = {"main": "targetmask", "cmx": "cmx.cmx_targetmask"}.get(
        phase.name, f"{phase.name}.{phase.name}_targetmask"
    )
    module = pytest.importorskip(f"desitarget.{targetmask}", reason=reason)
    mask = module.cmx_mask if phase.name == "cmx" else module.desi_mask
    assert {name: mask.bitnum(name) for name in mask.names()} == dict(phase.bits)
