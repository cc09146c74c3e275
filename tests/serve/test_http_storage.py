"""A storage over HTTP keeps the laws of every storage."""

import pytest

import hpo_plugins as hpo
from hpo_plugins.storage import open_storage
from hpo_plugins.testing import ManagedStorageContract


class TestHttp(ManagedStorageContract):
    @pytest.fixture
    def storage(self, url):
        return open_storage(url)


def test_search_over_http_is_the_search_in_the_file(url, tmp_path):
    def search(storage):
        tuner = hpo.Tuner(
            {"x": hpo.Continuous(0.0, 1.0), "kind": hpo.Categorical(["a", 1, True, None])},
            hpo.Minimize("loss"),
            strategy=hpo.Hyperband(max_resource=9),
            max_trials=12,
            storage=storage,
            name="s",
            seed=0,
        )
        for trial in tuner:
            for epoch in range(1, 10):
                if trial.report(epoch, {"loss": trial["x"] / epoch, "other": float("nan")}):
                    break
        return [(t.params, t.state, t.curve, t.stop_reason) for t in tuner.trials]

    assert search(url) == search(tmp_path / "direct.db")
