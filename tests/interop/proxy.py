"""proxy between kernel clients on the device and servers of the kernel behind it."""

import contextlib
import os
import resource
import signal
import socket
import sys
import threading

import lab

PORT = 80
BEHIND = 8080

# Sends back what it reads, and says goodbye behind the client's end.
ECHO = """
import socket, socketserver, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.sendall(b"goodbye")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024
with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    print("ready", flush=True)
    server.serve_forever()
"""

# Accepts, reads a little of what comes and waits to be killed. Who connects only to see whether the
# port answers sends nothing.
STUCK = """
import signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
connection, _ = listener.accept()
while not connection.recv(1):
    connection, _ = listener.accept()
print("read", flush=True)
signal.pause()
"""


@contextlib.contextmanager
def backend(text):
    server = lab.Process(sys.executable, "-c", text, BEHIND, name="backend")
    server.expected = -signal.SIGKILL
    try:
        server.wait_line("ready")
        yield server
    finally:
        server.kill()


def proxy(*flags):
    return lab.started(lab.Process(lab.example("proxy"), f"127.0.0.1:{BEHIND}", *lab.tun_flags(),
                                   "--port", PORT, *flags), PORT)


def connect():
    return socket.create_connection((lab.STACK, PORT), timeout=30)


def read_all(connection):
    got = b""
    while data := connection.recv(65536):
        got += data
    return got


def is_reset(connection):
    try:
        while connection.recv(65536):
            pass
        return False
    except ConnectionResetError:
        return True


def is_reset_at_once():
    """The same of a new connection. Where the reset has come before connect(2) has returned, that
    tells of it."""
    try:
        connection = connect()
    except ConnectionResetError:
        return True
    return is_reset(connection)


def sockets_behind():
    """How many sockets are connected to the server behind and have a process."""
    with open("/proc/self/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    return sum(row[2].endswith(f":{BEHIND:04X}") and row[3] != "06" for row in rows)


@lab.case
def nginx_behind_the_proxy_serves_a_large_file():
    lab.need("nginx", "curl")
    root = lab.web_root(large=8 << 20)
    lab.host_device()
    with lab.nginx(root, BEHIND, f"; listen 127.0.0.1:{BEHIND}"):
        with proxy():
            out = os.path.join(lab.folder, "out")
            lab.run("curl", "-sS", "--fail", "--max-time", 60, "-o", out, lab.url("/large"))
            with open(os.path.join(root, "large"), "rb") as wanted, open(out, "rb") as got:
                lab.expect(wanted.read() == got.read(), "the file came with other bytes")


@lab.case
def the_end_of_one_direction_is_carried_through_and_bytes_follow_it():
    with backend(ECHO), proxy():
        connection = connect()
        connection.sendall(b"hello ")
        lab.expect_equal(connection.recv(6, socket.MSG_WAITALL), b"hello ", "the echo")
        connection.shutdown(socket.SHUT_WR)
        lab.expect_equal(read_all(connection), b"goodbye", "what follows the client's end")


@lab.case
def a_slow_client_slows_the_server_and_loses_nothing():
    sent = os.urandom(8 << 20)
    with backend(ECHO), proxy():
        connection = connect()
        writer = threading.Thread(target=lambda: (connection.sendall(sent),
                                                  connection.shutdown(socket.SHUT_WR)))
        writer.start()
        got = b""
        while data := connection.recv(4096 if len(got) < 1 << 20 else 1 << 20):
            got += data
        writer.join()
        lab.expect(got == sent + b"goodbye", f"{len(got)} bytes came back, or other ones")


@lab.case
def a_killed_server_gives_the_client_a_reset():
    with backend(STUCK) as server, proxy():
        connection = connect()
        connection.sendall(b"x" * 100_000)
        server.wait_line("read")
        server.process.kill()
        lab.expect(is_reset(connection), "the client read the end of the stream, not a reset")


@lab.case
def a_reset_by_the_client_reaches_the_server():
    text = STUCK.replace("signal.pause()", """
try:
    while connection.recv(65536):
        pass
    print("ended", flush=True)
except ConnectionResetError:
    print("reset", flush=True)
signal.pause()
""")
    with backend(text) as server, proxy():
        connection = connect()
        connection.sendall(b"xy")
        server.wait_line("read")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        server.wait_line("reset")


@lab.case
def no_server_behind_is_a_reset_and_silence_ends_a_connection():
    with proxy("--idle", 1):
        lab.expect(is_reset_at_once(), "no server behind, and yet no reset")
        with backend(ECHO):
            connection = connect()
            connection.sendall(b"once")
            lab.expect_equal(connection.recv(4, socket.MSG_WAITALL), b"once", "the echo")
            lab.expect(is_reset(connection), "the idle connection was not reset")


@lab.case
def a_thousand_connections_leave_nothing_behind():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        raise lab.Skip(f"only {hard} files may be open here.")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    with backend(ECHO), proxy() as server:
        connections = [connect() for _ in range(1000)]
        for number, connection in enumerate(connections):
            connection.sendall(b"%4d" % number)
        for number, connection in enumerate(connections):
            lab.expect_equal(connection.recv(4, socket.MSG_WAITALL), b"%4d" % number, "an echo")
        lab.expect(sockets_behind() >= 1000, "the connections are not there")
        for number, connection in enumerate(connections):
            if number % 2:
                connection.shutdown(socket.SHUT_WR)
                lab.expect_equal(read_all(connection), b"goodbye", "what follows the end")
            connection.close()
        lab.until(lambda: sockets_behind() == 0, "all sockets are closed", 30, server)


if __name__ == "__main__":
    lab.main()
