#!/usr/bin/env python3
"""The coroutine runtime beside Boost.Asio, both of its backends, in one run and in turn.

  bench/runtime/runtime.py [--rounds N] [--quick] [--json FILE] [--bin FOLDER] [CASE ...]

CASE is some of: spawn, call, switch, timers, channel, mutex, wake, echo, idle, calls. Each round
runs every contender, forwards and backwards in turn. Printed are medians with minimum and maximum,
and the median of the ratios within a round of Asio's figure to runnel's: above 1.00 runnel is
ahead, also where more is better. Servers have core 0, their client core 1; all traffic is on
loopback.

  spawn     start and finish a coroutine            channel   one value through a channel of 64
  call      await a coroutine that ends at once     mutex     one hand-over between two coroutines
  switch    once through the ready queue            wake      a call to another thread and back
  timers    a million armed, then cancelled         echo      64 bytes, 1 and 1,000 connections
  idle      bytes of the server for each of 10,000 connections that wait
  calls     system calls for each echoed message, counted by strace
"""

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile

CONTENDERS = ("runnel", "asio_epoll", "asio_uring")
CASES = ("spawn", "call", "switch", "timers", "channel", "mutex", "wake", "echo", "idle", "calls")
COUNTS = {"spawn": 2000000, "call": 5000000, "switch": 2000000, "timers": 1000000,
          "channel": 2000000, "mutex": 1000000, "wake": 20000}
MORE_IS_BETTER = ("1/s",)


def fail(sentence):
    sys.exit(f"runtime.py: {sentence}")


def program(given, name):
    path = os.path.join(given.bin, name)
    if not os.path.exists(path):
        fail(f"{path} is missing; build the target {name}.")
    return path


def figures_of(text, suffix=""):
    found = {}
    for name, value, unit in re.findall(r"^(\w+) ([-+.\de]+) (\S+)$", text, re.MULTILINE):
        found[name + suffix] = (float(value), unit)
    return found


