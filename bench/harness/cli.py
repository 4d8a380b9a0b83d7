"""The command line of `python3 -m harness`, which bench/run.sh starts inside its namespaces."""

import argparse
import os
import resource
import shutil
import signal
import sys

from . import charts, machine, readme, report, store
from .contenders import Paths
from .errors import HarnessError
from .figure import Bench, Figure
from .registry import all_figures
from .runner import play, who_is_there

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))


def chosen(figures: list[Figure], names: list[str], long: bool = False) -> list[Figure]:
    """Those with these names or in these groups; when none is named all, but those that take long
    only where `long`."""
    if not names:
        return [each for each in figures if long or not each.when_named]
    for name in names:
        if not any(name in (each.name, each.group) for each in figures):
            raise HarnessError(f"No figure and no group is called '{name}'; see --list.")
    return [each for each in figures if each.name in names or each.group in names]


def check_contenders(figures: list[Figure], names: list[str]) -> None:
    known = {name for figure in figures for name in figure.contenders}
    for name in names:
        if name not in known:
            raise HarnessError(f"No contender of these figures is called '{name}'; see --list.")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="bench/run.sh",
                                   description="Measures figures, every contender in turn.")
    made.add_argument("names", nargs="*", metavar="NAME", help="a figure or a group (all)")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=float, default=1.0)
    made.add_argument("--long", action="store_true")
    made.add_argument("--list", action="store_true")
    made.add_argument("--only", action="append", metavar="CONTENDER")
    made.add_argument("--results", default=os.path.join(ROOT, "bench/results"))
    made.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    made.add_argument("--peers", default=os.path.join(ROOT, "build/peers"))
    made.add_argument("--update-readme", action="store_true")
    made.add_argument("--check", action="store_true")
    return made


def show_list(bench: Bench, figures: list[Figure]) -> None:
    for figure in figures:
        there, left_out = who_is_there(bench, figure)
        print(f"{figure.name:28} {figure.group:18} {figure.title} ({figure.unit})")
        away = f"; not here: {', '.join(left_out)}" if left_out else ""
        print(f"{'':28} {'':18} {', '.join(there) or 'nobody'}{away}")


def cores() -> tuple[int, int]:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise HarnessError("Two cores are needed, one for the server and one for the client; "
                           "this machine gives one.")
    server = allowed[0]
    # Two threads of one core would slow each other down.
    others = [each for each in allowed[1:] if each not in machine.siblings(server)]
    return server, (others or allowed[1:])[0]


def run(given: argparse.Namespace) -> int:
    paths = Paths(given.build, given.peers)
    figures = chosen(all_figures(), given.names, given.long or given.list)
    check_contenders(figures, given.only or [])
    if given.check:
        return 0
    bench = Bench(paths, seconds=given.seconds, warmup=min(0.2, given.seconds / 2))
    if given.list:
        show_list(bench, figures)
        return 0
    bench.server_core, bench.client_core = cores()
    bench.about["pinned"] = {
        "server": bench.server_core, "client": bench.client_core,
        "one_core": bench.client_core in machine.siblings(bench.server_core)}
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kept = store.Store(given.results, machine.describe(paths, ROOT), given.seconds)
    whole = play(bench, kept, figures, given.rounds, given.only)
    return show(given, kept, whole)


def show(given: argparse.Namespace, kept: store.Store, whole: bool) -> int:
    """Tables, charts and, where it is wanted, what the READMEs say."""
    report.show(kept.results)
    made = charts.draw_all(os.path.join(given.results, "charts"), kept.results)
    if made:
        print(f"{len(made)} charts are in {os.path.dirname(made[0])}.")
    elif not shutil.which("gnuplot"):
        print("No chart was drawn, for there is no gnuplot (Debian: gnuplot-nox).")
    print(f"Every value is in {kept.run_path}" +
          (f", and in {kept.latest_path} of each figure that is whole." if kept.published else "."))
    usual = os.path.samefile(given.results, os.path.join(ROOT, "bench/results"))
    if given.update_readme or (whole and usual and not given.names and not given.only):
        readme.update(os.path.join(ROOT, "bench/README.md"), kept.latest_path)
        readme.update_front(os.path.join(ROOT, "README.md"), kept.latest_path)
    return 0 if whole else 130


def main() -> int:
    given = parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # Who reads --list may have seen enough of it.
    if given.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return run(given)
    except HarnessError as error:
        print(f"run.sh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
