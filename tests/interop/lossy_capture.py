"""tshark reads the captures of lossy transfers: every segment of ours was one that TCP may send.

The capture is taken at the stack, so that it has everything that the stack said, and of what the
peer said exactly what the stack heard, in the order in which it did.
"""

import collections
import os
import socket

import capture
import lab
import transfer

MIB = 1 << 20
LOSSY = ["--drop", 2, "--duplicate", 1, "--reorder", 2, "--delay", 2, "--seed", 7]
SPACE = 1 << 32
FIELDS = ("frame.number", "tcp.stream", "tcp.srcport", "tcp.seq_raw", "tcp.ack_raw", "tcp.len",
          "tcp.flags", "tcp.window_size_value", "tcp.options.wscale.shift", "tcp.options.sack_le",
          "tcp.options.sack_re")


class Stream:
    """What one side has sent, or acknowledged, as numbers that do not wrap."""

    def __init__(self):
        self.first = None

    def place(self, number):
        """How far a number is from the first; the nearest of those that it may be."""
        if self.first is None:
            self.first = number
            self.last = 0
        near = (number - self.first - self.last + SPACE // 2) % SPACE - SPACE // 2
        return self.last + near

    def reach(self, place):
        self.last = max(self.last, place)


class Ranges:
    """Parts of a stream, merged."""

    def __init__(self):
        self.parts = []

    def add(self, left, right):
        if right <= left:
            return
        kept = []
        for a, b in self.parts:
            if b < left or a > right:
                kept.append((a, b))
            else:
                left, right = min(a, left), max(b, right)
        self.parts = sorted(kept + [(left, right)])

    def covers(self, left, right):
        return any(a <= left and right <= b for a, b in self.parts)


class Judge:
    """Follows a capture of one connection, and says what of it our side must not have sent."""

    def __init__(self, port):
        self.port = port
        self.ours, self.theirs = Stream(), Stream()
        self.told = Ranges()      # of ours, acknowledged or SACKed, as heard
        self.heard = Ranges()     # of theirs
        self.edge = None          # how far their window lets us go
        self.shift = 0
        self.faults = []
        self.shown = set()        # frames whose acknowledgement was heard of
        self.again = self.sent = 0

    def fault(self, row, what):
        self.faults.append(f"frame {row['frame.number']}: {what}")

    def take(self, row):
        number = {name: int(row[name], 0) for name in FIELDS
                  if name not in FIELDS[-3:] and row[name]}
        syn, fin, ack = (number["tcp.flags"] & bit for bit in (0x02, 0x01, 0x10))
        length = number["tcp.len"] + (1 if syn else 0) + (1 if fin else 0)
        if number["tcp.srcport"] == self.port:
            self.take_ours(row, number, length, syn, ack)
        else:
            self.take_theirs(row, number, length, syn, ack)

    def take_ours(self, row, number, length, syn, ack):
        left = self.ours.place(number["tcp.seq_raw"])
        right = left + length
        if length > 0 and right <= self.ours.last:
            self.again += 1
        self.sent += 1 if length > 0 else 0
        # Every SYN is answered, also one that came again ahead of the acknowledgement.
        if length > 0 and not syn and self.told.covers(left, right):
            self.fault(row, f"{left}..{right} is sent again, which was acknowledged")
        # One byte more is how a closed window is probed.
        if not syn and self.edge is not None and right > max(self.edge, left + min(length, 1)):
            self.fault(row, f"{left}..{right} lies beyond the window, which ends at {self.edge}")
        self.ours.reach(right)
        if ack and self.theirs.first is not None:
            acknowledged = self.theirs.place(number["tcp.ack_raw"])
            if acknowledged > 0 and not self.heard.covers(0, acknowledged):
                self.fault(row, f"{acknowledged} acknowledges what was not heard")
            else:
                self.shown.add(row["frame.number"])

    def take_theirs(self, row, number, length, syn, ack):
        left = self.theirs.place(number["tcp.seq_raw"])
        self.heard.add(left, left + length)
        self.theirs.reach(left + length)
        if syn:
            self.shift = int(row["tcp.options.wscale.shift"] or 0)
        if not ack or self.ours.first is None:
            return
        acknowledged = self.ours.place(number["tcp.ack_raw"])
        self.told.add(0, acknowledged)
        lefts, rights = (row[name].split(",") if row[name] else [] for name in FIELDS[-2:])
        for a, b in zip(lefts, rights):
            self.told.add(self.ours.place(int(a)), self.ours.place(int(b)))
        window = number["tcp.window_size_value"] << (0 if syn else self.shift)
        self.edge = max(self.edge or 0, acknowledged + window)


def rows(path, port):
    flags = [flag for name in FIELDS for flag in ("-e", name)]
    lines = capture.tshark(path, "-Y", f"tcp.port == {port}", "-T", "fields", *flags,
                           "-o", "tcp.relative_sequence_numbers:FALSE")
    for line in lines:
        yield dict(zip(FIELDS, line.split("\t")))


def judge(path, port, address):
    # Whether the port answers is asked with connections of their own.
    streams = collections.defaultdict(lambda: Judge(port))
    for row in rows(path, port):
        streams[row["tcp.stream"]].take(row)
    verdict = max(streams.values(), key=lambda each: each.sent)
    faults = [fault for each in streams.values() for fault in each.faults]
    lab.expect(not faults, f"{len(faults)} faults, such as\n" + "\n".join(faults[:5]))
    family = "ipv6" if ":" in address else "ip"
    # tshark loses count of what it takes for out of order; that it was there has been shown.
    shown = set().union(*(each.shown for each in streams.values()))
    for name, known in (("spurious_retransmission", set()), ("ack_lost_segment", shown)):
        frames = capture.tshark(path, "-Y", f"tcp.analysis.{name} && {family}.src == {address}",
                                "-T", "fields", "-e", "frame.number")
        bad = [frame for frame in frames if frame not in known]
        lab.expect(not bad, f"tshark finds {len(bad)} times {name}, such as frame {bad[:5]}")
    return verdict


def lossy_transfer(address, *flags):
    path = os.path.join(lab.folder, "lossy.pcapng")
    transfer.through_echo_server(10, 150, *LOSSY, "--pcap", path, *lab.tun_flags6(), *flags,
                                 address=address)
    verdict = judge(path, 7, address)
    lab.expect(verdict.sent > 100 and verdict.again > 20,
               f"{verdict.sent} segments with text, {verdict.again} sent again: too little to "
               "tell anything")


@lab.case
def nothing_acknowledged_is_sent_again_over_ipv4():
    lab.need("tshark")
    lossy_transfer(lab.STACK)


@lab.case
def nothing_acknowledged_is_sent_again_over_ipv6():
    lab.need("tshark")
    lossy_transfer(lab.STACK6)


@lab.case
def nothing_acknowledged_is_sent_again_without_offloads():
    lab.need("tshark")
    lossy_transfer(lab.STACK, "--offload", "off")


@lab.case
def a_window_that_closes_is_kept():
    """The peer reads in fits, so that its window closes again and again."""
    lab.need("tshark")
    path = os.path.join(lab.folder, "slow.pcapng")
    root = lab.web_root(page=4 * MIB)
    with lab.http_server(root, *LOSSY, "--pcap", path):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            connection.settimeout(60)
            connection.connect((lab.STACK, 80))
            connection.sendall(b"GET /page HTTP/1.0\r\n\r\n")
            count = 0
            while block := connection.recv(3000):
                count += len(block)
    lab.expect(count > 4 * MIB, f"{count} bytes of the page came")
    verdict = judge(path, 80, lab.STACK)
    lab.expect(verdict.again > 0, "nothing was lost")


def made_up(*segments):
    """The faults of a capture that is made up: (from us?, seq, ack, length, flags, sacks)."""
    verdict = Judge(7)
    for number, (ours, seq, ack, length, flags, window, sacks) in enumerate(segments, 1):
        values = (number, 0, 7 if ours else 9, seq, ack, length, hex(flags), window, "",
                  ",".join(str(a) for a, _ in sacks), ",".join(str(b) for _, b in sacks))
        verdict.take(dict(zip(FIELDS, map(str, values))))
    return verdict.faults


@lab.case
def the_judge_sees_what_is_wrong():
    top = SPACE - 1
    opening = [(False, 100, 0, 0, 0x02, 1000, []), (True, top, 101, 0, 0x12, 1000, []),
               (False, 101, 0, 0, 0x10, 1000, []), (True, 0, 101, 500, 0x10, 1000, []),
               (True, 500, 101, 500, 0x10, 1000, [])]
    lab.expect_equal(made_up(*opening), [], "faults of an honest beginning")
    sacked = (False, 101, 0, 0, 0x10, 1000, [(500, 1000)])
    lab.expect_equal(len(made_up(*opening, sacked, (True, 500, 101, 500, 0x10, 1000, []))), 1,
                     "faults where SACKed text is sent again")
    lab.expect_equal(made_up(*opening, sacked, (True, 0, 101, 500, 0x10, 1000, [])), [],
                     "faults where the hole is filled")
    lab.expect_equal(len(made_up(*opening, (True, 1000, 101, 2, 0x10, 1000, []))), 1,
                     "faults beyond the window")
    lab.expect_equal(made_up(*opening, (True, 1000, 101, 1, 0x10, 1000, [])), [],
                     "faults of a probe")
    lab.expect_equal(len(made_up(*opening, (True, 1000, 102, 0, 0x10, 1000, []))), 1,
                     "faults where what was not heard is acknowledged")


if __name__ == "__main__":
    lab.main()
