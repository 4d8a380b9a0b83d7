"""The figures of an HTTP server: connections and requests a second, answer times, system calls."""

import dataclasses
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from .contenders import CONTENDERS
from .errors import HarnessError
from .figure import Bench, Column, Figure
from .processes import Child

PLAIN = ("runnel_http", "runnel", "stateless", "stateless_vnet", "lwip", "gvisor", "nginx_veth",
         "epoll_veth", "uring_veth", "asio_veth")
LOOPBACK = ("nginx_loopback", "epoll_loopback", "uring_loopback", "asio_loopback")
BUSY = ("runnel_busy", "stateless_busy", "lwip_busy")

COST = (Column("cpu_us", "server us"), Column("user_us", "user us"),
        Column("system_us", "system us"), Column("packets", "packets"),
        Column("client_us", "client us"), Column("p99_us", "p99 us", 1))
MADE = Column("exit_time_wait_entered", "TIME_WAITs", 0)
TIMES = (Column("p99_us", "p99 us", 1), Column("p999_us", "p99.9 us", 1),
         Column("rate", "rate", 0), Column("cpu_us", "server us"))


@dataclass(frozen=True)
class HttpFigure(Figure):
    """bench_client asks an HTTP server."""

    connections: int = 64
    mode: str = "connections"
    close: str = "server"
    sources: bool = False
    one_core: bool = False

    def load(self, bench: Bench, contender: str) -> dict[str, float]:
        core = bench.server_core if self.one_core else None
        # Thousands at once need longer until they are no longer in step.
        warmup = max(bench.warmup, self.connections / 8000)
        # What is half done at the window's ends must be little beside what is done in it.
        seconds = max(bench.seconds, self.connections / 2000)
        with bench.space(CONTENDERS[contender].link) as space:
            with bench.serve(contender, space) as server:
                return bench.load(space, server, connections=self.connections, mode=self.mode,
                                  close=self.close, sources=self.sources, core=core,
                                  seconds=seconds, warmup=warmup)

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        return self.load(bench, contender)


@dataclass(frozen=True)
class CallsFigure(HttpFigure):
    """How many system calls the server makes for each operation."""

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        with bench.space(CONTENDERS[contender].link) as space:
            with bench.serve(contender, space) as server:
                with CallCounter(server.pid) as counter:
                    values = bench.load(space, server, connections=self.connections,
                                        mode=self.mode, close=self.close, warmup=0)
                return {"calls": counter.calls / values["operations"],
                        "operations": values["operations"], "errors": values["errors"],
                        "by_strace": int(counter.by_strace), "drops": values["drops"]}


class CallCounter:
    """Counts a process's system calls while its block runs: by the kernel's tracepoint, which costs
    next to nothing, and where perf may not have that by strace, which makes the server slow."""

    def __init__(self, pid: int) -> None:
        self.calls = 0
        self.by_strace = not tracepoint_usable()
        self._table = tempfile.NamedTemporaryFile("r", prefix="runnel-bench-calls-")
        if self.by_strace:
            argv = ["strace", "-f", "-c", "-U", "calls,name", "-o", self._table.name]
        else:
            argv = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o", self._table.name]
        self._tracer = Child([*argv, "-p", str(pid)], argv[0])

    def __enter__(self) -> "CallCounter":
        # Neither says when it is attached.
        time.sleep(0.3)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._tracer.stop(how=signal.SIGINT)
        with self._table as table:
            said = table.read()
        self.calls = strace_count(said) if self.by_strace else perf_count(said)
        if kind is None and not self.calls:
            raise HarnessError(f"{self._tracer.name} counted no system call.")


