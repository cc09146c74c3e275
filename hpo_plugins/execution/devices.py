"""The accelerators that this process may use, and their division among worker processes.

No framework is imported: an environment variable says which devices are visible, or the drivers say which exist. A
worker sees its share alone, since the same variable limits it before it imports a framework.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hpo_plugins.errors import InvalidArgument
from hpo_plugins.trial.devices import TOLD

logger = logging.getLogger("hpo_plugins")

_CUDA, _HIP, _ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
_TIMEOUT_SECONDS = 10.0
_MIG = re.compile(r"^\s+MIG .*\(UUID:\s*(\S+?)\)")
_GPU = re.compile(r"^GPU (\d+): .*\(UUID:\s*(\S+?)\)")


class Devices(NamedTuple):
    """The visible devices.

    Attributes:
        variables: The environment variables that limit a process to some of them.
        names: Their names in these variables: indices or UUIDs.
    """

    variables: tuple[str, ...]
    names: tuple[str, ...]

    def environment(self, share: tuple[str, ...]) -> dict[str, str]:
        """Return the variables of a process that sees some of the devices."""
        return dict.fromkeys((*self.variables, TOLD), ",".join(share))


def find_devices(environment: Mapping[str, str] = os.environ) -> Devices:
    """Return the devices that this process sees.

    Variables that are set count: HIP's before CUDA's, which ROCm follows too, and these before ROCR's, since their
    indices count within ROCR's devices.
    """
    known = [name for name in (_HIP, _CUDA, _ROCR) if name in environment]
    if not known:
        return _installed_devices()
    same = [name for name in known if name != _ROCR and environment[name] == environment[known[0]]]
    return Devices(tuple(same or known[:1]), _listed(environment[known[0]]))


def _listed(text: str) -> tuple[str, ...]:
    """Return the devices of a variable; as the drivers read it, the first invalid index ends the list."""
    names: dict[str, None] = {}
    for part in text.split(","):
        name = part.strip()
        if not re.fullmatch(r"\d+|[A-Za-z][\w/.:-]*", name) or name == "NoDevFiles":
            break
        names[name] = None
    return tuple(names)


@functools.cache
def _installed_devices() -> Devices:
    """Return all devices of this machine, by what their drivers say."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607 - where the user's PATH finds it
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        names = parse_listing(listing.stdout) if listing.returncode == 0 else ()
    except (OSError, subprocess.SubprocessError, UnicodeError):
        names = ()
    if names := names or nvidia_files(Path("/")):
        return Devices((_CUDA,), names)
    return Devices((_HIP,), amd_files(Path("/")))


def parse_listing(listing: str) -> tuple[str, ...]:
    """Return the devices in the output of ``nvidia-smi -L``: indices, or UUIDs if a GPU is divided into instances."""
    found: list[tuple[str, str, list[str]]] = []
    for line in listing.splitlines():
        if gpu := _GPU.match(line):
            found.append((gpu[1], gpu[2], []))
        elif (instance := _MIG.match(line)) and found:
            found[-1][2].append(instance[1])
    if not any(instances for _, _, instances in found):
        return tuple(index for index, _, _ in found)
    return tuple(name for _, uuid, instances in found for name in instances or [uuid])


def nvidia_files(root: Path) -> tuple[str, ...]:
    """Return the indices of NVIDIA's devices, by the files of their driver.

    Args:
        root: The root of the file system.
    """
    count = len(list(root.glob("proc/driver/nvidia/gpus/*"))) or len(list(root.glob("dev/nvidia[0-9]*")))
    return tuple(map(str, range(count)))


def amd_files(root: Path) -> tuple[str, ...]:
    """Return the indices of AMD's devices, by the files of their driver; processors are no devices.

    Args:
        root: The root of the file system.
    """
    if not (root / "dev/kfd").exists():
        return ()
    count = 0
    for file in root.glob("sys/class/kfd/kfd/topology/nodes/*/gpu_id"):
        try:
            count += file.read_text().strip() not in ("", "0")
        except OSError:  # the device of another container
            continue
    return tuple(map(str, range(count)))


def shares(devices: Devices, workers: int, per_worker: int | None) -> list[tuple[str, ...]]:
    """Return the devices of each worker, empty ones if there are no devices; log the division in one line.

    Args:
        devices: The devices to divide.
        workers: Number of workers. If there are more than the devices suffice for, several have the same ones.
        per_worker: Devices of each worker; None is 1.

    Raises:
        InvalidArgument: There are fewer devices than one worker is to have, or one of them is a part of a GPU, of which
            a process can use only one.
    """
    names, size = devices.names, per_worker or 1
    if not names:
        if per_worker is not None:
            logger.warning("devices_per_worker=%d has no effect: no device was found", per_worker)
        return [()] * workers
    if size > len(names):
        raise InvalidArgument(
            f"devices_per_worker must be at most {len(names)}, the devices that this process sees "
            f"({', '.join(names)}), but got devices_per_worker={size}."
        )
    if size > 1 and any(name.startswith("MIG") for name in names):
        raise InvalidArgument(
            f"devices_per_worker must be 1 if GPUs are divided into MIG instances, of which a process can use only "
            f"one, but got devices_per_worker={size}."
        )
    groups = [names[first : first + size] for first in range(0, len(names) - size + 1, size)]
    divided = [groups[worker % len(groups)] for worker in range(workers)]
    unused = [name for name in names if not any(name in share for share in divided)]
    logger.info(
        "%d workers have %s of %d devices each (%s: %s)%s%s",
        workers,
        size,
        len(names),
        " and ".join(devices.variables),
        "; ".join(",".join(share) for share in divided),
        f"; up to {-(-workers // len(groups))} workers share a device" if workers > len(groups) else "",
        f"; unused: {','.join(unused)}" if unused else "",
    )
    return divided
