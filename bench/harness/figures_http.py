"""The figures of an HTTP server: connections and requests a second, and answer times."""

from dataclasses import dataclass

from .figure import Bench, Column, Figure
from .contenders import CONTENDERS

PLAIN = ("runnel_http", "runnel", "stateless", "stateless_vnet", "lwip", "gvisor", "nginx_veth",
         "epoll_veth", "uring_veth", "asio_veth")
LOOPBACK = ("nginx_loopback", "epoll_loopback", "uring_loopback", "asio_loopback")
BUSY = ("runnel_busy", "stateless_busy", "lwip_busy")

COST = (Column("cpu_us", "server us"), Column("user_us", "user us"),
        Column("system_us", "system us"), Column("packets", "packets"),
        Column("client_us", "client us"))
TIMES = (Column("p99_us", "p99 us", 1), Column("p999_us", "p99.9 us", 1))


@dataclass(frozen=True)
class HttpFigure(Figure):
    """bench_client asks an HTTP server."""

    connections: int = 64
    mode: str = "connections"
    close: str = "server"
    sources: bool = False
    one_core: bool = False

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        core = bench.server_core if self.one_core else None
        with bench.space(CONTENDERS[contender].link) as space:
            with bench.serve(contender, space) as server:
                return bench.load(space, server, connections=self.connections, mode=self.mode,
                                  close=self.close, sources=self.sources, core=core)


FIGURES: list[Figure] = [
    HttpFigure("cps_64", "cps", "Connections a second, 64 at once, the server closes", "1/s",
               PLAIN, value="rate", columns=(*COST, *TIMES)),
]
