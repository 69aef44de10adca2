"""Settings: a TOML file, then ZWRITER__* environment variables, then command-line flags."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from zwriter.errors import UsageError

MasterMode = Literal["reference", "link", "copy", "auto"]
Codec = Literal["none", "lz4", "zstd", "zlib"]
MiB = 1024 * 1024


def _at_home(place: Path | str) -> Path | str:
    """`place`; what begins with `~`, below the folder of a user, as a shell has it."""
    try:
        return Path(place).expanduser() if str(place).startswith("~") else place
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def endpoint_url(text: str) -> str:
    """Raises ValueError if it is none of a server."""
    if not re.match(r"https?://[^/@]+(/|$)", text):
        raise ValueError("write http://host:port or https://host, without user and password")
    return text


Folder = Annotated[Path, AfterValidator(_at_home)]
Place = Annotated[Path | str, AfterValidator(_at_home)]


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
    shard_bytes: int | None = Field(
        default=None,
        ge=1,
        description="size of a shard file, not compressed; it has 255 chunks at most. Default: as"
        " many as that, in a bucket 64 MiB",
    )


Signals = TypeVar("Signals", bound=SignalSettings)


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

    def in_bucket(self) -> StoreSettings:
        """These settings, with other defaults: those for a scan that goes to a bucket."""
        changes: dict[str, Any] = {
            "default": _as_object(self.default),
            "signals": tuple(map(_as_object, self.signals)),
        }
        if "flush_interval" not in self.model_fields_set:
            changes["flush_interval"] = 2.0
        return self.model_copy(update=changes)

    def for_signal(self, device: str, signal: str) -> SignalSettings:
        """The first rule that matches, or the default."""
        name = f"{device}/{signal}"
        return next((r for r in self.signals if fnmatchcase(name, r.match)), self.default)


def _as_object(settings: Signals) -> Signals:
    shard_bytes = settings.shard_bytes or 64 * MiB
    return settings.model_copy(update={"shard_bytes": shard_bytes})


class RedisSettings(_Section):
    """Where messages come from."""

    url: SecretStr = SecretStr("redis://localhost:6379/0")
    queue_bytes: int = Field(
        default=128 * MiB,
        ge=MiB,
        description="limit of what is read of each open scan and not committed, in memory",
    )
    drain_timeout: float = Field(
        default=5.0,
        ge=0,
        description="seconds to wait, after a scan's end, for data that is announced",
    )


class MasterSettings(_Section):
    """The HDF5 master file."""

    mode: MasterMode = "auto"
    copy_below: int = Field(
        default=MiB, ge=0, description="auto: arrays smaller than this are copied"
    )
    folder: Folder | None = Field(
        default=None, description="where files go, as scans lie below root; default: beside them"
    )
    facility: str | None = Field(
        default=None,
        description="what the file says of the source; this and the next two: default: of BEC's"
        " scans what BEC says of all of them, of others nothing",
    )
    source_type: str | None = None
    probe: str | None = None


class StorageSettings(_Section):
    """An object store (S3). What is left open is found where AWS's own tools find it: AWS_*
    variables, the files and profiles of `aws configure`, the machine's role."""

    endpoint: Annotated[str, AfterValidator(endpoint_url)] | None = Field(
        default=None, description="default: AWS, or AWS_ENDPOINT_URL"
    )
    region: str | None = None
    path_style: bool = Field(
        default=True, description="endpoint/bucket/key; false: bucket.endpoint/key"
    )
    ca_file: Folder | None = Field(
        default=None, description="certificates (PEM) that the server's must be signed by"
    )
    profile: str | None = Field(default=None, description="of `aws configure`")
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    anonymous: bool = Field(default=False, description="sign nothing: for public buckets")

    @model_validator(mode="after")
    def _whole_key(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        return self


class SpoolSettings(_Section):
    """Where a scan for a bucket is written first, and stays until the bucket has all of it."""

    folder: Path = Path("~/.cache/zwriter/spool")
    limit: int = Field(
        default=64 * 1024 * MiB,
        ge=MiB,
        description="bytes that all scans in it may take; then reading from Redis waits",
    )


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="ZWRITER__", env_nested_delimiter="__", extra="ignore"
    )

    storage: StorageSettings = StorageSettings()


