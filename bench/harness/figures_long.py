"""The long run: what millions of TIME_WAIT entries do to the rate."""

import json
import time
from dataclasses import dataclass

from . import spaces
from .contenders import CONTENDERS, PORT
from .errors import HarnessError
from .figure import Bench, Column, Figure, summary_of, wait_for
from .inspection import Inspection
from .processes import Child, cpu_time

# Longer than TIME_WAIT, so that entries end while others come.
LENGTH_FOR_EACH_SECOND = 75
# So long before the end the entries are counted. That walks all of them, which takes tenths of a
# second, and so happens once only.
LOOK_SECONDS = 2.0
BASES = {"http_64": "runnel_http", "http_1": "runnel_http", "stateless_64": "stateless",
         "stateless_1": "stateless"}


@dataclass(frozen=True)
class LongFigure(Figure):
    """Connections a second over more than a minute."""

    def missing(self, bench: Bench, contender: str) -> str | None:
        base = BASES[contender]
        ours = Inspection.missing(bench.paths) if base == "runnel_http" else None
        return CONTENDERS[base].missing(bench.paths) or ours

    def label(self, contender: str) -> str:
        base, _, count = contender.rpartition("_")
        name = "runnel: http_server" if base == "http" else base
        return f"{name}, {count} {'address' if count == '1' else 'addresses'}"

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        base = CONTENDERS[BASES[contender]]
        with Inspection(bench.paths) as inspection, bench.space(base.link) as space:
            inspected = base.name == "runnel_http"
            chosen = inspection.contender(name=contender) if inspected else base
            with bench.serve(chosen, space) as server:
                if inspected:
                    server.line(20)
                look = inspection if inspected else None
                return run(bench, space, server, look, contender.endswith("_64"))


def run(bench: Bench, space: spaces.Space, server: Child, look: Inspection | None,
        sources: bool) -> dict[str, float]:
    seconds = LENGTH_FOR_EACH_SECOND * bench.seconds
    argv = [bench.paths.program("bench_client"), "--address", space.server_address,
            "--port", str(PORT), "--connections", "64", "--seconds", str(seconds),
            "--warmup", str(bench.warmup), *(("--sources", space.sources) if sources else ())]
    before = space.traffic()
    with Child(space.client.command(argv, bench.client_core), "bench_client") as client:
        wait_for(client, "begin", bench.warmup + 20)
        cpu, traffic = cpu_time(server.pid), space.traffic()
        entries = watch(server, client, look, seconds) if look else 0
        wait_for(client, "end", seconds + 20)
        cpu, traffic = cpu_time(server.pid) - cpu, space.traffic() - traffic
        said = json.loads(client.line(30))
    values = summary_of(said, cpu, traffic, 0)
    # In so long a time a device may lose a packet or two, which must not cost the whole run.
    values |= {"device_drops": (space.traffic() - before).drops}
    del values["drops"]
    if look is None:
        return values
    counted = look.counters()
    return values | {"entries": entries, "reopened": counted.get("RunnelTimeWaitReopened", 0),
                     "overflow": counted.get("TcpExtTCPTimeWaitOverflow", 0)}


def watch(server: Child, client: Child, look: Inspection, seconds: float) -> int:
    """The entries in TIME_WAIT near the end of the window."""
    end = time.monotonic() + seconds - LOOK_SECONDS
    while time.monotonic() < end:
        for each in (server, client):
            if each.process.poll() is not None:
                raise HarnessError(f"{each.name} ended while it was measured.")
        time.sleep(min(1.0, max(0.1, end - time.monotonic())))
    return look.table().time_wait


FIGURES: list[Figure] = [
    LongFigure("long_run", "long", "Connections a second over 75 s, 64 at once, the server closes",
               "1/s", tuple(BASES), value="rate", ours=("http_64", "http_1"), rounds_cap=1,
               when_named=True,
               columns=(Column("entries", "in TIME_WAIT", 0), Column("reopened", "reopened", 0),
                        Column("overflow", "overflows", 0), Column("cpu_us", "server us"),
                        Column("p99_us", "p99 us", 1), Column("device_drops", "drops", 0))),
]

GROUPS = {
    "long": ("The long run", """Connections that the server closes, for 75 times --seconds. From one
        address each tuple comes back after some seconds and its SYN reopens its entry in TIME_WAIT,
        so that there are never more than 64,512. From 64 addresses there are as many tuples as
        millions of connections need: entries gather for the 60 s of TIME_WAIT until as many end as
        come. They are counted once, near the end, through http_server's inspection socket, which
        walks all of them; overflows are TCPTimeWaitOverflow, entries for which there was no room.
        stateless, which keeps none, is beside it from the same addresses, since 64 of them cost the
        client's kernel something as well. Measured only when it is named, or with --long."""),
}
