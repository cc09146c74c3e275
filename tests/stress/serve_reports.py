"""Reports a second through the server, and through Optuna's gRPC proxy, in the same run: ``python serve_reports.py``.

Clients are threads of several processes, each with its own connection and its own trial. They report as fast as they
can; both servers keep a SQLite file. Not measured: searches, and what judges reports.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOKEN = "a-token-for-the-stress-test"
OURS = "import sys; from hpo_plugins.cli.main import main; sys.argv[1:] = {arguments!r}; main()"
OPTUNA = """
import optuna, sys
storage = optuna.storages.RDBStorage("sqlite:///" + sys.argv[1])
print("ready", flush=True)
optuna.storages.run_grpc_proxy_server(storage, host="127.0.0.1", port=int(sys.argv[2]))
"""


def our_reporter(port, index):
    """Return a function that reports an epoch, from a trial of its own."""
    from hpo_plugins.records import Assignment, ReportRow
    from hpo_plugins.storage import open_storage

    study = open_storage(f"http://127.0.0.1:{port}").open("s", {})
    written = None
    while written is None:  # others acquire, too
        number = study.changes(0).acquisitions
        written = study.acquire(Assignment(number, {"x": 0.5}, 1, 0, "stress", 600.0), number)
    return lambda epoch: study.report(ReportRow(number, 1, epoch, 0.5, {"loss": 0.5}, 1.0))


def optuna_reporter(port, index):
    """Return a function that reports an epoch, from a trial of its own."""
    import optuna

    optuna.logging.disable_default_handler()
    storage = optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port)
    storage.wait_server_ready(timeout=60)
    trial = optuna.load_study(study_name="s", storage=storage).ask()
    return lambda epoch: trial.report(0.5, epoch)


def work(make, port, threads, seconds, start, results):
    """Report from several threads, and put the seconds that each report took."""
    reporters = [make(port, index) for index in range(threads)]
    taken = [[] for _ in reporters]

    def run(report, times):
        until = time.monotonic() + seconds
        epoch = 0
        while time.monotonic() < until:
            epoch += 1
            began = time.perf_counter()
            report(epoch)
            times.append(time.perf_counter() - began)

    started = [threading.Thread(target=run, args=pair) for pair in zip(reporters, taken, strict=True)]
    start.wait()
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    results.put([each for times in taken for each in times])


def measure(make, port, clients, processes, seconds):
    """Return the reports a second, and quantiles of the seconds that a report takes."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(processes), context.Queue()
    arguments = (make, port, clients // processes, seconds, start, results)
    workers = [context.Process(target=work, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    times = [each for _ in workers for each in results.get()]
    for worker in workers:
        worker.join()
    quantiles = statistics.quantiles(times, n=100)
    return {
        "reports a second": round(len(times) / seconds),
        "median ms": round(quantiles[49] * 1e3, 2),
        "p99 ms": round(quantiles[98] * 1e3, 2),
        "reports": len(times),
    }


def free_port():
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def start(command, until):
    """Start a server; returns when it prints a line with these words."""
    server = subprocess.Popen([sys.executable, "-c", *map(str, command)], stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        if until in line:
            return server
    raise RuntimeError("the server has ended")


def main():
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", choices=["ours", "optuna"])
    given = parser.parse_args()
    os.environ["HPO_PLUGINS_TOKEN"] = TOKEN
    with tempfile.TemporaryDirectory() as folder:
        sizes = (given.clients, given.processes, given.seconds)
        if given.only != "optuna":
            port = free_port()
            arguments = ["serve", f"{folder}/ours.db", "--port", str(port)]
            server = start([OURS.format(arguments=arguments)], "Ctrl-C")
            try:
                print("ours", json.dumps(measure(our_reporter, port, *sizes)), flush=True)
                print("ours, one client", json.dumps(measure(our_reporter, port, 1, 1, given.seconds)), flush=True)
            finally:
                server.kill()
        if given.only != "ours":
            import optuna

            path, port = Path(folder) / "optuna.db", free_port()
            optuna.create_study(study_name="s", storage=f"sqlite:///{path}")
            server = start([OPTUNA, path, port], "ready")
            try:
                print("optuna", json.dumps(measure(optuna_reporter, port, *sizes)), flush=True)
                print("optuna, one client", json.dumps(measure(optuna_reporter, port, 1, 1, given.seconds)), flush=True)
            finally:
                server.kill()


if __name__ == "__main__":
    main()
