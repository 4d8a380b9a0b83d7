"""Network namespaces for one measurement each: a client's and a server's with a link between.

They have no names and end with the processes that hold them, so nothing is left behind however the
harness ends. A new one for each measurement means that no contender finds the TIME_WAIT entries and
the metrics of the one before it.
"""

import os
import subprocess
from dataclasses import dataclass

from .errors import HarnessError
from .processes import Child

QUEUE_LENGTH = 10000
SOURCES = 64

# The client's kernel must be able to open as many connections as the server can close.
SYSCTLS = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/ipv4/ip_local_port_range": "1024 65535",
    "net/core/somaxconn": "4096",
    "net/ipv4/tcp_max_syn_backlog": "4096",
    "net/ipv4/tcp_max_tw_buckets": "4000000",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
}

# A machine's default may pace. A namespace may choose only among those that the machine allows for
# everybody, which CUBIC need not be; the results say which one it was.
CONGESTION_CONTROLS = ("cubic", "reno")


@dataclass(frozen=True)
class Link:
    """What lies between client and server: "tun", "veth" or "loopback"."""

    kind: str
    vnet: bool = False
    queues: int = 1


TUN = Link("tun")
TUN_VNET = Link("tun", vnet=True)
VETH = Link("veth")
LOOPBACK = Link("loopback")


@dataclass(frozen=True)
class Traffic:
    """What a device has counted, from the client's side."""

    packets: int = 0
    drops: int = 0
    received: int = 0
    sent: int = 0

    def __sub__(self, before: "Traffic") -> "Traffic":
        return Traffic(self.packets - before.packets, self.drops - before.drops,
                       self.received - before.received, self.sent - before.sent)


class Namespace:
    """A network namespace, held by a shell that does what it is told in it and ends when we do."""

    def __init__(self) -> None:
        self._shell = Child(["unshare", "--net", "sh", "-s"], "the shell in a network namespace",
                            stdin=subprocess.PIPE)
        try:
            choices = " || ".join(f"echo {name} >/proc/sys/net/ipv4/tcp_congestion_control"
                                  for name in CONGESTION_CONTROLS)
            self.run("\n".join(["ip link set lo up", f"{choices} || :",
                                *(f"echo {value} >/proc/sys/{name} || :"
                                  for name, value in SYSCTLS.items())]))
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._shell.pid

    def run(self, script: str, timeout: float = 20) -> str:
        """What the shell commands print; a HarnessError when the last one fails."""
        text = f"{{ {script}\n}} </dev/null 2>&1\necho \"status $?\"\n"
        try:
            self._shell.process.stdin.write(text.encode())
            self._shell.process.stdin.flush()
        except OSError as error:
            raise HarnessError(f"A network namespace is gone: {error}.") from error
        said = []
        while not (line := self._shell.line(timeout)).startswith("status "):
            said.append(line)
        if line != "status 0":
            why = said[0].rstrip(".") if said else "no message"
            raise HarnessError(f"A network namespace could not be set up: {why}.")
        return "\n".join(said)

    def command(self, argv: list[str], core: int | str | None = None) -> list[str]:
        """The command line that runs `argv` here, pinned to `core` or to cores such as "0,1".
        The process that it starts becomes `argv`, so its id is that of the program."""
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *pinned, *argv]

    def devices(self) -> dict[str, Traffic]:
        """The counters of all its devices."""
        found = {}
        with open(f"/proc/{self.pid}/net/dev", encoding="ascii") as lines:
            for line in list(lines)[2:]:
                name, _, rest = line.partition(":")
                count = [int(each) for each in rest.split()]
                found[name.strip()] = Traffic(packets=count[1] + count[9],
                                              drops=count[3] + count[11],
                                              received=count[0], sent=count[8])
        return found

    def sysctl(self, name: str) -> str:
        """A value such as net/ipv4/tcp_congestion_control."""
        return self.run(f"cat /proc/sys/{name}").strip()

    def close(self) -> None:
        self._shell.stop(patience=1)


class Space:
    """A client's and a server's place. For TUN and loopback both are the same namespace.

    client, server    the namespaces
    device            the client's device
    client_address    the client's usual address; `server_address` is where servers listen
    sources           64 more client addresses, as bench_client's --sources takes them
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.client = Namespace()
        self.server = self.client
        try:
            getattr(self, f"_make_{link.kind}")()
        except BaseException:
            self.close()
            raise

    def _addresses(self, net: str) -> None:
        self.client_address = f"{net}.0.1"
        self.server_address = f"{net}.0.2"
        self.sources = f"{net}.1.1/{SOURCES}"

    def _client_batch(self) -> list[str]:
        net = self.client_address.removesuffix(".0.1")
        return [f"address add {self.client_address}/16 dev {self.device}",
                *(f"address add {net}.1.{i}/32 dev {self.device}" for i in range(1, SOURCES + 1))]

    def _make_tun(self) -> None:
        self.device = "tun0"
        self._addresses("10.77")
        words = " vnet_hdr" * self.link.vnet + " multi_queue" * (self.link.queues > 1)
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise HarnessError("No TUN device can be made, for /dev/net/tun may not be opened: run "
                               "it as root, or do 'modprobe tun' and 'chmod 666 /dev/net/tun'.")
        batch(self.client, [f"tuntap add dev {self.device} mode tun{words}",
                            f"link set dev {self.device} txqueuelen {QUEUE_LENGTH} up",
                            *self._client_batch()])

    def _make_veth(self) -> None:
        self.device = "veth0"
        self._addresses("10.78")
        self.server = Namespace()
        batch(self.client, [
            f"link add veth0 txqueuelen {QUEUE_LENGTH} type veth peer name veth1 "
            f"netns {self.server.pid}",
            f"link set dev {self.device} up", *self._client_batch()])
        batch(self.server, [f"link set dev veth1 txqueuelen {QUEUE_LENGTH} up",
                            f"address add {self.server_address}/16 dev veth1"])

    def _make_loopback(self) -> None:
        self.device = "lo"
        self.client_address = self.server_address = "127.0.0.1"
        self.sources = f"127.0.1.1/{SOURCES}"

    def traffic(self) -> Traffic:
        """Packets and bytes of the client's device, and drops at either end."""
        here = self.client.devices()[self.device]
        if self.link.kind == "loopback":
            # Every packet is counted as sent and as received.
            return Traffic(here.packets // 2, here.drops, here.received, here.sent)
        if self.link.kind == "veth":
            there = self.server.devices()["veth1"]
            return Traffic(here.packets, here.drops + there.drops, here.received, here.sent)
        return here

    def close(self) -> None:
        self.client.close()
        if self.server is not self.client:
            self.server.close()

    def __enter__(self) -> "Space":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def batch(where: Namespace, lines: list[str]) -> None:
    """Runs ip(8) once for all of its commands."""
    where.run("printf '%s\\n' " + " ".join(f"'{line}'" for line in lines) + " | ip -batch -")
