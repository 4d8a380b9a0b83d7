#!/usr/bin/env python3
"""Measures what one connection and one request count, and compares it with stored.json.

    counts.py [--update] [--only PART] --compiler ID ENGINE_FOLDER COUNTS_FOLDER HTTP_SERVER

Only what does not depend on the machine's speed is measured: instructions (callgrind), packets,
allocations, task switches, system calls and bytes. Each stored figure has a margin in percent; one
that is above it fails with a sentence, one that is below is told, so that it can be stored. Figures
of instructions hold for the compiler they were stored with and are left out with any other.

The paths are folders and programs of a release build; ctest gives them (`ctest -R counts`), and
`cmake --build build/release --target update_counts` stores the figures anew.

Where an instrument is missing, its figures are skipped and the exit code is 77; in CI (RUNNEL_CI or
CI is set) that is a failure.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

SKIPPED = 77
STORED = pathlib.Path(__file__).with_name("stored.json")
UPDATE = "cmake --build build/release --target update_counts"
# What rounding may do to a figure whose margin is 0.
ROUNDING = 0.0005
LIMIT = 100  # seconds that one program may take


class Missing(Exception):
    """An instrument that is not installed."""


class Refused(Exception):
    """The system does not allow what a figure needs."""


@dataclasses.dataclass
class Outcome:
    """What came of one part."""

    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    missing: str = ""
    refused: str = ""


# The margin in percent of a figure that is stored for the first time, by what its name begins with.
MARGINS = {
    "instructions": 3.0,
    "system_calls": 5.0,
    "tasks_run": 1.0,
    "turns": 1.0,
    "packets": 0.0,
    "allocations": 0.0,
    "bytes": 0.0,
}


# glibc chooses memcpy and its like by the processor, which moves the instructions by up to one in a
# hundred. Without these it takes the ones that every x86-64 has; elsewhere the names say nothing.
SAME_EVERYWHERE = ("glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX,-AVX_Usable,-ERMS,-BMI2,-BMI2_Usable,"
                   "-SSE4_2,-SSE4_1,-SSSE3")


def run(*argv: object, **environment: str) -> subprocess.CompletedProcess:
    done = subprocess.run([str(each) for each in argv], stdin=subprocess.DEVNULL, timeout=LIMIT,
                          capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})
    if done.returncode not in (0, SKIPPED):
        raise RuntimeError(f"{argv[0]} exited with {done.returncode}: "
                           f"{(done.stderr or done.stdout).strip()[-500:]}")
    return done


def measured(*argv: object) -> dict[str, float]:
    return json.loads(run(*argv).stdout)


def instructions(operations: int, *argv: object) -> float:
    """Of one operation: the difference of two runs, so that the start does not count."""
    if shutil.which("valgrind") is None:
        raise Missing("valgrind is not installed; tests/run.sh installs it")
    refs = []
    for times in (1, 2):
        done = run("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *argv,
                   "--operations", operations * times, GLIBC_TUNABLES=SAME_EVERYWHERE)
        refs.append(int(re.search(r"Collected : (\d+)", done.stderr)[1]))
    return (refs[1] - refs[0]) / operations


def engine_instructions(wanted: argparse.Namespace, mode: str) -> dict[str, float]:
    flags = ["--requests"] if mode == "request" else []
    count = instructions(2000, wanted.engine / "memory_link", *flags)
    return {f"instructions/engine/{mode}": count}


def stack_instructions(wanted: argparse.Namespace, mode: str) -> dict[str, float]:
    count = instructions(1024, wanted.counts / "stack_counts", "--mode", f"{mode}s",
                         "--warm-up", 256)
    return {f"instructions/http/{mode}": count}


def engine_counts(wanted: argparse.Namespace) -> dict[str, float]:
    figures = {}
    for name, value in measured(wanted.counts / "engine_counts").items():
        kind, _, of = name.partition("_per_")
        if not of:
            figures[f"bytes/object/{name.replace('_bytes', '')}"] = value
        elif kind == "held_bytes":
            figures[f"bytes/held/{of}"] = value
        else:
            figures[f"{kind}/engine/{of}"] = value
    return figures


def stack_counts(wanted: argparse.Namespace) -> dict[str, float]:
    figures = {}
    for mode in ("connections", "requests"):
        for name, value in measured(wanted.counts / "stack_counts", "--mode", mode).items():
            kind, _, of = name.partition("_per_")
            figures[f"{kind}/http/{of}"] = value
    return figures


def system_calls(wanted: argparse.Namespace, backend: str) -> dict[str, float]:
    if shutil.which("strace") is None:
        raise Missing("strace is not installed; tests/run.sh installs it")
    done = run(sys.executable, pathlib.Path(__file__).with_name("system_calls.py"), "--backend",
               backend, wanted.server)
    if done.returncode == SKIPPED:
        raise Refused(done.stdout.strip().removeprefix("skipped: "))
    return {f"system_calls/{backend}/{name.removeprefix('system_calls_per_')}": value
            for name, value in json.loads(done.stdout).items()}


def attempt(part, *arguments) -> Outcome:
    try:
        return Outcome(figures=part(*arguments))
    except Missing as what:
        return Outcome(missing=str(what))
    except Refused as what:
        return Outcome(refused=str(what))


def measure(wanted: argparse.Namespace) -> list[Outcome]:
    """All parts, two at a time: none of the figures is a time."""
    parts = [(part, wanted, mode) for part in (engine_instructions, stack_instructions)
             for mode in ("connection", "request")]
    parts += [(engine_counts, wanted), (stack_counts, wanted)]
    parts += [(system_calls, wanted, backend) for backend in ("epoll", "io_uring")]
    parts = [each for each in parts if wanted.only in each[0].__name__]
    if not parts:
        sys.exit(f"counts: no part's name has '{wanted.only}' in it.")
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as workers:
        return list(workers.map(lambda each: attempt(*each), parts))


def load() -> dict:
    if not STORED.exists():
        return {"compiler": "", "figures": {}}
    return json.loads(STORED.read_text(encoding="utf-8"))


def update(stored: dict, figures: dict[str, float], compiler: str) -> None:
    """Margins that someone has set stay."""
    kept = stored["figures"]
    for name, value in figures.items():
        margin = kept.get(name, {}).get("margin_percent", MARGINS[name.split("/")[0]])
        kept[name] = {"value": round(value, 4), "margin_percent": margin}
    stored["compiler"] = compiler
    stored["figures"] = dict(sorted(kept.items()))
    STORED.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    print(f"{len(figures)} figures are stored in {STORED}.")


def compare(stored: dict, figures: dict[str, float], compiler: str) -> list[str]:
    """Prints a line for each figure; gives a sentence for each that is above its margin."""
    failures = []
    foreign = compiler != stored["compiler"]
    for name, value in sorted(figures.items()):
        known = stored["figures"].get(name)
        if known is None:
            failures.append(f"{name} is measured ({value:.4f}) but not stored; store it with "
                            f"`{UPDATE}`.")
            continue
        if foreign and name.startswith("instructions/"):
            continue
        limit, margin = known["value"], known["margin_percent"]
        room = abs(limit) * margin / 100 + ROUNDING
        verdict = ""
        if value > limit + room:
            verdict = "ABOVE"
            failures.append(
                f"{name} is {value:.4f}, above the stored {limit:.4f} by more than its margin of "
                f"{margin:g} %; mend it, or where it has to be so store it with `{UPDATE}`.")
        elif value < limit - room:
            verdict = f"below: store it with `{UPDATE}`"
        print(f"{name:40} {value:14.4f}   stored {limit:14.4f} +{margin:g} %  {verdict}".rstrip())
    if foreign:
        print(f"The instructions are not compared: they were stored for {stored['compiler']}, and "
              f"this is {compiler}.")
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--update", action="store_true", help="store what is measured")
    parser.add_argument("--only", default="", metavar="PART",
                        help="only parts with this in their name, as in system_calls")
    parser.add_argument("--compiler", required=True, help="what the programs were compiled with")
    parser.add_argument("engine", type=pathlib.Path, help="the folder of memory_link")
    parser.add_argument("counts", type=pathlib.Path, help="the folder of engine_counts")
    parser.add_argument("server", type=pathlib.Path, help="the program http_server")
    wanted = parser.parse_args()
    in_ci = bool(os.environ.get("RUNNEL_CI") or os.environ.get("CI"))
    outcomes = measure(wanted)
    figures = {name: value for each in outcomes for name, value in each.figures.items()}
    stored = load()
    failures = []
    if wanted.update:
        update(stored, figures, wanted.compiler)
    else:
        failures = compare(stored, figures, wanted.compiler)
    missing = sorted({each.missing for each in outcomes if each.missing})
    for sentence in missing:
        print(f"{'FAILED' if in_ci else 'skipped'}: {sentence}.")
    for sentence in sorted({each.refused for each in outcomes if each.refused}):
        print(f"skipped: {sentence}")
    for sentence in failures:
        print(f"FAILED: {sentence}")
    if failures or (missing and in_ci):
        sys.exit(1)
    sys.exit(SKIPPED if missing else 0)


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as reason:
        sys.exit(f"counts: {reason}")
