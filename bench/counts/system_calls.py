#!/usr/bin/env python3
"""How many system calls http_server makes for one connection and for one keep-alive request.

    system_calls.py [--backend epoll|io_uring] HTTP_SERVER

The server runs under strace in a network namespace of its own. The client is made of packets that
are sent one by one on the server's TUN device, each when the server sleeps again: nothing depends
on how fast the machine is, and what is counted is the dearest case, one packet a wake-up. A
connection is SYN, ACK, request, ACK, FIN; a request is one packet and the ACK of its answer. The
figure is the difference of two runs, so that the start does not count. Prints one line of JSON.

Exits with 77 and one sentence where the system does not allow it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
DEVICE = "rn0"
SERVER = "10.77.0.2"
CLIENT = "10.77.0.99"  # nobody's: the kernel drops what goes to it
FIN, SYN, RST, ACK = 1, 2, 4, 16
ETH_P_IP = 0x0800
REQUEST = b"GET /hello HTTP/1.1\r\nHost: bench\r\n%s\r\n"
FEW, MANY = 40, 140
PATIENCE = 10.0  # seconds


class Skip(Exception):
    """The system cannot show this; the text says why in one sentence."""


class Wrong(Exception):
    """The server does what it must not."""


def folded(data):
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def packet(port, flags, seq, ack, text=b""):
    """An IPv4 packet from that port of the client, without TCP options."""
    ends = socket.inet_aton(CLIENT) + socket.inet_aton(SERVER)
    head = struct.pack(">HHIIBBHHH", port, 80, seq, ack, 5 << 4, flags, 64240, 0, 0)
    pseudo = ends + struct.pack(">HH", 6, len(head) + len(text))
    head = head[:16] + struct.pack(">H", folded(pseudo + head + text)) + head[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(text), 0, 0x4000, 64, 6, 0)
    return ip[:10] + struct.pack(">H", folded(ip + ends)) + ends + head + text


class Server:
    """http_server under strace, which counts; the tracer is detached, so the process is ours."""

    def __init__(self, program, backend, report):
        self.report = report
        argv = ["strace", "-D", "-f", "-qq", "-c", "-U", "calls,name", "-o", report, program,
                "--tun", DEVICE, "--tun-address", "10.77.0.1/24", "--address", SERVER,
                "--offload", "off", "--keepalive-requests", "1000000"]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env={**os.environ, "RUNNEL_BACKEND": backend})

    def wait_serving(self):
        if select.select([self.process.stdout], [], [], PATIENCE)[0]:
            line = self.process.stdout.readline()
            if "http://" in line:
                return
            raise Skip(f"http_server does not start here: {line.strip()}")
        raise Skip(f"http_server said nothing for {PATIENCE:.0f} s.")

    def look(self):
        """Whether it sleeps, and how often it has begun to."""
        folder = pathlib.Path(f"/proc/{self.process.pid}")
        try:
            status = (folder / "status").read_text(encoding="ascii")
        except OSError:
            return None
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        return fields["State"].strip()[0], int(fields["voluntary_ctxt_switches"])

    def wait_asleep(self, since):
        """Until it has gone to sleep anew since that look."""
        deadline = time.monotonic() + PATIENCE
        before = since
        while time.monotonic() < deadline:
            time.sleep(0.0005)
            now = self.look()
            if now is None or self.process.poll() is not None:
                raise Wrong(f"the server ended: {self.process.stdout.read().strip()[-300:]}")
            if now == before and now[0] == "S" and now[1] > (since[1] if since else 0):
                return
            before = now
        raise Wrong("the server does not go to sleep when nothing is to be done.")

    def end(self):
        """Stops it and gives how many system calls it made."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            lines = pathlib.Path(self.report).read_text(encoding="ascii").split("\n")
            rows = [line.split() for line in lines if line[:1] == " " or line[:1].isdigit()]
            for row in rows:
                if row[-1] == "total":
                    return int(row[0])
            time.sleep(0.01)
        raise Skip("strace wrote no summary; may processes be traced here (ptrace)?")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)


