"""The life_server, and kernel sockets of which a test knows everything."""

import contextlib
import os
import re
import select
import signal
import socket
import struct

import lab

PORT = 7


class LifeServer(lab.Process):
    """Runs life_server and reads what it tells."""

    def __init__(self, *flags):
        super().__init__(lab.example("life_server"), *lab.tun_flags(), "--port", PORT, *flags)
        try:
            self.wait_line(r"^listening$")
        except BaseException:
            self.kill()
            raise

    def accept(self):
        """The accept loop of --hold wakes up."""
        self.process.send_signal(signal.SIGUSR1)
        self.wait_line(r"^accepting$")

    @contextlib.contextmanager
    def stopped(self):
        """The server does not run; what comes for it waits in the device."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def opened(self):
        return [int(line.split()[1]) for line in self.lines if line.startswith("open ")]

    def ends(self):
        """Port of the peer -> (milliseconds after its last byte, why)."""
        found = (re.match(r"end (\d+) (\d+) (.*)", line) for line in self.lines)
        return {int(m[1]): (int(m[2]), m[3]) for m in found if m}

    def finish(self):
        """Ends it, and gives its counters."""
        self.stop()
        found = (re.match(r"count (\S+) (\d+)", line) for line in self.lines)
        return {m[1].removeprefix("TcpExt"): int(m[2]) for m in found if m}


def client(source=("0.0.0.0", 0), blocking=False):
    """A socket that is connecting, or connected where it blocks."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(source)
    if blocking:
        one.settimeout(30)
        one.connect((lab.STACK, PORT))
    else:
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect((lab.STACK, PORT))
    return one


TCP_STATES = {1: "ESTAB", 2: "SYN-SENT", 7: "CLOSE"}


def state(one):
    """What the kernel says of its end (TCP_INFO's first byte)."""
    number = struct.unpack_from("B", one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))[0]
    return TCP_STATES.get(number, number)


def error(one):
    """The pending error's name, or None."""
    number = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return os.strerror(number) if number else None


def echo(one, text=b"x", seconds=60):
    """Sends and waits for the same back."""
    one.settimeout(seconds)
    one.sendall(text)
    got = b""
    while len(got) < len(text):
        block = one.recv(4096)
        lab.expect(block, "the server ended the connection instead of answering")
        got += block
    return got


def settled(clients, seconds):
    """Waits until none of them is between two states, or the time is over."""
    waiting = {one.fileno(): one for one in clients if state(one) == "SYN-SENT"}
    poll = select.poll()
    for one in waiting.values():
        poll.register(one, select.POLLOUT | select.POLLERR)
    while waiting:
        ready = poll.poll(seconds * 1000)
        if not ready:
            return False
        for number, _ in ready:
            poll.unregister(number)
            del waiting[number]
    return True
