"""Print the lower bounds of pyproject.toml as exact versions: of what everyone needs, and of the frameworks."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def oldest_versions() -> list[str]:
    """Return a pin for each requirement of the package, and of the extras with a callback for training runs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = list(project["dependencies"])
    for path in sorted((ROOT / "integrations").glob("[!_]*.py")):
        if '"TrialCallback"' in path.read_text(encoding="utf-8"):
            required += project["optional-dependencies"][path.stem]
    return [re.sub(r">=([\d.]+).*", r"==\1", requirement) for requirement in required]


if __name__ == "__main__":
    sys.stdout.write(" ".join(oldest_versions()))
