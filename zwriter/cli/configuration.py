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


def settings_of(config: Path | None, overrides: dict[str, Any]) -> Settings:
    """The file's settings, then those of the environment, then `overrides`. Raises UsageError."""
    from pydantic import ValidationError

    from zwriter.settings import first_problem, load_settings

    if config is not None and not config.is_file():
        raise UsageError(f"{config}: no such settings file")
    try:
        return load_settings(config, **overrides)
    except ValidationError as error:
        raise UsageError(f"setting {first_problem(error)}") from error
    except ValueError as error:  # the TOML itself
        raise UsageError(f"{config}: {error}") from error
