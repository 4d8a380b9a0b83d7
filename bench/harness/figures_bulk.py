"""One bulk stream each way: our TCP at every level of offload, the ceiling, and the kernel."""

import dataclasses
import json
import os
import sys
from dataclasses import dataclass

from . import spaces
from .errors import HarnessError
from .figure import Bench, Column, Figure, wait_for
from .processes import Child, cpu_time
from .spaces import Space
from .stream_peer import DISCARD, SOURCE, WARMUP_SECONDS

LABELS = {
    "off": "runnel, plain packets",
    "gro": "runnel, plain packets, own GRO",
    "checksum": "runnel, checksum offload",
    "segmentation": "runnel, super-segments",
    "loans": "runnel, super-segments, no copies",
    "stateless": "stateless, super-segments",
    "veth": "Linux, veth",
}
NETS = {spaces.TUN: ("fd77::1", "fd77::2"), spaces.VETH: ("fd78::1", "fd78::2")}
PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stream_peer.py")


@dataclass(frozen=True)
class BulkFigure(Figure):
    """One stream to the server, or from it where `out`."""

    out: bool = False
    ipv6: bool = False

    def missing(self, bench: Bench, contender: str) -> str | None:
        if contender == "veth":
            return None
        return bench.paths.absent("stateless_bulk" if contender == "stateless" else "bulk")

    def label(self, contender: str) -> str:
        return LABELS[contender]

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        with bench.space(spaces.VETH if contender == "veth" else spaces.TUN) as space:
            address = use_ipv6(space) if self.ipv6 else space.server_address
            argv = server_command(bench, space, contender, address)
            with Child(space.server.command(argv, bench.server_core), LABELS[contender]) as server:
                described = server.line(20)
                if not described.startswith("ready"):
                    raise HarnessError(f"{server.name} began with '{described}' in place of "
                                       "'ready'.")
                if rest := described.removeprefix("ready").strip():
                    bench.note(contender, "description", rest)
                found = self.stream(bench, space, address, server)
                server.check()
                return found

    def stream(self, bench: Bench, space: Space, address: str,
               server: Child) -> dict[str, float]:
        argv = [sys.executable, PEER, "receive" if self.out else "send", address,
                str(SOURCE if self.out else DISCARD), str(bench.seconds)]
        before = space.traffic()
        with Child(space.client.command(argv, bench.client_core), "stream_peer") as peer:
            wait_for(peer, "begin", WARMUP_SECONDS + 20)
            cpu = cpu_time(server.pid)
            wait_for(peer, "end", bench.seconds + 20)
            cpu = cpu_time(server.pid) - cpu
            said = json.loads(peer.line(10))
        gigabytes = said["bytes"] / 1e9
        return {"gbit": gigabytes * 8 / said["seconds"], "cpu_s_per_gb": cpu.ns / 1e9 / gigabytes,
                "drops": (space.traffic() - before).drops}


def server_command(bench: Bench, space: Space, contender: str, address: str) -> list[str]:
    if contender == "veth":
        return [sys.executable, PEER, "serve", address]
    if contender == "stateless":
        return [bench.paths.program("stateless_bulk"), space.device]
    return [bench.paths.program("bulk"), "--tun", space.device, "--address", address,
            "--level", contender]


def use_ipv6(space: Space) -> str:
    """Gives both ends IPv6, which namespaces do not have otherwise; the server's address."""
    client, server = NETS[space.link]
    ends = [(space.client, space.device, client)]
    if space.server is not space.client:
        ends.append((space.server, "veth1", server))
    for namespace, device, address in ends:
        namespace.run(f"echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6 && "
                      f"ip address add {address}/64 dev {device} nodad")
    return server


COLUMNS = (Column("cpu_s_per_gb", "server s/GB", 3),)

IN = BulkFigure("bulk_in", "bulk", "One bulk stream in", "Gb/s", tuple(LABELS), value="gbit",
                ours=("segmentation",), columns=COLUMNS, digits=2)
OUT = dataclasses.replace(IN, name="bulk_out", title="One bulk stream out", out=True)


def over_ipv6(figure: BulkFigure) -> BulkFigure:
    return dataclasses.replace(figure, name=f"{figure.name}_ipv6", ipv6=True, rounds_cap=3,
                               title=f"{figure.title}, IPv6")


FIGURES: list[Figure] = [IN, OUT, over_ipv6(IN), over_ipv6(OUT)]

GROUPS = {
    "bulk": ("Bulk", """One stream between a kernel socket, in blocks of 256 KiB, and the server,
        which throws away what comes or writes for ever. Ours at every level of what the kernel does
        for a TUN device: packets of 1,500 bytes with all checksums computed here, the same joined
        by our own GRO, checksums left to the kernel, and super-segments of up to 64 KiB, which are
        read into and written from the program's own buffer, or lent and owned without any copy.
        stateless is the ceiling with super-segments: it acknowledges without looking at what came.
        The kernel's TCP over veth passes references to pages on and copies once at either end.
        In the direction in, the core of the client, which sends, is full, so that the rates lie
        close together: the server's CPU time for each GB tells more."""),
}
