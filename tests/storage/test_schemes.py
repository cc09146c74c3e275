"""Storages that other packages bring, found by the scheme of their URLs."""

import sys

import pytest

import hpo_plugins as hpo
from hpo_plugins.storage import ManagedStorage, open_storage
from hpo_plugins.storage.memory import MemoryStorage

SOURCE = """
from hpo_plugins.storage.memory import MemoryStorage

opened = {}

def open_url(url):
    return opened.setdefault(url, MemoryStorage())

def open_nothing(url):
    return None
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install packages that declare schemes: ``install(package, scheme="module:function")``."""

    def installed(package, **schemes):
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{scheme} = {function}" for scheme, function in schemes.items()]
        (info / "entry_points.txt").write_text("\n".join(["[hpo_plugins.storages]", *lines]))

    (tmp_path / "a_storage_of_others.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield installed
    sys.modules.pop("a_storage_of_others", None)


def test_url_of_another_package_is_opened_by_it(install):
    install("one", elsewhere="a_storage_of_others:open_url")
    tuner = hpo.Tuner({"a": hpo.Categorical([1, 2])}, hpo.Minimize("loss"), storage="elsewhere://host", name="s")
    for trial in tuner:
        trial.report(1, {"loss": trial["a"]})
    assert hpo.Tuner.load("elsewhere://host").trials == tuner.trials
    assert open_storage("elsewhere://host") is open_storage("elsewhere://host")
    assert open_storage("elsewhere://other").names() == []


def test_two_packages_for_one_scheme_are_an_error(install):
    install("one", elsewhere="a_storage_of_others:open_url")
    install("two", elsewhere="another:open_url")
    with pytest.raises(hpo.StorageError, match="a_storage_of_others:open_url and another:open_url"):
        open_storage("elsewhere://host")


def test_package_that_cannot_be_used_is_named_without_the_password(install):
    install("one", gone="nowhere_to_be_found:open_url", empty="a_storage_of_others:open_nothing")
    with pytest.raises(hpo.StorageError, match="nowhere_to_be_found:open_url, which cannot be imported") as raised:
        open_storage("gone://user:secret@host")
    assert "secret" not in str(raised.value)
    with pytest.raises(hpo.StorageError, match="open_nothing has returned a NoneType"):
        open_storage("empty://host")


def test_unknown_scheme_is_an_error_of_the_database():
    with pytest.raises(hpo.HpoError, match="nobody"):
        open_storage("nobody://host")


def test_storage_that_lacks_a_method_is_refused_when_it_is_made():
    class Names(hpo.Storage):
        def names(self):
            return []

    with pytest.raises(TypeError, match="checkpoint_root"):
        Names()


def test_only_managed_storages_have_their_studies_managed(tmp_path):
    assert isinstance(open_storage(tmp_path / "a.db"), ManagedStorage)
    with pytest.raises(hpo.InvalidArgument, match="derive from ManagedStorage"):
        hpo.studies(MemoryStorage())


def test_copy_to_another_kind_of_storage_is_refused(tmp_path):
    source = open_storage(tmp_path / "a.db")
    source.open("s", {})
    with pytest.raises(hpo.StorageError, match="copies studies to a path or the URL of a database"):
        source.copy("s", MemoryStorage(), "s")
