"""Settings that are not right are named in one line, wherever they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from zwriter.errors import UsageError
from zwriter.settings import (
    SignalRule,
    SignalSettings,
    StoreSettings,
    load_settings,
    storage_settings,
)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("ZWRITER_REDIS_URL", "ZWRITER__REDIS__URL"),
        ("ZWRITER__REDIS_URL", "ZWRITER__REDIS__URL"),
        ("ZWRITER_ROOT", "ZWRITER__ROOT"),
        ("zwriter_store_default_codec", "ZWRITER__STORE__DEFAULT__CODEC"),
    ],
)
def test_a_variable_with_other_underscores_than_its_own_is_told_how_to_be_written(
    monkeypatch: pytest.MonkeyPatch, name: str, right: str
):
    monkeypatch.setenv(name, "zstd")
    with pytest.raises(UsageError, match=f"^{name}: there is no such setting; write {right}$"):
        load_settings()


def test_a_place_may_be_in_the_home_of_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    read = load_settings(root="~/scans", catalog="s3://lake/~", master={"folder": "~/files"})
    assert read.root == tmp_path / "scans"
    assert read.catalog == "s3://lake/~"
    assert read.master.folder == tmp_path / "files"
    with pytest.raises(UsageError, match="setting root: "):
        load_settings(root="~nobody-has-this-name/scans")


@pytest.mark.parametrize(
    "name",
    [
        "ZWRITER__FOO",
        "ZWRITER__STOR__DURABILITY",
        "ZWRITER__STORE__DURABILITI",
        "ZWRITER__ROOT__X",
    ],
)
def test_a_variable_that_is_no_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "commit")
    with pytest.raises(UsageError, match=f"^{name}: there is no such setting"):
        load_settings()


def test_variables_that_say_nothing_of_settings_are_others_business(
    monkeypatch: pytest.MonkeyPatch,
):
    """Kubernetes makes those of REDIS where a service is called zwriter-redis."""
    for name in ("ZWRITER_REDIS_SERVICE_HOST", "ZWRITER_REDIS_PORT", "ZWRITER_FAILPOINTS"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:6379")
    load_settings()


@pytest.mark.parametrize(
    ("name", "value", "section"),
    [
        ("ZWRITER__REDIS__URL", "redis://there", "redis"),
        ("zwriter__store__durability", "commit", "store"),
        ("ZWRITER__STORE", '{"durability": "commit"}', "store"),
        ("ZWRITER__STORE__DEFAULT__CODEC", "zstd", "store"),
        ("ZWRITER__STORE__SIGNALS", '[{"match": "eiger/*"}]', "store"),
    ],
)
def test_a_variable_that_is_a_setting_is_one(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, section: str
):
    before = load_settings()
    monkeypatch.setenv(name, value)
    assert getattr(load_settings(), section) != getattr(before, section)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("ZWRITER__REDIS", "ZWRITER__REDIS__URL=..."),
        ("ZWRITER__STORAGE", "ZWRITER__STORAGE__ENDPOINT=..."),
        ("ZWRITER__STORE__DEFAULT", "ZWRITER__STORE__DEFAULT__CODEC=..."),
        ("ZWRITER__STORE__SIGNALS", """ZWRITER__STORE__SIGNALS='[{"match": "eiger/*"}]'"""),
    ],
)
def test_a_variable_for_more_than_one_setting_is_told_how_to_be_written(
    monkeypatch: pytest.MonkeyPatch, name: str, right: str
):
    monkeypatch.setenv(name, "{")
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert str(caught.value) == f"{name} cannot be read: it is no JSON; write {right}"


def test_the_same_is_told_to_who_only_reads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ZWRITER__STORAGE", "{")
    with pytest.raises(UsageError, match=r"write ZWRITER__STORAGE__ENDPOINT=\.\.\."):
        storage_settings({})


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("root = 5", "setting root: Input is not a valid path"),
        ("rot = 'x'", "setting rot: there is no such setting"),
        ("[redis]\nulr = 'x'", "setting redis.ulr: there is no such setting"),
        ("[[store.signals]]\nmatch = 5", "setting store.signals.0.match: Input should be"),
        ("root =", "{file}: Invalid value"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, toml: str, told: str):
    file = tmp_path / "zwriter.toml"
    file.write_text(toml)
    with pytest.raises(UsageError) as caught:
        load_settings(file)
    assert str(caught.value).startswith(told.replace("{file}", str(file)))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named():
    with pytest.raises(UsageError, match="/proc/self/mem: "):
        load_settings(Path("/proc/self/mem"))


def test_in_a_bucket_rows_are_sent_each_two_seconds_and_shards_have_64_mib():
    settings = StoreSettings(signals=(SignalRule(match="eiger/*"),)).in_bucket()
    assert settings.flush_interval == 2.0
    assert settings.for_signal("mcs", "counts").shard_bytes == 64 * 2**20
    assert settings.for_signal("eiger", "image").shard_bytes == 64 * 2**20


def test_what_is_set_is_so_in_a_bucket_too():
    small = SignalSettings(shard_bytes=2**20)
    settings = StoreSettings(flush_interval=1.0, default=small).in_bucket()
    assert settings.flush_interval == 1.0
    assert settings.default.shard_bytes == 2**20
