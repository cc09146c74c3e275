"""URLs without their passwords, for messages, keys and pickles."""

from __future__ import annotations

import os
import re
import secrets

from hpo_plugins.errors import StorageError

_USER = re.compile(r"(://[^/?#@]*?:)[^/?#]*(@)")
_UNPARSED = re.compile(r"([:/][^\s/@:]+:)[^\s@/]+(@)")  # such as postgresql:user:password@host, which is no URL
_QUERY = re.compile(r"((?:pass(?:word|wd|phrase)?|pwd|secret|token|key)=)[^&\s'\"]*", re.IGNORECASE)
_VARIABLE = "HPO_PLUGINS_URL_"
_entrusted: dict[str, str] = {}


def redacted(target: object) -> str:
    """Return a path or URL with ``***`` in the place of passwords, also where it is mistyped."""
    text = str(target)
    for pattern, replacement in ((_USER, r"\1***\2"), (_UNPARSED, r"\1***\2"), (_QUERY, r"\1***")):
        text = pattern.sub(replacement, text)
    return text


def entrust(url: str) -> tuple[str, str]:
    """Return a URL for a pickle, without its password, and the name under which processes started from here find it.

    They inherit the environment, which only this user can read; a file with the pickle may be read by others.
    """
    shown = redacted(url)
    if shown == url:
        return url, ""
    if url not in _entrusted:
        _entrusted[url] = _VARIABLE + secrets.token_hex(8)
        os.environ[_entrusted[url]] = url
    return shown, _entrusted[url]


def entrusted(shown: str, variable: str) -> str:
    """Return the URL that ``entrust`` was given.

    Raises:
        StorageError: This process was not started by the one that pickled it.
    """
    if not variable:
        return shown
    if variable not in os.environ or not variable.startswith(_VARIABLE):
        raise StorageError(
            f"The password of {shown} is not pickled, and this process was not started by the one that knows it. Open "
            "the study from its URL: Tuner.load(storage, name)."
        )
    return os.environ[variable]
