"""http_server on one loop and on two."""

import dataclasses
from dataclasses import dataclass, replace

from .contenders import CONTENDERS
from .figure import Bench, Figure
from .figures_http import COST
from .inspection import with_flags
from .spaces import Link

LOOPS = {"loops_1": 1, "loops_2": 2}


@dataclass(frozen=True)
class ScalingFigure(Figure):
    """bench_client asks http_server, whose loops may use both cores."""

    mode: str = "connections"

    def missing(self, bench: Bench, contender: str) -> str | None:
        return CONTENDERS["runnel_http"].missing(bench.paths)

    def label(self, contender: str) -> str:
        count = LOOPS[contender]
        return f"http_server, {count} {'loop' if count == 1 else 'loops'}"

    def measure(self, bench: Bench, contender: str) -> dict[str, float]:
        count = LOOPS[contender]
        flags = ("--loops", str(count)) if count > 1 else ()
        chosen = replace(with_flags(CONTENDERS["runnel_http"], *flags), name=contender,
                         link=Link("tun", queues=count))
        with bench.space(chosen.link) as space:
            cores = f"{bench.server_core},{bench.client_core}"
            with bench.serve(chosen, space, core=cores) as server:
                return bench.load(space, server, mode=self.mode)


CPS = ScalingFigure("scaling_cps", "scaling", "Connections a second over loops, 64 at once", "1/s",
                    tuple(LOOPS), value="rate", ours=("loops_2",), columns=COST)

FIGURES: list[Figure] = [
    CPS,
    dataclasses.replace(CPS, name="scaling_rps", mode="requests",
                        title="Keep-alive requests a second over loops, 64 connections"),
]

GROUPS = {
    "scaling": ("Over loops", """http_server on one loop with the device's one queue, and on two
        with a queue each, free to use both cores in either case. The client has to run as well, and
        on a machine of two cores it takes one of them: a second loop then has no core of its own,
        and what is seen is what the second loop costs, not what it brings. Where there are more
        cores, these two are all that are used, so that figures of machines stay comparable."""),
}
