#!/usr/bin/env python3
"""One stream of bulk data between the kernel's TCP and ours over TUN, and its peers beside it.

  bench/bulk.py [--rounds N] [--seconds S] [--ipv6] [--json FILE] [--bin FOLDER] [NAME ...]

NAME is some of: off, checksum and segmentation, which are ours at these levels of offload, and gro,
which is off with segments joined by ourselves, and loans, which is segmentation without copies;
stateless, the ceiling with super-segments; veth, the kernel's TCP on both sides. Each round runs
every one of them, forwards and backwards in turn. Printed are medians in Gb/s with minimum and
maximum, the server's CPU time for each GB, and the medians of the ratios within a round to "off",
to the ceiling and to the kernel. Server and client have a core each, in network namespaces that
this makes itself; the server's is core 0.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time

NAMES = ("off", "gro", "checksum", "segmentation", "loans", "stateless", "veth")
PEERS = ("off", "stateless", "veth")
DISCARD, SOURCE = 9, 19
BLOCK = bytearray(256 * 1024)


def fail(sentence):
    sys.exit(f"bulk.py: {sentence}")


def ip(*argv):
    subprocess.run(["ip", *map(str, argv)], check=True, stdin=subprocess.DEVNULL)


def addresses(given):
    return ("fd77::1", "fd77::2", 64) if given.ipv6 else ("10.77.0.1", "10.77.0.2", 24)


def connect(address, port):
    for _ in range(500):
        try:
            return socket.create_connection((address, port), timeout=10)
        except OSError:
            time.sleep(0.02)
    return fail(f"nobody answers at {address}.")


def rate(address, port, seconds):
    """Gb/s of one stream to the discard port, or from the source port."""
    with connect(address, port) as stream:
        begin, count = time.monotonic(), 0
        while time.monotonic() - begin < seconds:
            count += stream.send(BLOCK) if port == DISCARD else stream.recv_into(BLOCK)
        return count * 8 / (time.monotonic() - begin) / 1e9


def serve_veth(port):
    """The kernel's server, in this process: one stream."""
    family = socket.AF_INET6 if os.environ["BULK_ADDRESS"].count(":") else socket.AF_INET
    with socket.create_server((os.environ["BULK_ADDRESS"], port), family=family) as listener:
        print("ready", flush=True)
        stream = listener.accept()[0]
        try:
            while stream.recv_into(BLOCK) if port == DISCARD else stream.send(BLOCK):
                pass
        except OSError:
            pass


def start(given, name, port):
    host, stack, length = addresses(given)
    core = ["taskset", "-c", "0"]
    nodad = "nodad" if given.ipv6 else ""
    if name == "veth":
        inner = [sys.executable, os.path.abspath(__file__), "--serve-veth", str(port)]
        shell = f"read go && ip link set lo up && ip address add {stack}/{length} dev v1 {nodad} " \
                f"&& ip link set v1 up && exec {' '.join(core + inner)}"
        server = subprocess.Popen(["unshare", "--net", "sh", "-c", shell], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  env={**os.environ, "BULK_ADDRESS": stack})
        wait_for_namespace(server.pid)
        ip("link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", server.pid)
        ip("address", "add", f"{host}/{length}", "dev", "v0", *nodad.split())
        ip("link", "set", "v0", "up")
        server.stdin.write("go\n")
        server.stdin.flush()
    elif name == "stateless":
        program = os.path.join(given.bin, "servers/stateless_bulk")
        server = subprocess.Popen([*core, program, "bulk0"], stdout=subprocess.PIPE, text=True)
    else:
        server = subprocess.Popen([*core, os.path.join(given.bin, "bulk"), "bulk0", name],
                                  stdout=subprocess.PIPE, text=True)
    if not server.stdout.readline():
        fail(f"{name} did not start.")
    if name == "stateless":
        ip("address", "add", f"{host}/{length}", "dev", "bulk0", *nodad.split())
        ip("link", "set", "bulk0", "txqueuelen", 10000, "up")
    return server


def wait_for_namespace(pid):
    own = os.stat("/proc/self/ns/net").st_ino
    for _ in range(500):
        if os.stat(f"/proc/{pid}/ns/net").st_ino != own:
            return
        time.sleep(0.01)
    fail("no network namespace for the kernel's server.")


def run(given, name, port):
    """Gb/s, and the server's seconds of CPU for each GB."""
    server = start(given, name, port)
    try:
        figure = rate(addresses(given)[1], port, given.seconds)
        server.terminate()
        used = os.wait4(server.pid, 0)[2]
        server.returncode = 0
        return figure, (used.ru_utime + used.ru_stime) / (figure * given.seconds / 8)
    finally:
        server.stdout.close()
        if server.returncode is None:
            server.kill()
            server.wait()
        if name == "veth":
            ip("link", "delete", "v0")


def summary(seen, name, port):
    figures = seen[name, port]
    rates = [each[0] for each in figures]
    median = statistics.median
    out = {"name": name, "gbit_per_s": median(rates), "min": min(rates), "max": max(rates),
           "cpu_s_per_gb": median(each[1] for each in figures)}
    for peer in PEERS:
        if (peer, port) in seen and peer != name:
            out[f"x_{peer}"] = median(a[0] / b[0] for a, b in zip(figures, seen[peer, port]))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *NAMES], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--ipv6", action="store_true")
    parser.add_argument("--json", help="store the figures in this file")
    parser.add_argument("--bin", default="build/release/bench", help="where the programs are")
    parser.add_argument("--serve-veth", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve_veth:
        return serve_veth(given.serve_veth)
    if not os.environ.get("BULK_INSIDE"):
        sys.exit(subprocess.call(["unshare", "--map-root-user", "--net", sys.executable, *sys.argv],
                                 env={**os.environ, "BULK_INSIDE": "yes"}))
    os.sched_setaffinity(0, {os.cpu_count() - 1})
    names = given.names or NAMES
    seen = {(name, port): [] for name in names for port in (DISCARD, SOURCE)}
    for number in range(given.rounds):
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
        for name in names if number % 2 == 0 else reversed(names):
            for port in (DISCARD, SOURCE):
                seen[name, port].append(run(given, name, port))
    result = {"kernel": platform.release(), "family": 6 if given.ipv6 else 4,
              "rounds": given.rounds, "seconds": given.seconds}
    for title, port in (("in", DISCARD), ("out", SOURCE)):
        result[title] = [summary(seen, name, port) for name in names]
        for row in result[title]:
            ratios = "  ".join(f"{row[f'x_{peer}']:5.2f} x {peer}" for peer in PEERS
                               if f"x_{peer}" in row)
            print(f"{title:4} {row['name']:13} {row['gbit_per_s']:6.2f} Gb/s  "
                  f"({row['min']:.2f} - {row['max']:.2f})  {row['cpu_s_per_gb']:6.3f} CPU s/GB  "
                  f"{ratios}")
    if given.json:
        with open(given.json, "w", encoding="utf-8") as out:
            json.dump(result, out, indent=1)
            out.write("\n")
    return None


if __name__ == "__main__":
    main()
