"""What a figure is, and what it measures with."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from .contenders import CONTENDERS, PORT, Contender, Paths, Server, last_words
from .errors import HarnessError
from .processes import Child, cpu_time
from .spaces import Link, Space


@dataclass(frozen=True)
class Column:
    """One more value that a figure's measurements hold, for the table."""

    key: str
    title: str
    digits: int = 2


@dataclass(frozen=True)
class Curve:
    """For a figure whose values lie over something: its measurements have keys "at_X", X a number,
    and the chart is a line for each contender."""

    x_title: str
    x_logarithmic: bool = True
    y_logarithmic: bool = False


@dataclass(frozen=True)
class Figure:
    """One question, asked to each contender in turn; see the package's doc string.

    digits       of the value, in tables
    about        a paragraph for bench/README.md; without one it has the figure's group's
    cpu_chart    draw the server's CPU time for each operation, too
    when_named   takes so long that it runs only when it is named, or with --long
    """

    name: str
    group: str
    title: str
    unit: str
    contenders: tuple[str, ...]
    more_is_better: bool = True
    value: str = "value"
    ours: tuple[str, ...] = ("runnel_http", "runnel", "runnel_busy")
    columns: tuple[Column, ...] = ()
    curve: Curve | None = None
    rounds_cap: int = 1000
    about: str = ""
    digits: int = 0
    cpu_chart: bool = False
    when_named: bool = False

    def missing(self, bench: "Bench", contender: str) -> str | None:
        """Why this contender cannot take part here; None when it can."""
        return CONTENDERS[contender].missing(bench.paths)

    def label(self, contender: str) -> str:
        """How tables and charts call this contender."""
        known = CONTENDERS.get(contender)
        return known.title if known else contender

    def measure(self, bench: "Bench", contender: str) -> dict[str, float]:
        """One measurement of one contender: numbers, among them the one called `value`."""
        raise NotImplementedError


@dataclass
class Bench:
    """What figures measure with. One object lives as long as the run; `at_exit` is what the server
    of the measurement at hand said of itself at its end, which is stored with the measurement."""

    paths: Paths
    seconds: float = 1.0
    warmup: float = 0.2
    server_core: int = 0
    client_core: int = 1
    about: dict[str, object] = field(default_factory=dict)
    at_exit: dict[str, float] = field(default_factory=dict)

    def space(self, link: Link) -> Space:
        """New namespaces with this link; use it with `with`."""
        made = Space(link)
        if "congestion_control" not in self.about:
            self.about["congestion_control"] = made.client.sysctl(
                "net/ipv4/tcp_congestion_control")
        return made

    @contextlib.contextmanager
    def serve(self, contender: str | Contender, space: Space,
              core: int | str | None = None) -> Iterator[Server]:
        """A contender, by its name or one that a figure made, that serves in `space` until the
        block ends. `core` may be a list of cores such as "0,1"."""
        chosen = contender if isinstance(contender, Contender) else CONTENDERS[contender]
        contender = chosen.name
        server = Server(chosen, space, self.paths, self.server_core if core is None else core)
        with server:
            if server.description:
                self.note(contender, "description", server.description)
            yield server
            server.check()
            words = last_words(server.stop())
            for key, word in words.items():
                if isinstance(word, (int, float)):
                    self.at_exit[f"exit_{key}"] = word
                else:
                    self.note(contender, key, word)

    def note(self, contender: str, key: str, what: object) -> None:
        """Something about a contender that goes into the results."""
        known = self.about.setdefault("contenders", {})
        known.setdefault(contender, {})[key] = what

    def load(self, space: Space, server: Server, *, connections: int = 64,
             mode: str = "connections", close: str = "server", sources: bool = False,
             core: int | None = None, seconds: float | None = None,
             warmup: float | None = None, arguments: tuple[str, ...] = ()) -> dict[str, float]:
        """One run of bench_client against `server`: rates, latencies, CPU time and packets over
        its window. Keys: rate, operations, p50_us, p90_us, p99_us, p999_us, max_us, errors,
        cpu_us (the server's for each operation, exact), user_ticks, system_ticks (to split it),
        packets (for each operation), client_us, drops (of the devices)."""
        seconds = self.seconds if seconds is None else seconds
        warmup = self.warmup if warmup is None else warmup
        argv = [self.paths.program("bench_client"), "--address", space.server_address,
                "--port", str(PORT), "--connections", str(connections), "--mode", mode,
                "--close", close, "--seconds", str(seconds), "--warmup", str(warmup),
                *(("--sources", space.sources) if sources else ()), *arguments]
        used_core = self.client_core if core is None else core
        before = space.traffic()
        with Child(space.client.command(argv, used_core), "bench_client") as client:
            wait_for(client, "begin", warmup + 20)
            cpu, traffic = cpu_time(server.pid), space.traffic()
            wait_for(client, "end", seconds + 20)
            cpu, traffic = cpu_time(server.pid) - cpu, space.traffic() - traffic
            said = json.loads(client.line(30))
        drops = (space.traffic() - before).drops
        return summary_of(said, cpu, traffic, drops)


def wait_for(client: Child, word: str, timeout: float) -> None:
    line = client.line(timeout)
    if line != word:
        raise HarnessError(f"{client.name} said '{line}' in place of '{word}'.")


def summary_of(said: dict, cpu: object, traffic: object, drops: int) -> dict[str, float]:
    operations = said["operations"]
    # The window's CPU time and packets are for these: of an open loop not all end in it.
    ended = round(said["rate"] * said["seconds"])
    if not operations or not ended:
        raise HarnessError(f"bench_client finished no operation; its errors: {said['errors']}.")
    latency = said["latency_us"]
    return {
        "rate": said["rate"], "operations": operations,
        "p50_us": latency["p50"], "p90_us": latency["p90"], "p99_us": latency["p99"],
        "p999_us": latency["p99.9"], "max_us": latency["max"],
        "errors": sum(said["errors"].values()),
        "cpu_us": cpu.ns / 1000 / ended,
        "user_ticks": cpu.user_ticks, "system_ticks": cpu.system_ticks,
        "packets": traffic.packets / ended,
        "client_us": said["client_user_us"] + said["client_system_us"],
        "drops": drops,
    }


