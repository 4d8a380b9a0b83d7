"""Memory of connections through a device, with a program on top."""

import resource
import time
from dataclasses import dataclass

from . import spaces
from .contenders import CONTENDERS, PORT, Contender
from .errors import HarnessError
from .figure import Bench, Column, Figure
from .inspection import Inspection, with_flags
from .processes import Child, resident_bytes, tool
from .spaces import Space

WANTED = 100_000
# nginx is told to take 16,384 connections, all of which it makes room for when it starts.
NGINX_MOST = 16_000
OTHER_DESCRIPTORS = 200
SETTLING_SECONDS = 0.5

FLAGS = {"runnel_http": ("--max-connections", str(WANTED + 1000), "--keepalive-timeout", "600")}


def how_many(contender: Contender) -> int:
    """What the server can hold; on the kernel's TCP each one takes a descriptor."""
    if contender.program == "nginx":
        return NGINX_MOST
    if contender.link == spaces.TUN:
        return WANTED
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return WANTED if most == resource.RLIM_INFINITY else min(WANTED, most - OTHER_DESCRIPTORS)


@dataclass(frozen=True)
class IdleFigure(Figure):
    """Bytes of the server's process for each idle keep-alive connection."""

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        server_kind = CONTENDERS[contender]
        if contender in FLAGS:
            server_kind = with_flags(server_kind, *FLAGS[contender])
        count = how_many(server_kind)
        with bench.space(server_kind.link) as space:
            with bench.serve(server_kind, space) as server:
                before = resident_bytes(server.pid)
                argv = [bench.paths.program("bench_client"), "--address", space.server_address,
                        "--port", str(PORT), "--idle", str(count), "--sources", space.sources]
                with Child(space.client.command(argv, bench.client_core), "bench_client") as held:
                    line = held.line(120)
                    if line != "holding":
                        raise HarnessError(f"bench_client said '{line}' in place of 'holding'.")
                    time.sleep(SETTLING_SECONDS)
                    server.check()
                    grown = resident_bytes(server.pid) - before
                    # Its sockets take longer to close than a process gets otherwise.
                    held.stop(patience=20)
        return {"bytes": grown / count, "connections": count, "megabytes": grown / 1e6}


@dataclass(frozen=True)
class ObjectsFigure(Figure):
    """Bytes of http_server's process for each entry that is no connection yet or any more."""

    def missing(self, bench: Bench, contender: str) -> str | None:
        program = "syn_flood" if contender == "half_open" else "bench_client"
        return (bench.paths.absent("http_server") or bench.paths.absent(program)
                or Inspection.missing(bench.paths))

    def label(self, contender: str) -> str:
        return {"half_open": "http_server: half-open", "time_wait": "http_server: TIME_WAIT"}[
            contender]

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        with Inspection(bench.paths) as inspection, bench.space(spaces.TUN) as space:
            room = str(2 * WANTED)
            chosen = inspection.contender(
                "--backlog", room, "--set", f"somaxconn={room}", "--set",
                f"max_syn_backlog={room}", "--set", "syncookies=off", name=contender)
            with bench.serve(chosen, space) as server:
                server.line(20)
                # What every server takes at its first connections is no part of an entry.
                bench.load(space, server, seconds=0.2, warmup=0)
                first, before = inspection.table(), resident_bytes(server.pid)
                if contender == "half_open":
                    flood(bench, space)
                    table = inspection.table()
                    count = table.half_open - first.half_open
                else:
                    count = close_many(bench, space, server, inspection) - first.time_wait
                    table = inspection.table()
                grown = resident_bytes(server.pid) - before
                if count < WANTED / 2:
                    raise HarnessError(f"Only {count:,} of {WANTED:,} entries could be made.")
                return {"bytes": grown / count, "entries": count,
                        "table": (table.table_bytes - first.table_bytes) / count}


def flood(bench: Bench, space: Space) -> None:
    """As many half-open entries as are wanted, slowly enough for none to be lost."""
    rate = 40_000
    tool(space.client.command(
        [bench.paths.program("syn_flood"), "--device", space.device, "--address",
         space.server_address, "--port", str(PORT), "--rate", str(rate), "--seconds",
         str(1.05 * WANTED / rate), "--sources", "131072"], bench.client_core), timeout=30)


def close_many(bench: Bench, space: Space, server: Child, inspection: Inspection) -> int:
    """Connections from 64 addresses, which the server closes, until that many entries are there;
    how many there are."""
    for _ in range(30):
        bench.load(space, server, seconds=1, warmup=0, sources=True)
        if (count := inspection.table().time_wait) >= WANTED:
            return count
    return count


FIGURES: list[Figure] = [
    IdleFigure("memory_idle", "memory", "Memory of the server for an idle keep-alive connection",
               "bytes", ("runnel_http", "runnel", "gvisor", "nginx_veth", "epoll_veth"),
               more_is_better=False, value="bytes", rounds_cap=1,
               columns=(Column("connections", "connections", 0),
                        Column("megabytes", "MB in all", 1))),
    ObjectsFigure("memory_objects", "memory", "Memory of http_server for an entry, through TUN",
                  "bytes", ("half_open", "time_wait"), more_is_better=False, value="bytes",
                  ours=(), rounds_cap=1, digits=1,
                  columns=(Column("entries", "entries", 0),
                           Column("table", "of it tables", 1))),
]

GROUPS = {
    "memory": ("Memory of connections", """By what the server's process grows in RAM, counted by the
        kernel as anonymous memory, for each of 100,000 keep-alive connections from 64 addresses on
        which one request was answered: coroutine, HTTP parser, stream and TCP included. On the
        kernel's TCP that is the program's part only: the socket is the kernel's memory and not
        visible there, and the epoll server keeps nothing of its own. There are as many as may be
        open in a process. nginx takes memory for its 16,384 connections when it starts, so that
        only what each takes beyond is seen. gVisor's includes what Go has not yet collected. lwIP
        is left out, since its pools are there from its start for at most 65,000 connections: the
        size of its object stands among the bytes of an entry. Then the same for http_server's
        half-open entries, by a flood of SYNs at a bounded rate without cookies and with a backlog
        for all of them, and for its entries in TIME_WAIT."""),
}
