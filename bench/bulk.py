#!/usr/bin/env python3
"""One stream of bulk data between the kernel's TCP and ours over TUN, with and without offloads.

  bench/bulk.py [PROGRAM] [--rounds N] [--seconds S]

PROGRAM is the built bench/bulk. Each round runs every level once, forwards and backwards in turn;
printed are medians in Gb/s with minimum and maximum, the server's CPU time for each GB, and the
medians of the ratios to "off" within a round. Server and client have a core each, in a network
namespace of their own.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time

LEVELS = ("off", "checksum", "segmentation")
HOST = "10.77.0.2"
BLOCK = bytearray(256 * 1024)


def connect(port):
    for _ in range(200):
        try:
            return socket.create_connection((HOST, port), timeout=10)
        except OSError:
            time.sleep(0.02)
    sys.exit("bulk.py: nobody answers; does bench/bulk run?")


def rate(port, seconds):
    """Gb/s of one stream to the discard port 9 or from the source port 19."""
    with connect(port) as stream:
        begin, count = time.monotonic(), 0
        while time.monotonic() - begin < seconds:
            count += stream.send(BLOCK) if port == 9 else stream.recv_into(BLOCK)
        return count * 8 / (time.monotonic() - begin) / 1e9


def run(program, level, port, seconds):
    """Gb/s, and the server's seconds of CPU for each GB."""
    server = subprocess.Popen(["taskset", "-c", "0", program, "bulk0", level],
                              stdout=subprocess.PIPE, text=True)
    try:
        server.stdout.readline()
        figure = rate(port, seconds)
        server.terminate()
        used = os.wait4(server.pid, 0)[2]
        server.returncode = 0
        return figure, (used.ru_utime + used.ru_stime) / (figure * seconds / 8)
    finally:
        server.stdout.close()
        if server.returncode is None:
            server.kill()
            server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="build/release/bench/bulk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    given = parser.parse_args()
    if not os.environ.get("BULK_INSIDE"):
        sys.exit(subprocess.call(["unshare", "--map-root-user", "--net", sys.executable, *sys.argv],
                                 env={**os.environ, "BULK_INSIDE": "yes"}))
    os.sched_setaffinity(0, {os.cpu_count() - 1})
    seen = {(level, port): [] for level in LEVELS for port in (9, 19)}
    for round_number in range(given.rounds):
        for level in LEVELS if round_number % 2 == 0 else reversed(LEVELS):
            for port in (9, 19):
                seen[level, port].append(run(given.program, level, port, given.seconds))
    median = statistics.median
    for name, port in (("in", 9), ("out", 19)):
        plain = seen["off", port]
        for level in LEVELS:
            figures = seen[level, port]
            rates = [each[0] for each in figures]
            print(f"{name:4} {level:13} {median(rates):6.2f} Gb/s  "
                  f"({min(rates):.2f} - {max(rates):.2f})  "
                  f"{median(a[0] / b[0] for a, b in zip(figures, plain)):5.2f} x off   "
                  f"{median(each[1] for each in figures):6.3f} CPU s/GB  "
                  f"{median(a[1] / b[1] for a, b in zip(figures, plain)):5.2f} x off")


if __name__ == "__main__":
    main()
