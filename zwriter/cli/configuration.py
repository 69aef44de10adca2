"""Settings, as commands take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zwriter.errors import UsageError

if TYPE_CHECKING:
    from zwriter.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Settings: see deploy/zwriter.toml.", show_default=False),
]

StorageOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="NAME=VALUE",
        help="For an s3:// URL: endpoint, region, profile and others of docs/object-store.md.",
        show_default=False,
    ),
]


def storage_options(config: Path | None, storage: list[str] | None) -> dict[str, Any]:
    """What `open_scan` takes: NAME=VALUE pairs of `storage`; where there is a settings file, all
    that it and the environment say besides. Raises UsageError."""
    if config is None:
        return _pairs(storage)
    return dict(settings_of(config, {}, storage).storage)


def _pairs(options: list[str] | None) -> dict[str, str]:
    values = {}
    for option in options or ():
        name, equals, value = option.partition("=")
        if not equals:
            raise UsageError(f"--storage-option {name}: it takes NAME=VALUE")
        values[name] = value
    return values


def settings_of(
    config: Path | None, overrides: dict[str, Any], storage: list[str] | None = None
) -> Settings:
    """The file's settings, then those of the environment, then `overrides`, and NAME=VALUE pairs of
    `storage`. Raises UsageError."""
    from zwriter.settings import load_settings

    if config is not None and not config.is_file():
        raise UsageError(f"{config}: no such settings file")
    if storage:
        overrides = {**overrides, "storage": _pairs(storage)}
    return load_settings(config, **overrides)
