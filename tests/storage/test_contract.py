"""Our storages keep the laws of every storage: hpo_plugins/testing/storages.py."""

import pytest

from hpo_plugins.storage import open_storage
from hpo_plugins.testing import ManagedStorageContract, StorageContract
from hpo_plugins.testing.storages import offer, report


class TestMemory(StorageContract):
    def make(self, tmp_path):
        return open_storage(None)


class TestSQLite(ManagedStorageContract):
    def make(self, tmp_path):
        return open_storage(tmp_path / "study.db")


class TestPostgreSQL(ManagedStorageContract):
    @pytest.fixture
    def storage(self, postgres_url):
        return open_storage(postgres_url)


@pytest.mark.parametrize("chunk", [1, 3, 5, 100])
def test_large_studies_are_read_in_chunks(chunk, tmp_path, monkeypatch):
    from hpo_plugins.storage import sql_study

    monkeypatch.setattr(sql_study, "_CHUNK_SIZE", chunk)
    store = open_storage(tmp_path / "a.db").open("study", {})
    store.acquire(offer(0), 0)
    for epoch in range(1, 6):
        store.report(report(0, epoch))
    changes = store.changes(0)
    store.report(report(0, 6))  # after the view that the chunks belong to
    assert [row.epoch for row in changes.reports] == [1, 2, 3, 4, 5]
    assert [row.epoch for row in store.changes(changes.revision).reports] == [6]
