"""Honest clients beside a burst, a flood of SYNs and a rising one."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from . import spaces
from .contenders import CONTENDERS, PORT, Contender, Server
from .figure import Bench, Column, Curve, Figure
from .inspection import Inspection, with_flags
from .processes import Child, resident_bytes
from .spaces import Space

HONEST_RATE = 5000
FLOOD_RATE = 50_000
SOURCES = 131_072
FORGED = "198.18.0.0/15"
STEPS = (0, 25_000, 50_000, 100_000, 200_000)
# Long enough for tables to be full and for a repeated SYN to be counted.
FLOOD_BEFORE_SECONDS = 1.0
TIMEOUT_MS = 5000
BURST = 4096
SMALL_BACKLOG = 128
# http_server accepts in every turn; this is less than what one turn brings.
TINY_BACKLOG = 8

# What a half-open entry, a cookie and a queue are worth is told by policy: (contender, flags of
# http_server, sysctls of the kernel that serves).
VARIANTS: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "cookies_off": ("runnel_http", ("--set", "syncookies=off"), {}),
    "cookies_auto": ("runnel_http", ("--set", "syncookies=on_overflow"), {}),
    "cookies_always": ("runnel_http", ("--set", "syncookies=always"), {}),
    "lwip": ("lwip", (), {}),
    "gvisor": ("gvisor", (), {}),
    "epoll_off": ("epoll_veth", (), {"tcp_syncookies": "0"}),
    "epoll_auto": ("epoll_veth", (), {"tcp_syncookies": "1"}),
    "small": ("runnel_http", ("--backlog", str(SMALL_BACKLOG)), {}),
    "tiny": ("runnel_http", ("--backlog", str(TINY_BACKLOG)), {}),
    "tiny_drop": ("runnel_http", ("--backlog", str(TINY_BACKLOG), "--set", "cookie_overflow=drop"),
                  {}),
    "epoll_small": ("epoll_veth", (), {"tcp_syncookies": "1"}),
    "nginx_small": ("nginx_veth", (), {"tcp_syncookies": "1"}),
}
LABELS = {
    "cookies_off": "runnel: http_server, no cookies",
    "cookies_auto": "runnel: http_server, cookies when full",
    "cookies_always": "runnel: http_server, cookies always",
    "epoll_off": "Linux, epoll server, veth, no cookies",
    "epoll_auto": "Linux, epoll server, veth, cookies when full",
    "small": f"runnel: http_server, backlog {SMALL_BACKLOG}",
    "tiny": f"runnel: http_server, backlog {TINY_BACKLOG}",
    "tiny_drop": f"runnel: http_server, backlog {TINY_BACKLOG}, drops",
    "epoll_small": f"Linux, epoll server, veth, backlog {SMALL_BACKLOG}",
    "nginx_small": f"Linux, nginx, veth, backlog {SMALL_BACKLOG}",
}


@dataclass
class Scene:
    """A server that runs, and what may be asked about it."""

    space: Space
    server: Server
    inspection: Inspection | None
    first: dict[str, int] = field(default_factory=dict)

    def counters(self) -> dict[str, int]:
        """Ours and the kernel's have the same names; other servers tell nothing."""
        if self.inspection:
            return self.inspection.counters()
        if self.space.link == spaces.VETH:
            return kernel_counters(self.space)
        return {}

    def held_bytes(self) -> int:
        """The server's process in RAM, without what it must keep of connections that are over
        where it tells."""
        held = resident_bytes(self.server.pid)
        if self.inspection is None:
            return held
        table = self.inspection.table()
        return held - table.time_wait * table.time_wait_bytes

    def counted(self, name: str) -> dict[str, int]:
        """How often something has happened since `first`, where it is counted."""
        if not self.inspection and self.space.link != spaces.VETH:
            return {}
        return {name: self.counters().get(name, 0) - self.first.get(name, 0)}


def kernel_counters(space: Space) -> dict[str, int]:
    found = {}
    with open(f"/proc/{space.server.pid}/net/netstat", encoding="ascii") as text:
        lines = [line.split() for line in text]
    for names, values in zip(lines[::2], lines[1::2]):
        group = names[0].rstrip(":")
        found |= {f"{group}{name}": int(value) for name, value in zip(names[1:], values[1:])}
    return found


