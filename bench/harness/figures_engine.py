"""The engine alone: both ends in one thread, packets handed over in memory, no device."""

import dataclasses
import json
from dataclasses import dataclass

from .errors import HarnessError
from .figure import Bench, Column, Curve, Figure
from .processes import tool

MILLION = 1_000_000
ENTRIES = {"time_wait": "--with-time-wait", "idle": "--with-idle", "half_open": "--with-half-open"}
LABELS = {
    "engine": "runnel's engine",
    "lwip": "lwIP",
    "lwip_1024": "lwIP, 1,024 in TIME_WAIT",
    "lwip_64": "lwIP, 64 in TIME_WAIT",
    "nothing": "beside nothing",
    "time_wait": "beside a million in TIME_WAIT",
    "idle": "beside a million idle connections",
    "half_open": "beside a million half-open ones",
    "connections": "runnel's engine, connections",
    "requests": "runnel's engine, requests",
    "lwip_connections": "lwIP, connections",
    "lwip_requests": "lwIP, requests",
}
# Half-open entries repeat their SYN-ACKs after a second, a million of them at once, which is no
# cost of what is measured beside them.
BESIDE_SECONDS_MAX = 0.9
LWIP_IDLE = (10, 100, 1000, 10_000)


def said_by(bench: Bench, program: str, *flags: str, timeout: float = 60) -> dict | list:
    """The JSON that a program of the engine prints, on the server's core."""
    argv = ["taskset", "-c", str(bench.server_core), bench.paths.program(program), *flags]
    printed = tool(argv, timeout)
    try:
        return json.loads(printed)
    except ValueError as error:
        raise HarnessError(f"{program} did not print JSON: {error}.") from error


def mode(requests: bool) -> list[str]:
    return ["--requests"] if requests else []


@dataclass(frozen=True)
class EngineFigure(Figure):
    """Operations a second of engines of their own kind."""

    requests: bool = False
    checksums: bool = True

    def missing(self, bench: Bench, contender: str) -> str | None:
        return bench.paths.absent("lwip_memory" if contender.startswith("lwip") else "memory_link")

    def label(self, contender: str) -> str:
        return LABELS[contender]

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        flags = ["--seconds", str(bench.seconds), "--checksums", "on" if self.checksums else "off",
                 *mode(self.requests)]
        program = "memory_link"
        if contender.startswith("lwip"):
            program = "lwip_memory"
        if contender.startswith("lwip_"):
            flags += ["--time-wait-limit", contender.removeprefix("lwip_")]
        said = said_by(bench, program, *flags, timeout=bench.seconds + 60)
        return {"rate": said["rate"], "ns_each": said["ns_each"], "packets": said["packets_each"],
                "time_wait": said["time_wait"], "errors": said.get("errors", 0)}


@dataclass(frozen=True)
class BesideFigure(EngineFigure):
    """The engine with a million entries of one kind in the server's table."""

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        seconds = min(bench.seconds, BESIDE_SECONDS_MAX)
        flags = ["--seconds", str(seconds), *mode(self.requests)]
        if contender in ENTRIES:
            flags += [ENTRIES[contender], str(MILLION)]
        said = said_by(bench, "memory_link", *flags, timeout=seconds + 60)
        return {"rate": said["rate"], "ns_each": said["ns_each"]}


@dataclass(frozen=True)
class BytesFigure(EngineFigure):
    """What one entry of a kind takes: the process's growth at a million of them, and for lwIP the
    size of its object."""

    kind: str = ""

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        object_key = {"idle": "connection_bytes"}.get(self.kind, f"{self.kind}_bytes")
        if contender == "lwip":
            size = said_by(bench, "lwip_memory", "--sizes")[object_key]
            return {"bytes": size, "object": size}
        said = said_by(bench, "memory_link", "--seconds", "0.05", ENTRIES[self.kind], str(MILLION))
        filled = said["filled"][0]
        return {"bytes": filled["rss_each"], "object": said[object_key],
                "held": filled["held_each"],
                "megabytes": filled["rss_each"] * filled["count"] / 1e6}


