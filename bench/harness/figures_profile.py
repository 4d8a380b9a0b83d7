"""Where the server's CPU time goes, by perf's samples of its functions."""

import re
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace

from .contenders import CONTENDERS
from .errors import HarnessError
from .figure import Bench, Column, Figure
from .figures_http import HttpFigure
from .processes import Child

# Which part a symbol belongs to, without its template arguments: the first that fits.
PARTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (part, re.compile(pattern)) for part, pattern in (
        ("beast", r"boost::beast"),
        ("http", r"runnel::http::|::site::"),
        ("engine", r"runnel::wire::|runnel::tcp::host::"),
        ("stack", r"runnel::net::|runnel::tcp::detail::(stack_core|\w*socket|listener_state|"
                  r"\w*awaiter|slot_awaiter)|runnel::tcp::(stream|listener|stack)\b"),
        ("engine", r"runnel::tcp::"),
        ("runtime", r"runnel::"),
    ))

COLUMNS = (Column("kernel_us", "kernel"), Column("libraries_us", "libraries"),
           Column("engine_us", "engine"), Column("stack_us", "stack, device"),
           Column("runtime_us", "loop, tasks"), Column("http_us", "HTTP"),
           Column("beast_us", "Beast"), Column("other_us", "its own code"))


def part_of(library: str, is_kernel: bool, symbol: str) -> str:
    if is_kernel:
        return "kernel"
    if library.startswith("liburing"):
        return "runtime"
    if library.startswith(("lib", "ld-", "[vdso]")):
        return "libraries"
    name = without_arguments(symbol)
    return next((part for part, pattern in PARTS if pattern.search(name)), "other")


def without_arguments(symbol: str) -> str:
    """A name without what stands in <...>, which may name other parts."""
    while (shorter := re.sub(r"<[^<>]*>", "", symbol)) != symbol:
        symbol = shorter
    return symbol


def shares(report: str) -> dict[str, float]:
    """The parts of one, from what `perf report` prints."""
    found: dict[str, float] = {}
    for line in report.splitlines():
        row = re.match(r"\s*([\d.]+)%\s+(\S+)\s+\[(.)\]\s+(.*)", line)
        if row:
            part = part_of(row[2], row[3] == "k", row[4])
            found[part] = found.get(part, 0) + float(row[1]) / 100
    return found


@dataclass(frozen=True)
class ProfileFigure(HttpFigure):
    """bench_client asks a server that perf looks at a few thousand times a second."""

    def missing(self, bench: Bench, contender: str) -> str | None:
        if shutil.which("perf") is None:
            return "perf is not installed (linux-perf)"
        return super().missing(bench, contender)

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        with tempfile.TemporaryDirectory(prefix="runnel-bench-profile-") as folder:
            kept = f"{folder}/perf.data"
            with bench.space(CONTENDERS[contender].link) as space:
                with bench.serve(contender, space) as server:
                    with Child(["perf", "record", "-N", "-e", "cpu-clock", "-F", "4000", "-o",
                                kept, "-p", str(server.pid)], "perf") as perf:
                        # It does not say when it is attached.
                        time.sleep(1)
                        perf.check()
                        values = bench.load(space, server, connections=self.connections,
                                            mode=self.mode, close=self.close, warmup=0,
                                            seconds=max(2, bench.seconds))
                        perf.stop(patience=20, how=signal.SIGINT)
            parts = shares(read_report(kept))
        if not parts:
            raise HarnessError("perf has seen nothing; it may need kernel.perf_event_paranoid 2.")
        cost = values["cpu_us"]
        return {key: values[key] for key in ("cpu_us", "rate", "errors", "drops")} | {
            column.key: cost * parts.get(column.key.removesuffix("_us"), 0) for column in COLUMNS}


def read_report(kept: str) -> str:
    done = subprocess.run(["perf", "report", "-i", kept, "--stdio", "--no-children", "-F",
                           "overhead,dso,symbol"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=120, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise HarnessError(f"perf report: {lines[-1].rstrip('.')}.")
    return done.stdout


RPS = ProfileFigure(
    "profile_rps_64", "profile", "Where the server's time for a request goes, 64 connections", "us",
    ("runnel_http", "runnel", "stateless", "lwip"), more_is_better=False, value="cpu_us", digits=2,
    mode="requests", columns=COLUMNS, rounds_cap=1)

FIGURES: list[Figure] = [
    RPS,
    replace(RPS, name="profile_cps_64", mode="connections",
            title="Where the server's time for a connection goes, 64 at once"),
]

GROUPS: dict[str, tuple[str, str]] = {
    "profile": ("Where the time goes", """The server's CPU time for one operation in microseconds,
        and its parts: perf's samples (`perf record -e cpu-clock`), by the function they fell into.
        It is measured once, for two seconds at least. An inlined function counts where it was
        inlined, the way back from a system call partly to the libraries: the C library's above
        all, copies of bytes with it; liburing counts to the loop. Sampling makes a server some
        percent slower."""),
}
