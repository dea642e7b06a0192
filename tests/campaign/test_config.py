"""Options: every default explained, every slip refused by name."""

from dataclasses import asdict, fields, is_dataclass

import pytest

from quasarloop.campaign.config import (
    CampaignOptions,
    LearningSection,
    SelectionSection,
    TrainingSection,
)
from quasarloop.campaign.config_file import config_text, read_config, write_config
from quasarloop.campaign.layout import network_of, training_of
from quasarloop.errors import CampaignError
from quasarloop.options import described_fields


def test_written_defaults_read_back(tmp_path):
    write_config(tmp_path, CampaignOptions())
    assert read_config(tmp_path) == CampaignOptions()


def test_defaults_are_the_papers():
    config = CampaignOptions()
    assert (config.ensemble.networks, config.rounds, config.selection.n) == (200, 2, 1000)
    assert (config.map.rows, config.map.columns, config.map.percentile) == (45, 45, 15.0)
    assert (config.evaluation.validation, config.evaluation.threshold) == (0.3, None)


def test_every_setting_has_its_meaning_in_the_file():
    text = config_text(CampaignOptions())

    def check(section) -> None:
        described = described_fields(section)
        for field in fields(section):
            value = getattr(section, field.name)
            if is_dataclass(value):
                check(value)
            else:
                comment = described[field.name][1].comment
                assert comment, f"{field.name} is not explained"
                key = f"# {field.name} =" if value is None else f"{field.name} = "
                assert f"# {comment}\n{key}" in text

    check(CampaignOptions())


def test_a_file_that_had_no_cascade_is_still_read(tmp_path):
    (tmp_path / "campaign.toml").write_text("[selection]\ncascade = false\nn = 7\n")
    assert read_config(tmp_path).selection.n == 7
    (tmp_path / "campaign.toml").write_text("[selection]\ncascade = true\n")
    with pytest.raises(CampaignError, match=r"there is no cascade any more.*remove the line"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nam = 'x'", "nam is no option; known: name, seed"),
        ("[ensemble]\nnetworks = 0", "ensemble.networks is 0; it must be at least 1"),
        (
            "[evaluation]\nthreshold = 1.5",
            "evaluation.threshold is 1.5; it must be between 0 and 1",
        ),
        ("[inspection]\nby = 'robots'", "inspection.by is 'robots'; known: people, oracle, file"),
        ("name = ", "not a readable TOML file"),
    ],
)
def test_slips_are_named(tmp_path, text, complaint):
    (tmp_path / "campaign.toml").write_text(text)
    with pytest.raises(CampaignError, match=complaint) as caught:
        read_config(tmp_path)
    assert "campaign.toml" in str(caught.value)


def test_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(CampaignError, match="quasarloop campaign init"):
        read_config(tmp_path)


def test_overrides_win(tmp_path):
    write_config(tmp_path, CampaignOptions(workers=1))
    assert read_config(tmp_path, workers=3).workers == 3


def test_every_setting_of_learning_reaches_the_training():
    chosen = {
        "epochs": 7,
        "batch_size": 33,
        "learning_rate": 0.5,
        "schedule": "constant",
        "amsgrad": False,
        "shift_bins": 4,
        "precision": "bfloat16",
    }
    shape = {"preset": "busca2018", "filters": 9, "dropout": 0.8}
    assert set(chosen) | set(shape) == {field.name for field in fields(LearningSection)}
    section = TrainingSection(**chosen, **shape)
    options = asdict(training_of(section, "cpu"))
    assert {name: options[name] for name in chosen} == chosen
    network = network_of(section, CampaignOptions())
    assert (network.n_conv, network.n_filters, network.dropout) == (4, 9, 0.8)


def test_settings_of_a_round(tmp_path):
    text = (
        '[selection]\nn = [75, 75, 150]\nrandom_share = [1.0, 0.0]\nscore = ["margin", "entropy"]\n'
    )
    (tmp_path / "campaign.toml").write_text(text)
    config = read_config(tmp_path)
    seen = [config.of_round(number).selection for number in (1, 2, 3, 4)]
    assert [one.n_now for one in seen] == [75, 75, 150, 150]
    assert [one.random_share for one in seen] == [1.0, 0.0, 0.0, 0.0]
    assert [one.score for one in seen] == ["margin", "entropy", "entropy", "entropy"]
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config, "lists are kept in the file"
    plain = CampaignOptions(selection=SelectionSection(score="entropy"))
    assert plain.of_round(7) == plain
    scores = [CampaignOptions().of_round(number).selection.score for number in (1, 2, 3)]
    assert scores == ["two_entropies", "quasar_or_not", "quasar_or_not"]


def test_an_impossible_value_of_one_round_is_named(tmp_path):
    (tmp_path / "campaign.toml").write_text("[selection]\nrandom_share = [1.0, 1.5]\n")
    with pytest.raises(CampaignError, match=r"selection\.random_share.*must be between 0 and 1"):
        read_config(tmp_path)
    (tmp_path / "campaign.toml").write_text("[selection]\nn = []\n")
    with pytest.raises(CampaignError, match=r"selection\.n"):
        read_config(tmp_path)
