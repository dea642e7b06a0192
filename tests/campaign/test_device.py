"""One device for all networks of a campaign: features, votes, trainings, judgement, catalogues."""

import os
from dataclasses import replace

import pytest
import torch
from tests.campaign.test_run import begin, config, simulate
from tests.fake_gpus import NAMES, have_gpus, uses

from quasarloop.campaign.config import (
    CampaignOptions,
    EnsembleSection,
    EvaluationSection,
    InspectionSection,
    OracleSection,
    TrainingSection,
)
from quasarloop.campaign.config_file import read_config
from quasarloop.campaign.run import Progress, run_campaign
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps import STEPS
from quasarloop.errors import CampaignError, WeightsError

# Steps that compute with a network. An absent device: no machine has both.
WITH_NETWORKS = ("ensemble", "votes", "networks", "evaluation", "redshifts")
ABSENT = "cuda" if not torch.cuda.is_available() else "mps"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One round on a device named cuda, in place of which the CPU computes, with two workers.

    Returns:
        Its folder, and step → uses of a device by networks (`fake_gpus`).
    """
    place = tmp_path_factory.mktemp("device")
    for name, n, seed in (("pool", 60, 1), ("first", 40, 2)):
        simulate(place / "made" / name, n, seed)
    usual = config()
    options = replace(
        usual,
        device="cuda",
        workers=2,
        data=replace(usual.data, unlabelled=("../sky/pool",)),
        ensemble=EnsembleSection(networks=3),
        inspection=InspectionSection(
            by="oracle", oracle=OracleSection(truth=("../sky/pool/truth.csv",))
        ),
        training=TrainingSection(epochs=1, how="finetune"),
        evaluation=EvaluationSection(bootstraps=0),
    )
    folder = begin(place, place / "made", options)
    names, used = [], []

    def on_step(_: int, step: object, __: int) -> None:
        names.append(step.name)
        used.append(uses(place))  # of the step before

    with pytest.MonkeyPatch.context() as patch:
        have_gpus(patch, place)
        run_campaign(folder, progress=Progress(on_step))
    return folder, dict(zip(names, [*used[1:], uses(place)], strict=True))


def test_every_network_is_on_the_campaigns_device(finished):
    _, used = finished
    devices = {step: {device for device, *_ in found} for step, found in used.items() if found}
    # Votes of heads are on features, which are there by then.
    assert devices == {name: {"cuda"} for name in WITH_NETWORKS if name != "votes"}


def test_each_worker_sees_one_gpu_and_the_campaigns_own_process_all(finished):
    _, used = finished
    seen = {(process, gpus) for found in used.values() for _, process, gpus in found}
    by_process = dict(seen)
    assert len(by_process) == len(seen)
    assert by_process.pop(str(os.getpid()), "all") == "all"
    assert sorted(by_process.values()) in (sorted(NAMES), [NAMES[0]], [NAMES[1]])


@pytest.mark.parametrize("name", WITH_NETWORKS)
def test_an_absent_device_is_named_by_every_step(finished, name):
    folder, _ = finished
    context = Context(folder, replace(read_config(folder), device=ABSENT).of_round(1), 1)
    step = next(step for step in STEPS if step.name == name)
    with pytest.raises(WeightsError, match=f"no usable {ABSENT} device; usable: .*cpu"):
        step.run(context)


def test_an_absent_device_is_named_where_members_are_whole_networks(finished):
    folder, _ = finished
    options = replace(config(), device=ABSENT)
    assert options.ensemble.kind == "networks"
    for step in STEPS:
        if step.name in ("ensemble", "networks"):
            with pytest.raises(WeightsError, match=f"no usable {ABSENT} device"):
                step.run(Context(folder, options.of_round(1), 1))


def test_an_unknown_device_is_refused_with_those_known():
    with pytest.raises(CampaignError, match=r"device is 'tpu'; known: auto, cpu, cuda, mps"):
        CampaignOptions(device="tpu")


def test_an_absent_device_ends_a_campaign_before_its_first_step(finished):
    folder, _ = finished
    steps = []
    with pytest.raises(WeightsError, match=f"no usable {ABSENT} device"):
        run_campaign(folder, progress=Progress(lambda *step: steps.append(step)), device=ABSENT)
    assert not steps
