"""The division of accelerators among workers, with made-up devices."""

import logging

import pytest

import hpo_plugins as hpo
from hpo_plugins.execution import devices
from hpo_plugins.execution.devices import Devices, amd_files, find_devices, nvidia_files, parse_listing, shares

FOUR = Devices(("CUDA_VISIBLE_DEVICES",), ("0", "1", "2", "3"))
MIG = "MIG-5f3e7c2a-0b1d-5c6e-8f9a-1b2c3d4e5f60"
LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-c6d4f1ef-42e4-7de3-91c7-45d71c87eb3f)
"""
DIVIDED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 1g.5gb      Device  1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-c6d4f1ef-42e4-7de3-91c7-45d71c87eb3f)
"""


# Which devices there are.


@pytest.mark.parametrize(
    ("environment", "variables", "names"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, ("CUDA_VISIBLE_DEVICES",), ("2", "0")),
        ({"CUDA_VISIBLE_DEVICES": " 1 , 3 "}, ("CUDA_VISIBLE_DEVICES",), ("1", "3")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ("CUDA_VISIBLE_DEVICES",), ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ("CUDA_VISIBLE_DEVICES",), ()),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ("CUDA_VISIBLE_DEVICES",), ()),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, ("CUDA_VISIBLE_DEVICES",), ("0",)),
        ({"CUDA_VISIBLE_DEVICES": "0,0,1"}, ("CUDA_VISIBLE_DEVICES",), ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": f"{MIG},GPU-1f"}, ("CUDA_VISIBLE_DEVICES",), (MIG, "GPU-1f")),
        ({"CUDA_VISIBLE_DEVICES": "MIG-GPU-1f/1/0"}, ("CUDA_VISIBLE_DEVICES",), ("MIG-GPU-1f/1/0",)),
        ({"ROCR_VISIBLE_DEVICES": "0,1"}, ("ROCR_VISIBLE_DEVICES",), ("0", "1")),
        ({"HIP_VISIBLE_DEVICES": "1", "ROCR_VISIBLE_DEVICES": "4,5"}, ("HIP_VISIBLE_DEVICES",), ("1",)),
        (
            {"CUDA_VISIBLE_DEVICES": "0,1", "HIP_VISIBLE_DEVICES": "0,1"},
            ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
            ("0", "1"),
        ),
    ],
)
def test_variables_that_are_set_are_respected(environment, variables, names):
    assert find_devices(environment) == Devices(variables, names)


def test_listing_gives_indices_or_the_instances_of_divided_gpus():
    assert parse_listing(LISTING) == ("0", "1")
    assert parse_listing(DIVIDED) == (
        "MIG-c7384736-a75d-5afc-978f-d2f1294409fd",
        "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d",
        "GPU-c6d4f1ef-42e4-7de3-91c7-45d71c87eb3f",
    )
    assert parse_listing("No devices were found") == ()


def test_files_of_the_drivers_are_counted(tmp_path):
    assert nvidia_files(tmp_path) == amd_files(tmp_path) == ()
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "kfd"):
        (tmp_path / "dev" / name).touch()
    assert nvidia_files(tmp_path) == ("0", "1")
    for node, number in enumerate(["0", "4098", "51197"]):
        folder = tmp_path / "sys/class/kfd/kfd/topology/nodes" / str(node)
        folder.mkdir(parents=True)
        (folder / "gpu_id").write_text(f"{number}\n")
    assert amd_files(tmp_path) == ("0", "1")


def test_machine_is_asked_once_and_a_driver_that_hangs_is_left(monkeypatch):
    asked = []

    def hangs(*command, **options):
        asked.append(options["timeout"])
        raise devices.subprocess.TimeoutExpired("nvidia-smi", options["timeout"])

    monkeypatch.setattr(devices.subprocess, "run", hangs)
    devices._installed_devices.cache_clear()
    try:
        assert find_devices({}) == find_devices({})
        assert asked == [10.0]
    finally:
        devices._installed_devices.cache_clear()


# How they are divided.


@pytest.mark.parametrize(
    ("workers", "per_worker", "expected"),
    [
        (4, None, ["0", "1", "2", "3"]),
        (8, None, ["0", "1", "2", "3", "0", "1", "2", "3"]),
        (2, 2, ["0,1", "2,3"]),
        (2, 3, ["0,1,2", "0,1,2"]),
        (3, 2, ["0,1", "2,3", "0,1"]),
        (2, None, ["0", "1"]),
    ],
)
def test_devices_are_divided(workers, per_worker, expected):
    assert [",".join(share) for share in shares(FOUR, workers, per_worker)] == expected


def test_division_is_said_in_one_line(caplog):
    caplog.set_level(logging.INFO, "hpo_plugins")
    shares(FOUR, 3, None)
    shares(FOUR, 8, None)
    assert caplog.messages == [
        "3 workers have 1 of 4 devices each (CUDA_VISIBLE_DEVICES: 0; 1; 2); unused: 3",
        "8 workers have 1 of 4 devices each (CUDA_VISIBLE_DEVICES: 0; 1; 2; 3; 0; 1; 2; 3); up to 2 workers share a "
        "device",
    ]


def test_without_devices_nothing_is_divided(caplog):
    assert shares(Devices((), ()), 2, None) == [(), ()]
    assert caplog.messages == []
    assert shares(Devices((), ()), 2, 1) == [(), ()]
    assert caplog.messages == ["devices_per_worker=1 has no effect: no device was found"]


@pytest.mark.parametrize(
    ("value", "workers", "message"),
    [
        (5, 2, r"devices_per_worker must be at most 4, the devices that this process sees \(0, 1, 2, 3\)"),
        (0, 2, r"devices_per_worker must be a whole number of at least 1"),
        (True, 2, r"devices_per_worker must be a whole number"),
        ("all", 2, r"devices_per_worker must be a whole number"),
        (1, 1, r"devices_per_worker must be None unless workers= is a number from 2 on"),
        (1, type("Executor", (), {"run": None})(), r"devices_per_worker must be None unless workers="),
    ],
)
def test_bad_divisions_are_named(value, workers, message, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    tuner = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=1)
    with pytest.raises(hpo.InvalidArgument, match=message):
        tuner.run(print, workers=workers, devices_per_worker=value)


def test_instances_of_a_divided_gpu_go_to_one_worker_each():
    instances = Devices(("CUDA_VISIBLE_DEVICES",), (MIG, "MIG-2"))
    assert shares(instances, 2, None) == [(MIG,), ("MIG-2",)]
    with pytest.raises(hpo.InvalidArgument, match=r"must be 1 if GPUs are divided into MIG instances"):
        shares(instances, 1, 2)


def test_trial_in_this_process_has_no_devices(monkeypatch):
    monkeypatch.delenv("HPO_PLUGINS_DEVICES", raising=False)
    trial = hpo.Tuner({"x": hpo.Continuous(0, 1)}, hpo.Minimize("loss"), max_trials=1).ask()
    assert trial.devices == ()
    assert next(trial.folds(2)).devices == ()