def tracepoint_usable(known: list[bool] = []) -> bool:
    if not known:
        try:
            done = subprocess.run(["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "true"],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=10, check=False)
            known.append(done.returncode == 0 and perf_count(done.stderr) > 0)
        except (OSError, subprocess.TimeoutExpired):
            known.append(False)
    return known[0]


def perf_count(said: str) -> int:
    found = re.search(r"^(\d+),.*raw_syscalls", said, re.MULTILINE)
    return int(found.group(1)) if found else 0


def strace_count(said: str) -> int:
    rows = re.findall(r"^\s*(\d+)\s+(\w+)\s*$", said, re.MULTILINE)
    return sum(int(count) for count, name in rows if name != "total")


def at_once(connections: int) -> str:
    return "one at a time" if connections == 1 else f"{connections:,} at once"


def connection_figures() -> list[Figure]:
    found: list[Figure] = []
    for count in (1, 64, 512, 4096):
        found.append(HttpFigure(
            f"cps_{count}", "cps", f"Connections a second, {at_once(count)}, the server closes",
            "1/s", PLAIN, value="rate", columns=(*COST, MADE), connections=count,
            cpu_chart=count == 64))
    for count in (1, 64, 512, 4096):
        found.append(HttpFigure(
            f"cps_client_closes_{count}", "cps_client_closes",
            f"Connections a second, {at_once(count)}, the client closes", "1/s", PLAIN,
            value="rate", columns=COST, connections=count, close="client", sources=True))
    found.append(HttpFigure(
        "cps_1_busy", "cps", "Connections a second, one at a time, the server closes, busy-polling",
        "1/s", BUSY, value="rate", columns=(*COST, MADE), connections=1, ours=("runnel_busy",)))
    return found


def request_figures() -> list[Figure]:
    titles = {1: "one connection", 64: "64 connections", 1000: "1,000 connections"}
    return [HttpFigure(f"rps_{count}", "rps", f"Keep-alive requests a second, {title}", "1/s",
                       PLAIN, value="rate", columns=COST, connections=count, mode="requests",
                       cpu_chart=count == 64)
            for count, title in titles.items()]


def one_core_figures() -> list[Figure]:
    shared = {"contenders": PLAIN, "one_core": True, "columns": COST}
    return [
        HttpFigure("one_core_cps", "one_core", "Connections a second, 64 at once, both on one core",
                   "1/s", value="rate", **shared),
        HttpFigure("one_core_rps", "one_core",
                   "Keep-alive requests a second, 64 connections, both on one core", "1/s",
                   value="rate", mode="requests", **shared),
        HttpFigure("one_core_ping_pong", "one_core", "A request and its answer, both on one core",
                   "us", value="p50_us", mode="requests", connections=1, digits=1,
                   more_is_better=False, **shared | {"columns": TIMES}),
    ]


PING_PONG = HttpFigure(
    "ping_pong", "ping_pong", "A request and its answer, one connection, median", "us", PLAIN,
    more_is_better=False, value="p50_us", columns=TIMES, mode="requests", connections=1, digits=1)

CALLS = CallsFigure(
    "calls_cps_64", "calls", "System calls of the server for a connection, 64 at once", "calls",
    PLAIN, more_is_better=False, value="calls", rounds_cap=3, digits=2,
    columns=(Column("by_strace", "by strace", 0),))


def on_loopback(figure: HttpFigure) -> HttpFigure:
    return dataclasses.replace(figure, name=f"{figure.name}_loopback", group="loopback",
                               title=f"{figure.title}, loopback", contenders=LOOPBACK,
                               cpu_chart=False, ours=())


def all_figures() -> list[Figure]:
    connections, requests = connection_figures(), request_figures()
    return [
        *connections, *requests, PING_PONG,
        dataclasses.replace(PING_PONG, name="ping_pong_busy", contenders=BUSY,
                            title=f"{PING_PONG.title}, busy-polling", ours=("runnel_busy",)),
        *one_core_figures(),
        CALLS,
        dataclasses.replace(CALLS, name="calls_rps_64", mode="requests",
                            title="System calls of the server for a request, 64 connections"),
        *(on_loopback(each) for each in (connections[1], requests[1], PING_PONG)),
    ]


FIGURES: list[Figure] = all_figures()

GROUPS: dict[str, tuple[str, str]] = {
    "cps": ("Connections a second, the server closes", """Connect, one small GET, the response,
        close by the server, and again, with so many connections at once. TIME_WAIT is the server's.
        The client has one address, so that at full rate each tuple comes back after about a second
        and its SYN reopens an entry in TIME_WAIT. 64 and more at once fill the client's core, which
        hides what a server costs: its user and system CPU time for each connection tells more. veth
        runs the server's receive path on the client's core. Packets are those of one connection,
        both ways; stateless is the ceiling: it answers each segment from the segment alone and
        keeps nothing. 4,096 at once are measured for two seconds at least, for they stay in step
        and several percent of them are half done at the window's ends."""),
    "cps_client_closes": ("Connections a second, the client closes", """The same, but the client
        closes first and keeps the TIME_WAIT entry. It has 64 addresses, so that no tuple comes back
        within a measurement."""),
    "rps": ("Requests a second", """Keep-alive requests, one outstanding on each connection."""),
    "ping_pong": ("Answer times", """One connection, one request outstanding: how long an answer
        takes. It is mostly waking the other core. Servers that poll the device for up to a
        millisecond before they sleep are compared with each other only."""),
    "one_core": ("Both sides on one core", """Client and server share a core: no wake-up of another
        core is waited for, and the rate tells what both sides cost together. The steadiest
        figures."""),
    "calls": ("System calls", """How many system calls the server makes, counted by the kernel's
        tracepoint where perf may have it and by strace elsewhere."""),
    "loopback": ("The kernel's servers on loopback", """The same questions to the servers on the
        kernel's TCP without any device in between; for comparison only, nothing of ours runs
        there."""),
}
