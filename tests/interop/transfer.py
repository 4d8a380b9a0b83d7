"""Bulk data through echo_server and echo_client against the kernel's TCP, whole and impaired."""

import hashlib
import os
import socket
import threading

import lab

MIB = 1 << 20
BLOCK = 256 * 1024
# Losses of what our side sends and receives; the seed makes a failure repeatable.
IMPAIRED = ["--drop", 2, "--duplicate", 1, "--reorder", 2, "--seed", 1]


class KernelEcho:
    """An echo server on the kernel's side that ends its half only after the peer has ended."""

    def __init__(self):
        lab.host_device()
        self.listener = socket.create_server((lab.HOST, 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.received = hashlib.sha256()
        self.bytes = 0
        self.ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        # Who only asks whether somebody answers says nothing.
        while self.bytes == 0:
            peer, _ = self.listener.accept()
            with peer:
                while block := peer.recv(BLOCK):
                    self.received.update(block)
                    self.bytes += len(block)
                    peer.sendall(block)
        self.ended.set()


def hash_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    os.unlink(path)
    return digest.hexdigest()


def feed(connection, blocks):
    for block in blocks:
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)


def through_echo_server(mib, seconds, *flags, address=lab.STACK):
    """A kernel client sends and reads back at the same time, then both halves are closed."""
    block = os.urandom(MIB)
    sent, received, count = hashlib.sha256(), hashlib.sha256(), 0
    for _ in range(mib):
        sent.update(block)
    with lab.echo_server(*flags):
        with socket.create_connection((address, 7), timeout=seconds) as connection:
            writer = threading.Thread(target=feed, args=(connection, [block] * mib), daemon=True)
            writer.start()
            while got := connection.recv(BLOCK):
                received.update(got)
                count += len(got)
            writer.join(seconds)
    lab.expect_equal(count, mib * MIB, "bytes that came back")
    lab.expect_equal(received.hexdigest(), sent.hexdigest(), "hash of what came back")


def through_echo_client(mib, seconds, *flags):
    """Our client sends a file to a kernel server and stores what comes back."""
    source, target = (os.path.join(lab.folder, name) for name in ("sent", "received"))
    block = os.urandom(MIB)
    with open(source, "wb") as out:
        for _ in range(mib):
            out.write(block)
    peer = KernelEcho()
    with open(source, "rb") as stdin, open(target, "wb") as stdout:
        client = lab.Process(lab.example("echo_client"), *lab.tun_flags(),
                             f"{lab.HOST}:{peer.port}", *flags, stdin=stdin, stdout=stdout)
        try:
            lab.expect_equal(client.exit_code(seconds), 0, f"exit code\n{client.text()}\n")
        finally:
            client.kill()
    lab.expect(peer.ended.wait(10), "the kernel's server did not see the end of the stream")
    lab.expect_equal(peer.bytes, mib * MIB, "bytes at the kernel's server")
    hashes = [hash_of(source), hash_of(target)]
    lab.expect_equal(hashes[1], hashes[0], "hash of what came back")
    lab.expect_equal(peer.received.hexdigest(), hashes[0], "hash at the kernel's server")


@lab.case
def a_hundred_mib_each_way_from_a_kernel_client():
    through_echo_server(100, 120)


@lab.case
def a_hundred_mib_each_way_to_a_kernel_server():
    through_echo_client(100, 120)


@lab.case
def a_hundred_mib_each_way_from_a_kernel_client_without_offloads():
    through_echo_server(100, 120, "--offload", "off")


@lab.case
def a_hundred_mib_each_way_to_a_kernel_server_without_offloads():
    through_echo_client(100, 120, "--offload", "off")


@lab.case
def a_hundred_mib_each_way_from_a_kernel_client_with_super_segments():
    through_echo_server(100, 120, "--offload", "segmentation")


@lab.case
def a_hundred_mib_each_way_to_a_kernel_server_with_super_segments():
    through_echo_client(100, 120, "--offload", "segmentation")


@lab.case
def a_hundred_mib_each_way_with_checksums_left_to_the_kernel_only():
    through_echo_server(100, 120, "--offload", "checksum")


@lab.case
def twenty_mib_each_way_from_a_kernel_client_over_an_impaired_link():
    through_echo_server(20, 150, *IMPAIRED)


@lab.case
def twenty_mib_each_way_to_a_kernel_server_over_an_impaired_link():
    through_echo_client(20, 150, *IMPAIRED)


@lab.case
def a_hundred_mib_each_way_through_forward_to_a_kernel_server():
    """From one kernel socket to another: every byte is lent and sent on, twice."""
    peer = KernelEcho()
    sent, received, count = hashlib.sha256(), hashlib.sha256(), 0
    block = os.urandom(MIB)
    for _ in range(100):
        sent.update(block)
    with lab.started(lab.Process(lab.example("forward"), f"{lab.HOST}:{peer.port}",
                                 *lab.tun_flags(), "--port", 7), 7):
        with socket.create_connection((lab.STACK, 7), timeout=120) as connection:
            writer = threading.Thread(target=feed, args=(connection, [block] * 100), daemon=True)
            writer.start()
            while got := connection.recv(BLOCK):
                received.update(got)
                count += len(got)
            writer.join(120)
        lab.expect(peer.ended.wait(10), "the kernel's server did not see the end of the stream")
    lab.expect_equal(count, 100 * MIB, "bytes that came back")
    lab.expect_equal(received.hexdigest(), sent.hexdigest(), "hash of what came back")
    lab.expect_equal(peer.received.hexdigest(), sent.hexdigest(), "hash at the kernel's server")


@lab.case
def the_kernel_half_closes_first_and_still_reads():
    with lab.echo_server():
        with socket.create_connection((lab.STACK, 7), timeout=20) as connection:
            connection.sendall(b"last words")
            connection.shutdown(socket.SHUT_WR)
            got = b""
            while block := connection.recv(BLOCK):
                got += block
    lab.expect_equal(got, b"last words", "what came after the kernel's FIN")


@lab.case
def our_side_half_closes_first_and_still_reads():
    lab.host_device()
    with socket.create_server((lab.HOST, 0)) as listener:
        where = f"{lab.HOST}:{listener.getsockname()[1]}"
        target = os.path.join(lab.folder, "answer")
        with open(target, "wb") as stdout:
            client = lab.Process(lab.example("echo_client"), *lab.tun_flags(), where,
                                 stdout=stdout)
            listener.settimeout(20)
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(20)
                # Nothing on the client's standard input: its FIN is the first thing it says.
                lab.expect_equal(peer.recv(1), b"", "what our side sent before its FIN")
                peer.sendall(b"x" * MIB)
            lab.expect_equal(client.exit_code(), 0, f"exit code\n{client.text()}\n")
    lab.expect_equal(os.path.getsize(target), MIB, "bytes that came after our FIN")


if __name__ == "__main__":
    lab.main()