class Client:
    """Speaks to the server packet by packet."""

    def __init__(self, server):
        self.server = server
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self.socket.bind((DEVICE, ETH_P_IP))
        self.port = 20_000
        self.seq = self.ack = 0

    def send(self, flags, text=b"", answers=0):
        """One packet, so many answers to it, and the server asleep again."""
        before = self.server.look()
        if before is None:
            raise Wrong("the server ended.")
        self.socket.sendto(packet(self.port, flags, self.seq, self.ack, text), (DEVICE, ETH_P_IP))
        self.seq += len(text) + (1 if flags & (SYN | FIN) else 0)
        for _ in range(answers):
            self.receive()
        self.server.wait_asleep(before)

    def receive(self):
        while select.select([self.socket], [], [], PATIENCE)[0]:
            data = self.socket.recv(65536)
            if data[9] != 6 or socket.inet_ntoa(data[16:20]) != CLIENT:
                continue
            port, seq, offset, flags = struct.unpack(">xxHI4xBB", data[20:34])
            if port != self.port:
                continue
            if flags & RST:
                raise Wrong("the server reset a connection that was well.")
            size = struct.unpack(">H", data[2:4])[0] - 20 - (offset >> 4) * 4
            self.ack = seq + size + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)
            return
        raise Wrong("the server did not answer a packet.")

    def open(self):
        self.port += 1
        self.seq, self.ack = self.port * 1000, 0
        self.send(SYN, answers=1)
        self.send(ACK)

    def close(self):
        self.send(ACK | FIN, answers=1)
        self.send(ACK)

    def connection(self):
        self.open()
        self.send(ACK, REQUEST % b"Connection: close\r\n", answers=1)
        self.send(ACK)
        self.send(ACK | FIN, answers=1)

    def request(self):
        self.send(ACK, REQUEST % b"", answers=1)
        self.send(ACK)


def calls_of(program, backend, folder, requests, times):
    """System calls of a server that served so many."""
    server = Server(program, backend, os.path.join(folder, f"{requests}-{times}"))
    try:
        server.wait_serving()
        client = Client(server)
        server.wait_asleep(None)
        if requests:
            client.open()
        for _ in range(times):
            client.request() if requests else client.connection()
        if requests:
            client.close()
        return server.end()
    finally:
        server.kill()


def inside(program, backend):
    if shutil.which("ip") is None:
        raise Skip("there is no ip(8); Debian's package is iproute2.")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    figures = {}
    with tempfile.TemporaryDirectory(prefix="runnel-counts-") as folder:
        for requests, name in ((False, "connection"), (True, "request")):
            few, many = (calls_of(program, backend, folder, requests, n) for n in (FEW, MANY))
            figures[f"system_calls_per_{name}"] = (many - few) / (MANY - FEW)
    print(json.dumps(figures))


def namespace_command():
    """Processes of its own, too, where that may be: with them all ends that was begun in it."""
    both = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    user = ["--user", "--map-root-user"]
    root = [["unshare", *both], ["unshare", "--net"]] if os.geteuid() == 0 else []
    for way in [*root, ["unshare", *user, *both], ["unshare", *user, "--net"]]:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            if subprocess.run([*way, "true"], stdin=subprocess.DEVNULL, timeout=20,
                              capture_output=True, check=False).returncode == 0:
                return way
    raise Skip("this user may not make a network namespace (unshare --user --net).")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--backend", choices=["epoll", "io_uring"], default="epoll",
                        help="what the server's loop runs on")
    parser.add_argument("--inside", action="store_true", help="the namespace is made already")
    parser.add_argument("server", help="the program http_server")
    wanted = parser.parse_args()
    try:
        if wanted.inside:
            inside(os.path.abspath(wanted.server), wanted.backend)
            return
        done = subprocess.run([*namespace_command(), sys.executable, *sys.argv, "--inside"],
                              stdin=subprocess.DEVNULL, timeout=60, check=False)
        sys.exit(done.returncode)
    except Skip as reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    except (Wrong, OSError, subprocess.SubprocessError) as reason:
        sys.exit(f"system_calls: {reason}")


if __name__ == "__main__":
    main()
