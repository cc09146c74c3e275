"""Paths and URLs on every operating system: drive letters, files that others hold open, places without hard links."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

_PAUSES = (0.01, 0.03, 0.1, 0.3)
"""Seconds between attempts to rename; a virus scanner or an indexer of Windows holds a new file for about that long."""


def is_url(text: str) -> bool:
    """Return whether a text is a URL rather than a path; ``C://study.db`` is a path of Windows."""
    return "://" in text and re.match(r"[A-Za-z]:/", text) is None


def replace(source: Path, target: Path) -> None:
    """Give a file or a folder another name, in place of what has it; wait briefly while another program holds it.

    Raises:
        OSError: It cannot be renamed.
    """
    for pause in _PAUSES:
        with contextlib.suppress(PermissionError):
            source.replace(target)
            return
        time.sleep(pause)
    source.replace(target)


def link_or_copy(source: str, target: str) -> None:
    """Give a file a second name; copy it where the file system has no hard links.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It cannot be copied either.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # exFAT, some shares, and systems that allow links to administrators only
        shutil.copy2(source, target)
