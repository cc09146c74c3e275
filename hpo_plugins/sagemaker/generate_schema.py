"""Generate ``request_schema.json`` from botocore's model of the service.

    pip install boto3
    python -m hpo_plugins.sagemaker.generate_schema

The schema is the service's own: the shapes of a ``CreateHyperParameterTuningJob`` request, without documentation.
``tests/sagemaker/test_schema.py`` compares it with the botocore that is installed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = "CreateHyperParameterTuningJobRequest"
PATH = Path(__file__).with_name("request_schema.json")

# What differs from the model, and why.
_OVERRIDES = {
    # The service's list of instance types grows every month, and none of them has a meaning here.
    "TrainingInstanceType": {"type": "string", "min": 1, "max": 64, "pattern": r"ml\.[a-z0-9-]+\.[a-z0-9-]+"},
}
_PATTERNS = {
    # Python's re has no Unicode categories; (?u:...) extends \w and \s beyond ASCII.
    r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)": r"(?u:[\w\s.:/=+\-@]*)",
}
_KEPT = ("type", "required", "members", "member", "key", "value", "enum", "min", "max", "pattern")


def generate() -> dict[str, Any]:
    """Return the shapes by name, the request's own first.

    Raises:
        ModuleNotFoundError: botocore is not installed.
    """
    from botocore.loaders import Loader

    shapes = Loader().load_service_model("sagemaker", "service-2")["shapes"]
    found: dict[str, Any] = {}
    pending = [ROOT]
    while pending:
        name = pending.pop(0)
        if name not in found:
            found[name] = _OVERRIDES.get(name) or _plain(shapes[name])
            pending += _references(found[name])
    return found


def _plain(shape: dict[str, Any]) -> dict[str, Any]:
    """Return a shape without documentation, its members as names of shapes."""
    plain = {key: shape[key] for key in _KEPT if key in shape}
    if "members" in plain:
        plain["members"] = {name: member["shape"] for name, member in plain["members"].items()}
    for key in ("member", "key", "value"):
        if key in plain:
            plain[key] = plain[key]["shape"]
    if "pattern" in plain:
        plain["pattern"] = _PATTERNS.get(plain["pattern"], plain["pattern"])
    return plain


def _references(shape: dict[str, Any]) -> list[str]:
    return [*shape.get("members", {}).values(), *(shape[key] for key in ("member", "key", "value") if key in shape)]


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