def storage_settings(options: Mapping[str, Any]) -> StorageSettings:
    """Settings of an object store from the environment and from names and values, which are
    stronger. Raises UsageError if one is not right."""
    given: dict[str, Any] = {"storage": dict(options)}
    _check_json(dict(_variables(_Environment)))
    try:
        return _Environment(**given).storage
    except ValidationError as error:
        names = ", ".join(StorageSettings.model_fields)
        problem = _first_problem(error).removeprefix("storage.").removeprefix("storage: ")
        raise UsageError(f"storage option {problem} (there are {names})") from None


def _first_problem(error: ValidationError) -> str:
    """What is wrong with the first setting that is; without its value, which may be a secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # behind the setting's own name come those of pydantic's types, if it may be of several
    name = ".".join(takewhile(lambda part: "[" not in part, map(str, first["loc"])))
    unknown = first["type"] == "extra_forbidden"
    told = "there is no such setting" if unknown else first["msg"].removeprefix("Value error, ")
    return ": ".join(part for part in (name, told) if part)


class Settings(BaseSettings):
    """All of zwriter's settings."""

    model_config = SettingsConfigDict(
        env_prefix="ZWRITER__", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    root: Place = Path("data")
    path_template: str = Field(
        default="S{block_start:05d}-{block_end:05d}/S{scan_number:05d}/S{scan_number:05d}",
        description="where a scan goes below root when its file_components do not say",
    )
    catalog: Place | None = Field(
        default=None, description="a Parquet table of all scans, brought up to date as they finish"
    )
    redis: RedisSettings = RedisSettings()
    store: StoreSettings = StoreSettings()
    master: MasterSettings = MasterSettings()
    storage: StorageSettings = StorageSettings()
    spool: SpoolSettings = SpoolSettings()

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
    """Settings from a TOML file, the environment and `overrides` (nested dicts, strongest).

    Raises UsageError for what is no setting, or cannot be used or read.
    """

    class _FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    variables = dict(_variables(Settings))
    _check_names(variables)
    _check_json(variables)
    try:
        return _FromFile(**overrides)
    except ValidationError as error:
        raise UsageError(f"setting {_first_problem(error)}") from error
    except (OSError, ValueError) as error:  # the file itself
        raise UsageError(f"{path}: {error}") from error


def _variables(model: type[BaseModel], start: str = "ZWRITER") -> Iterator[tuple[str, str]]:
    """The variable of each setting and section; and, where its value is JSON, what to write."""
    for field, information in model.model_fields.items():
        name, kind = f"{start}__{field.upper()}", information.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            inner = list(_variables(kind, name))
            yield name, f"{inner[0][0]}=..."
            yield from inner
        else:
            yield name, f"""{name}='[{{"match": "eiger/*"}}]'""" if field == "signals" else ""


def _check_names(variables: Mapping[str, str]) -> None:
    """Raises UsageError for a variable that nobody would read, though it was meant for us."""
    meant = {re.sub("_+", "_", name): name for name in variables}
    for name in os.environ:
        if name.upper() in variables:
            continue
        if right := meant.get(re.sub("_+", "_", name.upper())):
            raise UsageError(f"{name}: there is no such setting; write {right}")
        if name.upper().startswith("ZWRITER__"):
            raise UsageError(f"{name}: there is no such setting; see deploy/zwriter.toml")


def _check_json(variables: Mapping[str, str]) -> None:
    """Raises UsageError for a variable whose value is to be JSON and is not."""
    for name, value in os.environ.items():
        if right := variables.get(name.upper()):
            try:
                json.loads(value)
            except ValueError:
                raise UsageError(f"{name} cannot be read: it is no JSON; write {right}") from None