@contextmanager
def scene(bench: Bench, variant: str, backlog: int | None = None) -> Iterator[Scene]:
    base, flags, sysctls = VARIANTS[variant]
    chosen: Contender = replace(CONTENDERS[base], name=variant)
    with Inspection(bench.paths) as inspection, bench.space(chosen.link) as space:
        ours = base == "runnel_http"
        if ours:
            chosen = inspection.contender(*flags, name=variant)
        else:
            chosen = with_flags(chosen, *flags)
        if chosen.link == spaces.VETH:
            prepare_kernel(space, sysctls, backlog)
        with bench.serve(chosen, space) as server:
            if ours:
                server.line(20)
            made = Scene(space, server, inspection if ours else None)
            made.first = made.counters()
            yield made


def prepare_kernel(space: Space, sysctls: dict[str, str], backlog: int | None) -> None:
    """The server's kernel must have a way back to forged addresses, or it would ignore them."""
    lines = [f"echo {value} >/proc/sys/net/ipv4/{name}" for name, value in sysctls.items()]
    if backlog is not None:
        lines.append(f"echo {backlog} >/proc/sys/net/core/somaxconn")
    lines.append(f"ip route add {FORGED} via {space.client_address} dev veth1")
    space.server.run(" && ".join(lines))


@dataclass(frozen=True)
class VariantFigure(Figure):
    """A figure whose contenders are variants of servers."""

    def missing(self, bench: Bench, contender: str) -> str | None:
        base = VARIANTS[contender][0]
        ours = Inspection.missing(bench.paths) if base == "runnel_http" else None
        return (CONTENDERS[base].missing(bench.paths) or ours
                or bench.paths.absent("syn_flood"))

    def label(self, contender: str) -> str:
        return LABELS.get(contender) or CONTENDERS[contender].title


class Flood:
    """SYNs from forged addresses while its block runs; none at a rate of zero."""

    def __init__(self, bench: Bench, space: Space, rate: float, seconds: float) -> None:
        self.sent_rate = 0.0
        argv = [bench.paths.program("syn_flood"), "--device", space.device, "--address",
                space.server_address, "--port", str(PORT), "--rate", str(rate), "--seconds",
                str(min(60.0, seconds)), "--sources", str(SOURCES)]
        self._child = Child(space.client.command(argv, bench.client_core), "syn_flood") \
            if rate else None

    def __enter__(self) -> "Flood":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._child is None:
            return
        if kind is None:
            self._child.check()
        said = self._child.stop()
        if kind is None and said.strip():
            self.sent_rate = json.loads(said.strip().splitlines()[-1])["rate"]


@dataclass(frozen=True)
class Honest:
    """How the honest clients fared: connections that were begun and completed, and their times."""

    intended: int
    completed: int
    seconds: float
    p99_us: float


def honest(bench: Bench, space: Space, seconds: float) -> Honest:
    """Clients that begin at a fixed rate whatever happens, from 64 addresses."""
    argv = [bench.paths.program("bench_client"), "--address", space.server_address,
            "--port", str(PORT), "--connections", "16384", "--rate", str(HONEST_RATE),
            "--sources", space.sources, "--seconds", str(seconds), "--warmup", "0.1",
            "--timeout-ms", str(TIMEOUT_MS)]
    with Child(space.client.command(argv, bench.client_core), "bench_client") as client:
        for _ in ("begin", "end"):
            client.line(seconds + 20)
        said = json.loads(client.line(30))
    return Honest(said["intended"], said["operations"], seconds, said["latency_us"]["p99"])


@dataclass(frozen=True)
class SynFloodFigure(VariantFigure):
    """The share of the honest that complete beside a flood, and what the server's memory does."""

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        seconds = 3 * bench.seconds
        with scene(bench, contender) as now:
            # The honest have been here before, which a server may remember.
            bench.load(now.space, now.server, seconds=0.2, warmup=0, sources=True)
            with Flood(bench, now.space, FLOOD_RATE, 60) as flood:
                time.sleep(FLOOD_BEFORE_SECONDS)
                before, drops = now.held_bytes(), now.space.traffic().drops
                seen = honest(bench, now.space, seconds)
                now.server.check()
                grown = now.held_bytes() - before
            return {"share": 100 * seen.completed / max(1, seen.intended),
                    **({"p99_ms": seen.p99_us / 1000} if seen.completed else {}),
                    "grown_mb": grown / 1e6, "device_drops": now.space.traffic().drops - drops,
                    "flood_rate": flood.sent_rate, "lost": seen.intended - seen.completed,
                    **now.counted("TcpExtSyncookiesSent"), **now.counted("TcpExtSyncookiesRecv")}


@dataclass(frozen=True)
class RisingFloodFigure(VariantFigure):
    """Honest connections a second over the flood's rate; each step begins with what is left of the
    one before."""

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        found = {}
        with scene(bench, contender) as now:
            for rate in STEPS:
                with Flood(bench, now.space, rate, 60):
                    time.sleep(FLOOD_BEFORE_SECONDS if rate else 0)
                    seen = honest(bench, now.space, bench.seconds)
                found[f"at_{rate}"] = seen.completed / seen.seconds
            now.server.check()
        return found