def run_alone(given, contender, case):
    count = COUNTS[case] // (20 if given.quick else 1)
    core = [] if case == "wake" else ["taskset", "-c", "0"]
    done = subprocess.run(core + [program(given, f"runtime_{contender}"), case, str(count)],
                          stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    return figures_of(done.stdout)


class EchoServer:
    """Serves so many connections, then ends by itself."""

    def __init__(self, given, contender, connections, before=()):
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", *before, program(given, f"runtime_{contender}"), "echo",
             str(connections)], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().split()
        if len(line) != 2:
            fail(f"the echo server of {contender} did not start.")
        self.port = line[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            fail("an echo server did not end after its clients had.")

    def load(self, given, connections, messages):
        return ["taskset", "-c", "1", program(given, "echo_load"), self.port, str(connections),
                str(messages)]


def echo(given, contender):
    found = {}
    for connections, messages in ((1, 40000), (1000, 400000)):
        messages //= 20 if given.quick else 1
        with EchoServer(given, contender, connections) as server:
            done = subprocess.run(server.load(given, connections, messages), text=True, check=True,
                                  stdout=subprocess.PIPE, timeout=120)
        found |= figures_of(done.stdout, f"_{connections}")
    return found


def resident(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
        return 1024 * int(re.search(r"^Anonymous:\s+(\d+)", lines.read(), re.MULTILINE).group(1))


def idle(given, contender):
    """What the server's own memory grows by from 1,000 to 10,000 open connections."""
    sizes = {}
    for connections in (1000, 10000):
        with EchoServer(given, contender, connections) as server:
            load = subprocess.Popen(server.load(given, connections, 0), stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True)
            load.stdout.readline()
            # The client's last connect returns before the server has accepted it; one message
            # cannot be sent to know, so the server's own silence is waited for.
            size, before = resident(server.process.pid), -1
            while size != before:
                before = size
                subprocess.run(["sleep", "0.2"], check=True)
                size = resident(server.process.pid)
            sizes[connections] = size
            load.communicate("")
    return {"idle": ((sizes[10000] - sizes[1000]) / 9000, "B")}


def traced_calls(given, contender, connections, messages):
    with tempfile.NamedTemporaryFile("r") as table:
        tracer = ["strace", "-f", "-c", "-U", "calls,name", "-o", table.name]
        with EchoServer(given, contender, connections, tracer) as server:
            subprocess.run(server.load(given, connections, messages), check=True, timeout=120,
                           stdout=subprocess.DEVNULL)
        return sum(int(line.split()[0]) for line in table.read().splitlines()
                   if line.split()[:1] and line.split()[0].isdigit() and "total" not in line)


def calls(given, contender):
    found = {}
    for connections in (1, 64):
        few = traced_calls(given, contender, connections, 2000)
        many = traced_calls(given, contender, connections, 12000)
        found[f"calls_{connections}"] = ((many - few) / 10000, "calls")
    return found


def run_case(given, contender, case):
    special = {"echo": echo, "idle": idle, "calls": calls}.get(case)
    return special(given, contender) if special else run_alone(given, contender, case)


def ratio(name, runs, peer):
    """The median over the rounds of how many times as good runnel is."""
    pairs = [(ours[name], theirs[name])
             for ours, theirs in zip(runs["runnel"], runs[peer]) if name in theirs]
    if not pairs:
        return None
    return statistics.median(ours[0] / theirs[0] if ours[1] in MORE_IS_BETTER
                             else theirs[0] / ours[0] if ours[0] else float("inf")
                             for ours, theirs in pairs)


def show(runs):
    print(f"\n{'':14}{'unit':>6}" + "".join(f"{name:>36}" for name in CONTENDERS) +
          f"{'epoll/ours':>12}{'uring/ours':>12}")
    for name, (_, unit) in runs["runnel"][0].items():
        line = f"{name:14}{unit:>6}"
        for contender in CONTENDERS:
            values = [found[name][0] for found in runs[contender] if name in found]
            cell = "-"
            if values:
                cell = f"{statistics.median(values):.4g} ({min(values):.4g}..{max(values):.4g})"
            line += f"{cell:>36}"
        for peer in CONTENDERS[1:]:
            better = ratio(name, runs, peer)
            line += f"{'-':>12}" if better is None else f"{better:12.2f}"
        print(line)


def store(given, runs):
    with open(given.json, "w", encoding="ascii") as out:
        json.dump({"kernel": platform.release(), "machine": platform.machine(),
                   "cores": os.cpu_count(), "rounds": given.rounds, "runs": runs}, out, indent=1)
        out.write("\n")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything, to look")
    parser.add_argument("--json", help="store all figures there")
    parser.add_argument("--bin", default=os.path.join(here, "../../build/release/bench/runtime"))
    parser.add_argument("cases", nargs="*", metavar="CASE")
    given = parser.parse_args()
    for case in given.cases:
        if case not in CASES:
            fail(f"no case is called '{case}'; there are {', '.join(CASES)}.")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    runs = {name: [{} for _ in range(given.rounds)] for name in CONTENDERS}
    try:
        for index in range(given.rounds):
            order = CONTENDERS if index % 2 == 0 else CONTENDERS[::-1]
            for case in given.cases or CASES:
                for contender in order:
                    print(f"\rround {index + 1} of {given.rounds}: {case}, {contender}      ",
                          end="", file=sys.stderr, flush=True)
                    runs[contender][index] |= run_case(given, contender, case)
    except KeyboardInterrupt:
        print("\nstopped; what is there:", file=sys.stderr)
        runs = {name: [one for one in all_of if one] for name, all_of in runs.items()}
    print(file=sys.stderr)
    if runs["runnel"] and runs["runnel"][0]:
        show(runs)
        if given.json:
            store(given, runs)


if __name__ == "__main__":
    main()
