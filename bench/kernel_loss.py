#!/usr/bin/env python3
"""The kernel's TCP over the lossy paths of tests/sim/throughput.txt, beside our engine's figures.

  bench/kernel_loss.py [PROGRAM] [--seeds N] [--at-once N] [--rtt MS,...] [--loss PERCENT,...]
                       [--store]

PROGRAM is the built bench/lossy_wire; each transfer is a run of it, with two network namespaces of
its own that go with it. It plays the path of the simulated transfer with the same seed, in real
time: 1 Gbit/s, a queue of 512 KiB, losses both ways drawn by the same generator, half the round
trip each way, none of it during the handshake; 10 MB, or 2 MB where 2 % and more are lost, from the
first write to the last read. The kernel's buffers are as it tunes them; ours in the table are fixed
at 4096 KiB. --store writes bench/results/kernel_loss.txt, too.
"""

import argparse
import collections
import math
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OURS = os.path.join(SOURCE, "tests/sim/throughput.txt")
RESULT = os.path.join(SOURCE, "bench/results/kernel_loss.txt")
BUFFER_KIB = 4096
AT_MOST_SECONDS = 120
# Where so little is lost the link is full now and then, and the transfer has the machine alone.
FAST_LOSS_PERCENT = 0.1

Transfer = collections.namedtuple("Transfer", "rtt loss seed")


def bytes_of(loss):
    return 2_000_000 if loss >= 2 else 10_000_000


def our_medians():
    """Mbit/s by (round trip, loss in percent)."""
    found = {}
    with open(OURS, encoding="utf-8") as table:
        for line in table:
            cell = re.match(r"loss ([\d.]+) %\s+(\d+)\s+(\d+)\s+([\d.]+)", line)
            if cell and int(cell[3]) == BUFFER_KIB:
                found[int(cell[2]), float(cell[1])] = float(cell[4])
    return found


def setting(name):
    with open("/proc/sys/net/ipv4/" + name, encoding="ascii") as file:
        return " ".join(file.read().split())


def start(program, what):
    return subprocess.Popen([program, str(what.rtt), str(what.loss), str(bytes_of(what.loss)),
                             str(what.seed), str(AT_MOST_SECONDS)],
                            stdout=subprocess.PIPE, text=True)


def finished(process):
    text = process.communicate()[0]
    if process.returncode != 0:
        sys.exit("kernel_loss.py: a transfer failed")
    figures = dict(word.split("=") for word in text.split())
    return {name: value if name == "congestion" else float(value)
            for name, value in figures.items()}


def play(program, transfers, at_once):
    """The figures of each transfer; the longest should come first."""
    waiting, running, done = collections.deque(transfers), {}, {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running[start(program, waiting[0])] = waiting[0]
                waiting.popleft()
            time.sleep(0.005)
            for process in [each for each in running if each.poll() is not None]:
                what = running.pop(process)
                got = done[what] = finished(process)
                print(f"RTT {what.rtt:3} ms  loss {what.loss:3} %  seed {what.seed:2}: "
                      f"{got['mbit']:7.2f} Mbit/s, {got['retransmitted']:.0f} retransmitted, "
                      f"{got['timeouts']:.0f} time-outs, late by {got['late_mean_us']:.0f} us, "
                      f"at most {got['late_most_us'] / 1000:.1f} ms", flush=True)
    finally:
        # Whoever is impatient and asks again must not leave half of them.
        asked = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in running:
            process.kill()
            process.wait()
        signal.signal(signal.SIGINT, asked)
    return done


def table(done, rtts, losses, seeds):
    ours, ratios = our_medians(), []
    yield "# loss %   RTT ms     ours   kernel  slowest  fastest  timeouts  ours/kernel"
    for rtt in rtts:
        for loss in losses:
            cell = [done[Transfer(rtt, loss, seed)] for seed in seeds]
            # One that was cut off counts with what it had got through by then.
            rates = sorted(each["mbit"] for each in cell)
            middle = statistics.median(rates)
            ratio = ours[rtt, loss] / middle
            ratios.append(ratio)
            cut = sum(each["received"] < bytes_of(loss) for each in cell)
            yield (f"{loss:8} {rtt:8} {ours[rtt, loss]:8.2f} {middle:8.2f} {rates[0]:8.2f} "
                   f"{rates[-1]:8.2f} {sum(each['timeouts'] for each in cell):9.0f} {ratio:12.2f}"
                   + (f"  {cut} cut off after {AT_MOST_SECONDS} s" if cut else ""))
    yield ""
    yield f"# geometric mean of ours / the kernel's: {statistics.geometric_mean(ratios):.3f}"
    yield f"# lowest: {min(ratios):.2f}"


def head(done, seeds):
    every = list(done.values())
    yield "The kernel's TCP over the lossy paths of tests/sim/throughput.txt, in Mbit/s of payload."
    yield ""
    yield (f"Linux {platform.release()}, "
           f"{', '.join(sorted({each['congestion'] for each in every}))}, "
           f"tcp_rmem {setting('tcp_rmem')}, tcp_wmem {setting('tcp_wmem')}.")
    yield f"Of {len(seeds)} seeds the median, the slowest, the fastest and all their time-outs."
    yield f"Ours is the median of the cell with buffers of {BUFFER_KIB} KiB."
    yield ""
    yield (f"The largest packet had {max(each['largest'] for each in every):.0f} bytes; "
           f"{sum(each['device_drops'] for each in every):.0f} were dropped by the devices.")
    lateness = statistics.median(each["late_mean_us"] for each in every)
    yield (f"A packet was late by {lateness:.0f} us in the median transfer, "
           f"by {max(each['late_mean_us'] for each in every):.0f} us in the worst.")
    yield ""
    yield "bench/kernel_loss.py --store writes it anew."


def numbers(kind):
    return lambda text: [kind(each) for each in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?",
                        default=os.path.join(SOURCE, "build/release/bench/lossy_wire"))
    parser.add_argument("--seeds", type=int, default=10, help="our table has the first ten")
    parser.add_argument("--at-once", type=int, default=12)
    parser.add_argument("--rtt", type=numbers(int), default=[20, 100])
    parser.add_argument("--loss", type=numbers(float), default=[0.1, 0.5, 1.0, 2.0, 3.0, 5.0])
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    if os.geteuid() != 0 and shutil.which("unshare"):
        os.execvp("unshare", ["unshare", "--map-root-user", "--net", sys.executable, *sys.argv])
    seeds = range(1, given.seeds + 1)
    every = [Transfer(rtt, loss, seed)
             for rtt in given.rtt for loss in given.loss for seed in seeds]
    fast = [each for each in every if each.loss <= FAST_LOSS_PERCENT]
    slow = [each for each in every if each.loss > FAST_LOSS_PERCENT]
    # The longest first, so that none is left alone at the end.
    slow.sort(key=lambda each: -each.rtt * bytes_of(each.loss) * math.sqrt(each.loss))
    begin = time.monotonic()
    done = play(given.program, fast, 1)
    done.update(play(given.program, slow, given.at_once))
    print(f"{len(done)} transfers in {time.monotonic() - begin:.0f} s\n")
    lines = [("# " + line).rstrip() for line in head(done, seeds)]
    lines += ["", *table(done, given.rtt, given.loss, seeds)]
    print("\n".join(lines))
    if given.store:
        os.makedirs(os.path.dirname(RESULT), exist_ok=True)
        with open(RESULT, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("kernel_loss.py: stopped")
