"""Settings: a TOML file, then ZWRITER__* environment variables, then command-line flags."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

Codec = Literal["none", "lz4", "zstd", "zlib"]
MiB = 1024 * 1024


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SignalSettings(_Section):
    """How the arrays of one signal are stored."""

    codec: Codec = "lz4"
    level: int = Field(default=5, ge=1, le=9, description="compression level of the codec")
    chunk_bytes: int | None = Field(
        default=None,
        ge=1,
        le=512 * MiB,
        description="size of a chunk; default: chosen from the data rate",
    )


class SignalRule(SignalSettings):
    """Settings for the signals whose `<device>/<signal>` matches a shell pattern."""

    match: str = Field(description="for example 'eiger/*'")


class StoreSettings(_Section):
    """How scans are written."""

    flush_interval: float = Field(
        default=1.0, gt=0, le=60, description="seconds until new rows are visible"
    )
    default: SignalSettings = SignalSettings()
    signals: tuple[SignalRule, ...] = ()
    durability: Literal["none", "commit", "seal"] = Field(
        default="seal", description="when files are synced to the disk"
    )
    quarantine_bytes: int = Field(
        default=1024 * MiB, ge=0, description="limit of quarantine per scan"
    )
    max_signals: int = Field(
        default=5000, ge=1, description="limit of signals that are pushed in a scan"
    )

    def for_signal(self, device: str, signal: str) -> SignalSettings:
        """The first rule that matches, or the default."""
        name = f"{device}/{signal}"
        return next((r for r in self.signals if fnmatchcase(name, r.match)), self.default)


class RedisSettings(_Section):
    """Where messages come from."""

    url: SecretStr = SecretStr("redis://localhost:6379/0")
    queue_bytes: int = Field(
        default=128 * MiB, ge=MiB, description="limit of what is read but not committed"
    )
    drain_timeout: float = Field(
        default=5.0,
        ge=0,
        description="seconds to wait, after a scan's end, for data that is announced",
    )


class MasterSettings(_Section):
    """The HDF5 master file."""

    mode: Literal["reference", "copy", "auto"] = "auto"
    copy_below: int = Field(
        default=MiB, ge=0, description="auto: arrays smaller than this are copied"
    )
    facility: str = "Swiss Light Source"
    source_type: str = "Synchrotron X-ray Source"
    probe: str = "x-ray"


class Settings(BaseSettings):
    """All of zwriter's settings."""

    model_config = SettingsConfigDict(
        env_prefix="ZWRITER__", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    root: Path = Path("data")
    path_template: str = Field(
        default="S{block_start:05d}-{block_end:05d}/S{scan_number:05d}/S{scan_number:05d}",
        description="where a scan goes below root when its file_components do not say",
    )
    redis: RedisSettings = RedisSettings()
    store: StoreSettings = StoreSettings()
    master: MasterSettings = MasterSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(path: Path | None = None, **overrides: Any) -> Settings:
    """Settings from a TOML file, the environment and `overrides` (nested dicts, strongest)."""

    class _FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    return _FromFile(**overrides)