@dataclass(frozen=True)
class GrowthFigure(EngineFigure):
    """Nanoseconds for each operation over the number of idle connections beside the busy ones."""

    def missing(self, bench: Bench, contender: str) -> str | None:
        return bench.paths.absent("lwip_memory" if contender.startswith("lwip") else "growth")

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        flags = ["--seconds", str(bench.seconds), *mode(contender.endswith("requests"))]
        if not contender.startswith("lwip"):
            points = said_by(bench, "growth", *flags, timeout=6 * bench.seconds + 60)
            return {f"at_{each['open']}": each["ns_each"] for each in points}
        return {f"at_{idle}": said_by(bench, "lwip_memory", *flags, "--idle", str(idle),
                                      timeout=bench.seconds + 60)["ns_each"]
                for idle in LWIP_IDLE}


EACH = (Column("ns_each", "ns each"), Column("packets", "packets"),
        Column("time_wait", "in TIME_WAIT", 0))

CPS = EngineFigure(
    "engine_cps", "engine", "The engine alone: connections a second, 64 at once", "1/s",
    ("engine", "lwip_1024", "lwip_64"), value="rate", ours=("engine",), columns=EACH)

BESIDE = BesideFigure(
    "beside_cps", "beside", "Connections a second beside a million entries, in memory", "1/s",
    ("nothing", *ENTRIES), value="rate", ours=("nothing",), columns=(Column("ns_each", "ns each"),))


def bytes_figure(kind: str, title: str) -> Figure:
    return BytesFigure(
        f"bytes_{kind}", "bytes", title, "bytes", ("engine", "lwip"), more_is_better=False,
        value="bytes", ours=("engine",), kind=kind, rounds_cap=3, digits=1,
        columns=(Column("object", "object", 0), Column("held", "taken by tables", 1),
                 Column("megabytes", "MB at a million", 1)))


FIGURES: list[Figure] = [
    CPS,
    dataclasses.replace(CPS, name="engine_cps_unchecked", checksums=False,
                        title=f"{CPS.title}, no checksums"),
    dataclasses.replace(CPS, name="engine_rps", requests=True,
                        contenders=("engine", "lwip"),
                        title="The engine alone: keep-alive requests a second, 64 connections"),
    BESIDE,
    dataclasses.replace(BESIDE, name="beside_rps", requests=True,
                        title="Keep-alive requests a second beside a million entries, in memory"),
    GrowthFigure("growth", "growth", "Cost of one operation beside open connections, in memory",
                 "ns", ("connections", "requests", "lwip_connections", "lwip_requests"),
                 more_is_better=False, ours=("connections", "requests"), rounds_cap=2,
                 curve=Curve("idle connections beside the 64 busy ones", y_logarithmic=True)),
    bytes_figure("time_wait", "Memory of an entry in TIME_WAIT"),
    bytes_figure("idle", "Memory of an idle established connection"),
    bytes_figure("half_open", "Memory of a half-open connection"),
]

GROUPS = {
    "engine": ("The engine alone", """Two hosts in one thread that hand each other packets in
        memory: open, request, response, close by the server and then by the client, or requests on
        connections that stay; both ends are in the figure. TIME_WAIT lasts its 60 s, sequence
        numbers are those of RFC 6528, timestamps are on. lwIP runs the same way, with its two
        interfaces in one process, since there can be only one of it. It walks its list of TIME_WAIT
        entries for each SYN, so it is asked with the oldest given up beyond 1,024 of them and
        beyond 64; with 64 it is at its best, but an entry lasts for less than a millisecond."""),
    "beside": ("Beside a million entries", """The engine alone once more, with the server's table
        filled beforehand: a million entries in TIME_WAIT, a million idle established connections,
        or a million half-open ones, beside 64 busy connections. "ours / it" is the rate beside
        nothing to that beside them; what is wanted is the inverse. Measured for no longer than
        0.9 s, for then the million half-open ones would repeat their SYN-ACKs all at once."""),
    "growth": ("Growth", """What an operation costs beside 10, 100 and up to 1,000,000 idle
        connections in the server's table. A straight line is the claim. Both axes are logarithmic.
        lwIP ends at 10,000, for it has 16,384 local ports and both ends in one process."""),
    "bytes": ("Bytes of an entry", """What the engine's process has grown by in RAM for each of a
        million entries that peers put there, with its object's own size and what the tables took
        from the system, index included. A connection's queues are empty and hold nothing. lwIP
        takes its objects from pools of a fixed number, so that the size of one is what can be told;
        it has one kind for every state. What they take behind a TUN device and with a program on
        top is among the figures of memory."""),
}
