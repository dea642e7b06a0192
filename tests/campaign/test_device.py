"""One device for all networks of a campaign: features, votes, trainings, judgement, catalogues."""

from dataclasses import replace

import pytest
import torch
from tests.campaign.test_run import begin, config, simulate

from quasarloop.campaign.config import (
    CampaignOptions,
    EnsembleSection,
    EvaluationSection,
    InspectionSection,
    OracleSection,
    TrainingSection,
)
from quasarloop.campaign.config_file import read_config
from quasarloop.campaign.layout import device_of, network_engine
from quasarloop.campaign.run import Progress, run_campaign
from quasarloop.campaign.state import Context
from quasarloop.campaign.steps import STEPS
from quasarloop.engine import Engine
from quasarloop.errors import CampaignError, WeightsError

# Steps that compute with a network. An absent device: no machine has both.
WITH_NETWORKS = ("ensemble", "votes", "networks", "evaluation", "redshifts")
ABSENT = "cuda" if not torch.cuda.is_available() else "mps"


class _Named(str):
    """A device's name that can be used where torch's device is."""

    type = property(str)

    def __new__(cls, name: str, *, alone: bool = True) -> "_Named":
        return super().__new__(cls, name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One round on a device named cuda, in place of which the CPU computes.

    Returns:
        Its folder, and step → names of devices that networks were put on.
    """
    place = tmp_path_factory.mktemp("device")
    for name, n, seed in (("pool", 60, 1), ("first", 40, 2)):
        simulate(place / "made" / name, n, seed)
    usual = config()
    options = replace(
        usual,
        device="cuda",
        data=replace(usual.data, unlabelled=("../sky/pool",)),
        ensemble=EnsembleSection(networks=3),
        inspection=InspectionSection(
            by="oracle", oracle=OracleSection(truth=("../sky/pool/truth.csv",))
        ),
        training=TrainingSection(epochs=1, how="finetune"),
        evaluation=EvaluationSection(bootstraps=0),
    )
    folder = begin(place, place / "made", options)
    used: dict[str, set[str]] = {}

    def pick(name: str = "not given") -> torch.device:
        used[now[0]].add(str(name))
        return torch.device("cpu")

    def on_step(_: int, step: object, __: int) -> None:
        now[0] = step.name
        used[step.name] = set()

    now = [""]
    with pytest.MonkeyPatch.context() as patch:
        for room in ("network.predict", "network.training_run"):
            patch.setattr(f"quasarloop.{room}.pick_device", pick)
        for room in ("ensemble.vote", "ensemble.train", "campaign.layout"):
            patch.setattr(f"quasarloop.{room}.pick_device", _Named)
        run_campaign(folder, progress=Progress(on_step))
    return folder, used


def test_every_network_is_on_the_campaigns_device(finished):
    _, used = finished
    with_networks = {name: names for name, names in used.items() if names}
    assert with_networks == {name: {"cuda"} for name in WITH_NETWORKS}


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


def test_a_gpu_takes_one_process_and_auto_is_the_cpu_with_several(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    several = Engine(workers=4)
    for device, engine, expected in (
        ("cpu", several, ("cpu", several)),
        ("cuda", several, ("cuda", Engine())),
        ("auto", several, ("cpu", several)),
    ):
        context = Context(tmp_path, CampaignOptions(device=device), 1, engine=engine)
        assert (device_of(context), network_engine(context)) == expected
