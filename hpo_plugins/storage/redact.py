"""URLs without their passwords, for messages and keys."""

from __future__ import annotations

import re

_USER = re.compile(r"(://[^/?#@]*?:)[^/?#]*(@)")
_UNPARSED = re.compile(r"([:/][^\s/@:]+:)[^\s@/]+(@)")  # such as postgresql:user:password@host, which is no URL
_QUERY = re.compile(r"((?:pass(?:word|wd|phrase)?|pwd|secret|token|key)=)[^&\s'\"]*", re.IGNORECASE)


def redacted(target: object) -> str:
    """Return a path or URL with ``***`` in the place of passwords, also where it is mistyped."""
    text = str(target)
    for pattern, replacement in ((_USER, r"\1***\2"), (_UNPARSED, r"\1***\2"), (_QUERY, r"\1***")):
        text = pattern.sub(replacement, text)
    return text
