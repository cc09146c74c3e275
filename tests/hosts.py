"""Hosts for tests: network namespaces on a bridge, each with process IDs and a host name of its own."""

import os
import shlex
import shutil
import subprocess
import tempfile


def why_impossible():
    """Return why hosts cannot be made here, None if they can."""
    if shutil.which("ip") is None:
        return "hosts are network namespaces, which need the command ip of iproute2"
    if os.geteuid() != 0:
        return "hosts are network namespaces, which need root"
    name = f"hpo-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None


class Hosts:
    """Hosts that reach each other; ``address`` is that of this machine among them.

    Args:
        count: How many.
        net: The second number of their addresses, so that several tests can run at once.
    """

    def __init__(self, count, net=77):
        """Make them."""
        process = os.getpid()
        self.names = [f"hpo{process}-{index}" for index in range(count)]
        self.address, self.addresses = f"10.{net}.0.1", [f"10.{net}.1.{index + 1}" for index in range(count)]
        self._bridge = f"hb{process}"
        self._names = tempfile.NamedTemporaryFile("w", prefix="hpo-hosts-")  # noqa: SIM115 - closed by close()
        pairs = zip(["127.0.0.1", *self.addresses], ["localhost", *self.names], strict=True)
        self._names.writelines(f"{address} {name}\n" for address, name in pairs)
        self._names.flush()
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("addr", "add", f"{self.address}/16", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            for index, name in enumerate(self.names):
                self._make(name, self.addresses[index], f"hv{process}-{index}"[:15], f"hw{process}-{index}"[:15])
        except BaseException:
            self.close()
            raise

    def _make(self, name, address, outer, inner):
        _ip("netns", "add", name)
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
        _ip("link", "set", outer, "master", self._bridge, "up")
        _ip("link", "set", inner, "netns", name)
        _ip("-n", name, "link", "set", inner, "name", "eth0")
        _ip("-n", name, "addr", "add", f"{address}/16", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")

    def start(self, index, *command, own=None, **options):
        """Start a command on a host.

        Args:
            index: The host.
            *command: The command.
            own: A folder in which this host sees files of its own, not those of others.
            **options: Those of ``Popen``.
        """
        name = self.names[index]
        inside = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        setting = f"hostname {name} && mount --bind {shlex.quote(self._names.name)} /etc/hosts"
        if own is not None:
            setting += f" && mount -t tmpfs none {shlex.quote(str(own))}"
        shell = ["sh", "-c", f'{setting} && exec "$@"', "sh", *map(str, command)]
        return subprocess.Popen(["ip", "netns", "exec", name, *inside, *shell], **options)

    def close(self):
        """Remove them."""
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", self._bridge], check=False, stderr=subprocess.DEVNULL)
        self._names.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
