from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from zwriter.settings import Settings, SignalRule, load_settings

FILE = Path(__file__).parents[2] / "deploy" / "zwriter.toml"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZWRITER__ROOT", "ZWRITER__REDIS__URL"):
        monkeypatch.delenv(name, raising=False)


def names_of_settings(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from names_of_settings(field.annotation)
        else:
            yield name


def test_the_settings_file_says_the_defaults_of_all_but_the_root():
    assert load_settings(FILE, root=Settings().root).model_dump() == load_settings().model_dump()


def test_the_settings_file_has_every_setting():
    lines = FILE.read_text().splitlines()
    said = {line.removeprefix("# ").partition(" = ")[0] for line in lines if " = " in line}
    rules = {f"[[store.{name}]]" for name in ("signals",) if f"# [[store.{name}]]" in lines}
    wanted = {*names_of_settings(Settings), *SignalRule.model_fields}
    assert wanted - {"signals"} == said
    assert rules == {"[[store.signals]]"}


def test_what_is_commented_out_there_can_be_used(tmp_path: Path):
    lines = FILE.read_text().splitlines()
    with_all = [
        line.removeprefix("# ") if " = " in line or "[[" in line else line for line in lines
    ]
    file = tmp_path / "zwriter.toml"
    file.write_text("\n".join(with_all))
    store = load_settings(file).store
    assert store.default.chunk_bytes == 2 * 1024 * 1024
    assert store.for_signal("eiger", "eiger_image").codec == "zstd"
