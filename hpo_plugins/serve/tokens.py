"""The token of a server: from the environment, or from a file that only its owner can read."""

from __future__ import annotations

import logging
import os
import secrets
import stat
import sys
from pathlib import Path

from hpo_plugins.errors import StorageError

logger = logging.getLogger("hpo_plugins")

VARIABLE = "HPO_PLUGINS_TOKEN"
FILE_VARIABLE = "HPO_PLUGINS_TOKEN_FILE"
_SAFE_LENGTH = 16
"""Fewer characters might be guessed."""


def default_file() -> Path:
    """Return where the token is kept if no other place is named."""
    if given := os.environ.get(FILE_VARIABLE):
        return Path(given).expanduser()
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "hpo-plugins" / "token"


def find_token(file: Path | None = None) -> str | None:
    """Return the token, None if there is none.

    Args:
        file: The file that contains it; None for the environment or, without the variable, the default file.

    Raises:
        StorageError: It cannot be a token, or others can read its file.
    """
    if file is None and VARIABLE in os.environ:
        return _checked(os.environ[VARIABLE], f"the environment variable {VARIABLE}")
    path = default_file() if file is None else file
    try:
        if sys.platform != "win32" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StorageError(f"The file of the token must be readable by you only: chmod 600 {path}")
        return _checked(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise StorageError(f"The token cannot be read from {path}: {error}. Correct the file, or remove it.") from error


def make_token(file: Path | None = None) -> str:
    """Return a new token, written to a file that only this user can read.

    Raises:
        StorageError: The file cannot be written.
    """
    path, token = default_file() if file is None else file, secrets.token_urlsafe(24)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8") as written:
            written.write(f"{token}\n")
    except OSError as error:
        raise StorageError(
            f"The token cannot be written to {path}: {error}. Name another file with --token-file, or set {VARIABLE}."
        ) from error
    return token


def _checked(text: str, source: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise StorageError(
            f"The token in {source} must be ASCII characters without spaces. Make one with: "
            'python -c "import secrets; print(secrets.token_urlsafe(24))"'
        )
    if len(token) < _SAFE_LENGTH:
        logger.warning(
            "The token in %s is short: with fewer than %d characters it can be guessed.", source, _SAFE_LENGTH
        )
    return token
