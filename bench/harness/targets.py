"""What is wanted of the figures, so that tables can say what is met."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`key` of contender `ours` in `figure`, or with `against` its median ratio within a round to
    that contender's, is to be at least `limit`, or at most where `at_most`. `key` empty is the
    figure's value; `against` "" is nobody. `aim` is what would be better still."""

    figure: str
    ours: str
    limit: float
    against: str = ""
    key: str = ""
    at_most: bool = False
    aim: float | None = None

    def met(self, measured: float) -> bool:
        return measured <= self.limit if self.at_most else measured >= self.limit

    def text(self, unit: str) -> str:
        sign = "<=" if self.at_most else ">="
        what = f"x {self.against}" if self.against else unit
        aim = f" (aim {self.aim:g})" if self.aim is not None else ""
        return f"{sign} {self.limit:g} {what}{aim}"


def _connections(figure: str) -> list[Target]:
    return [Target(figure, "runnel_http", 0.92, "stateless", aim=0.97),
            Target(figure, "runnel_http", 1.1, "lwip"),
            Target(figure, "runnel_http", 5, "gvisor"),
            Target(figure, "runnel_http", 2.5, "nginx_veth")]


def _bulk_in(figure: str) -> list[Target]:
    return [Target(figure, "segmentation", 0.5, "stateless"),
            Target(figure, "loans", 0.75, "stateless")]


def _bulk_out(figure: str) -> list[Target]:
    return [Target(figure, "segmentation", 0.5, "stateless"),
            Target(figure, "segmentation", 1.0, "veth")]


def _engine_connections(figure: str) -> list[Target]:
    return [Target(figure, "engine", 500_000, aim=1_000_000),
            Target(figure, "engine", 3, "lwip_1024"),
            Target(figure, "engine", 3, "lwip_64")]


def _flood(ours: str) -> list[Target]:
    """Flat memory is no more than a few pages of pools."""
    return [Target("syn_flood", ours, 95),
            Target("syn_flood", ours, 1000, key="p99_ms", at_most=True),
            Target("syn_flood", ours, 1, key="grown_mb", at_most=True)]


TARGETS: list[Target] = [
    *_connections("cps_64"),
    *_connections("cps_512"),
    Target("cps_64", "runnel_http", 8, key="packets", at_most=True),
    Target("cps_64", "runnel_http", 2, key="user_us", at_most=True),
    Target("one_core_cps", "runnel_http", 0.93, "stateless"),
    Target("one_core_cps", "runnel_http", 1.1, "lwip"),
    Target("one_core_cps", "runnel_http", 1.8, "epoll_veth"),
    Target("rps_64", "runnel_http", 0.92, "stateless"),
    Target("rps_64", "runnel_http", 1.0, "lwip"),
    Target("rps_64", "runnel_http", 1.2, "epoll_veth"),
    Target("rps_64", "runnel_http", 1.7, "nginx_veth"),
    Target("rps_64", "runnel_http", 0.4, key="user_us", at_most=True),
    Target("ping_pong", "runnel_http", 1.05, "stateless", at_most=True),
    Target("ping_pong_busy", "runnel_busy", 1.15, "stateless_busy", at_most=True),
    *_bulk_in("bulk_in"),
    *_bulk_in("bulk_in_ipv6"),
    *_bulk_out("bulk_out"),
    *_bulk_out("bulk_out_ipv6"),
    *_engine_connections("engine_cps"),
    *_engine_connections("engine_cps_unchecked"),
    Target("beside_cps", "time_wait", 0.97, "nothing"),
    Target("beside_rps", "idle", 0.95, "nothing"),
    Target("bytes_time_wait", "engine", 48, key="megabytes", at_most=True),
    Target("bytes_idle", "engine", 560, key="megabytes", at_most=True),
    Target("memory_idle", "runnel_http", 2048, at_most=True),
    Target("burst", "small", 100),
    *_flood("cookies_auto"),
    *_flood("cookies_always"),
]
