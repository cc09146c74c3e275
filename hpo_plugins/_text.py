"""Make text from a study safe for terminals, logs and pages, which then show it as text, never as a command.

A study file may come from a stranger. Its names, values and errors can contain terminal escapes, which write to the
clipboard or clear the screen, and characters that turn the order of a line round.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

_LINES = "\t\n"
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters; those from 0x80 start escapes, too
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of writing
    "\u2028\u2029\ufff9-\ufffb\U000e0000-\U000e007f"  # line breaks and annotations that are not seen
    "\ud800-\udfff]"  # lone surrogates: no stream can encode them
)


def printable(text: object, *, lines: bool = False) -> str:
    r"""Return text whose control characters are written as in Python's string literals, such as ``\x1b``.

    Args:
        text: The text, or an object to show as its ``str``.
        lines: Whether to keep line breaks and tabs.
    """
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    return _UNSAFE.sub(lambda found: found[0] if lines and found[0] in _LINES else _escaped(found[0]), plain)


def printable_json(text: str) -> str:
    r"""Return JSON with its control characters as ``\u001b``: the same data, which a terminal can show."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in _LINES else _json_escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _json_escaped(character: str) -> str:
    data = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[place : place + 2].hex()}" for place in range(0, len(data), 2))


class PrintableRecords(logging.Filter):
    """Makes the records of a logger printable, for whichever handlers and formatters an application has.

    The lines of a message after its first are indented, so that no name or error can pass for another record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Make the record's message, arguments and traceback printable; let it pass."""
        if isinstance(record.msg, str):
            record.msg = _in_a_log(record.msg)
        if isinstance(record.args, Mapping):
            record.args = {name: _argument(value) for name, value in record.args.items()}
        elif record.args:
            record.args = tuple(map(_argument, record.args))
        if record.exc_info and record.exc_text is None:
            traceback = logging.Formatter().formatException(record.exc_info)
            if (shown := printable(traceback, lines=True)) != traceback:
                record.exc_text = shown
        return True


def _in_a_log(text: str) -> str:
    return printable(text, lines=True).replace("\n", "\n    ")


def _argument(value: object) -> object:
    """Return a message's argument; one that is printable stays the object that it is."""
    if value is None or isinstance(value, int | float):
        return value
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - the handler reports it; no training run ends for a message
        return value
    shown = _in_a_log(text)
    return value if shown == text else shown