@dataclass(frozen=True)
class BurstFigure(VariantFigure):
    """The share of connections that complete when thousands come at once for a small backlog."""

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        with scene(bench, contender, SMALL_BACKLOG) as now:
            # A timed-out SYN is repeated after a second, which must not end the measurement.
            seen = bench.load(now.space, now.server, connections=BURST, warmup=0,
                              seconds=max(2.0, 2 * bench.seconds), sources=True)
            asked = seen["operations"] + seen["errors"]
            return {"share": 100 * seen["operations"] / asked, "rate": seen["rate"],
                    "p99_ms": seen["p99_us"] / 1000, "max_ms": seen["max_us"] / 1000,
                    "errors": seen["errors"], "device_drops": seen["drops"],
                    **now.counted("TcpExtListenOverflows"), **now.counted("TcpExtSyncookiesSent")}


FLOODED = ("cookies_auto", "cookies_always", "cookies_off", "lwip", "gvisor", "epoll_auto",
           "epoll_off")
OVERFLOWS = Column("TcpExtListenOverflows", "overflows", 0)
DROPS = Column("device_drops", "device drops", 0)
SENT = Column("TcpExtSyncookiesSent", "cookies sent", 0)

FIGURES: list[Figure] = [
    BurstFigure("burst", "burst", f"{BURST:,} clients at once, a small backlog: completed", "%",
                ("small", "tiny", "tiny_drop", "epoll_small", "nginx_small"),
                value="share", ours=("small", "tiny", "tiny_drop"), rounds_cap=3, digits=2,
                columns=(Column("rate", "rate", 0), Column("p99_ms", "p99 ms", 1),
                         Column("max_ms", "max ms", 1), OVERFLOWS, SENT, DROPS)),
    SynFloodFigure("syn_flood", "syn_flood", "Honest clients beside 50,000 forged SYNs a second: "
                   "completed", "%", FLOODED, value="share", rounds_cap=3, digits=2,
                   ours=("cookies_auto", "cookies_always", "cookies_off"),
                   columns=(Column("p99_ms", "p99 ms", 1), Column("grown_mb", "grown MB", 2),
                            Column("flood_rate", "SYNs/s", 0), SENT,
                            Column("TcpExtSyncookiesRecv", "cookies back", 0), DROPS)),
    RisingFloodFigure("rising_flood", "syn_flood", "Honest connections a second beside a rising "
                      "flood, 5,000 asked for", "1/s", FLOODED, rounds_cap=1,
                      ours=("cookies_auto", "cookies_always", "cookies_off"),
                      curve=Curve("forged SYNs a second", x_logarithmic=False)),
]

GROUPS = {
    "burst": ("A burst for a small backlog", """4,096 clients connect at the same moment and again
        whenever they are done, and the listener has room for 128 half-open entries and for 128
        finished handshakes. Completed within 5 s, and no later than 2 s after the window, is what
        is asked for. SYNs beyond are answered with cookies, by http_server as by Linux. http_server
        accepts in every turn what the turn brought, so that 128 places may do; with 8 they do not.
        A handshake that brings a cookie and finds the accept queue full is parked until the program
        has accepted others, and reset at once when as many are parked as may be; Linux drops it in
        silence, and the client, which takes itself for connected, repeats its request. With "drops"
        http_server does that, too. "overflows" is TcpExtListenOverflows. So many packets at once
        may be more than a device's queue takes, which is part of the question: such a round is kept
        here, and "device drops" tells."""),
    "syn_flood": ("SYN flood", """5,000 honest connections a second begin by a schedule, whatever
        happens, from 64 addresses, beside 50,000 SYNs a second from 131,072 forged ones. The flood
        is there a second before them, so that queues are full. The share of the honest that
        complete within 5 s, their 99th percentile, and by how much the server's process grows
        meanwhile, without the entries of http_server's that the honest leave in TIME_WAIT. SYN
        cookies are off, sent when the queue of 4,096 half-open entries is full, or always; the
        kernel's epoll server has the same queue in kernel memory, which is not seen. Without
        cookies the flood alone holds the queue, and the honest wait for a place in it; Linux then
        keeps a quarter of it for addresses that it knows, as those of the honest are here. lwIP and
        gVisor have what they have. The flood shares the client's core and is an upper bound;
        "SYNs/s" is what it sent, and "device drops" what did not get through, for which no round is
        left out here. The rising flood goes through its steps with one server."""),
}
