"""What a demonstration would take: measured with what the campaign itself uses."""

from dataclasses import replace

import pytest

from quasarloop.campaign import demo
from quasarloop.campaign.demo import SMALL, demo_config, estimate_cost
from quasarloop.network.training import train


def test_training_is_measured_as_the_campaign_trains(monkeypatch):
    seen = []

    def watched(data, config, options, **more):
        seen.append((config.n_filters, options))
        return train(data, config, options, **more)

    monkeypatch.setattr(demo, "train", watched)
    tiny = replace(SMALL, filters=4)
    one, two = estimate_cost(tiny, 1), estimate_cost(tiny, 2)
    ensemble = demo_config(tiny, 1).ensemble
    for filters, options in seen:
        assert filters == 4
        assert (options.batch_size, options.learning_rate, options.schedule) == (
            ensemble.batch_size,
            ensemble.learning_rate,
            ensemble.schedule,
        )
    assert one.train_hours > 0
    assert one.disk_gb == two.disk_gb > 0
    assert "hours" in one.describe()


def test_twice_the_spectra_take_twice_the_disk():
    tiny = replace(SMALL, filters=4)
    twice = replace(tiny, n_pool=tiny.n_pool + tiny.n_spectra)
    assert twice.n_spectra == 2 * tiny.n_spectra
    small, large = estimate_cost(tiny, 1), estimate_cost(twice, 1)
    assert large.disk_gb == pytest.approx(2 * small.disk_gb)
