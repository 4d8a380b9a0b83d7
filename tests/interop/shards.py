"""One TCP on two loops, each with a queue of its own of the device.

The kernel forgets after 3 s by which queue it last heard of a connection, and then goes by a hash
that knows nothing of ours. Connections both ways rest for longer than that, and all are answered.
"""

import contextlib
import os
import re
import resource
import select
import signal
import socket
import time

import lab

ECHO_PORT = 9007
# The one wait of these tests that is for a time: that the kernel forgets is what they are about.
# Its timer for it comes every 3 s, and an entry that is 3 s old goes with it.
IDLE = 8
LOOPS = 2


class EchoServer:
    """The kernel's side of what the stack opens: sends back what it gets, until the end.

    It is a process of its own, which has descriptors of its own.
    """

    def __init__(self):
        lab.host_device()
        self.listener = socket.create_server((lab.HOST, ECHO_PORT), backlog=4096)
        self.held = {}
        self.poll = select.epoll()
        self.poll.register(self.listener, select.EPOLLIN)
        if os.fork() == 0:
            self.serve()
        self.listener.close()

    def serve(self):
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.listener.fileno():
                    one, _ = self.listener.accept()
                    self.held[one.fileno()] = one
                    self.poll.register(one, select.EPOLLIN)
                    continue
                text = self.held[fd].recv(512)
                if text:
                    self.held[fd].sendall(text)
                else:
                    self.poll.unregister(fd)
                    self.held.pop(fd).close()


def kernel_counter(name):
    """A number of TCP in /proc/net/snmp."""
    with open("/proc/net/snmp", encoding="ascii") as file:
        names, values = [line.split()[1:] for line in file if line.startswith("Tcp:")]
    return int(values[names.index(name)])


def ask_all(connections):
    """One question on each, a few at a time: how much at once is too much is not asked here."""
    numbered = list(enumerate(connections))
    for begin in range(0, len(numbered), 256):
        for number, one in numbered[begin:begin + 256]:
            one.sendall(b"question %6d" % number)
        for number, one in numbered[begin:begin + 256]:
            got = one.recv(512)
            lab.expect_equal(got, b"question %6d" % number, f"answer of connection {number}")


def rest_and_ask(count):
    """`count` connections each way, IDLE seconds of silence, then data on each."""
    needed = count + 200
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise lab.Skip(f"{needed} descriptors are needed and {hard} are allowed (ulimit -Hn).")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    EchoServer()
    server = lab.Process(lab.example("shard_server"), *lab.tun_flags(), "--loops", LOOPS,
                         "--connect", f"{lab.HOST}:{ECHO_PORT}", "--active", count)
    with server:
        server.wait_line("^connected ", 60)
        passive = [socket.create_connection((lab.STACK, 7), timeout=20) for _ in range(count)]
        ask_all(passive)
        rested = time.monotonic() + IDLE
        lab.until(lambda: time.monotonic() > rested, "the kernel has forgotten", IDLE + 5)
        ask_all(passive)
        server.process.send_signal(signal.SIGUSR1)
        line = server.wait_line("^answered ", 60)
        lab.expect_equal(line, f"answered {count} of {count}", "connections of the stack's own")
        for one in passive:
            one.close()
        server.stop()
        check_sums(server, count)
    lab.expect_equal(kernel_counter("OutRsts"), 0, "resets that the kernel has sent")


def check_sums(server, count):
    pairs = [re.fullmatch(r"(\S+) (\d+)", line) for line in server.lines]
    sums = {pair[1]: int(pair[2]) for pair in pairs if pair}
    lab.expect_equal(sums["TcpActiveOpens"], count, "connections opened")
    lab.expect_equal(sums["TcpPassiveOpens"], count, "connections accepted")
    # What is not there is 0.
    for name in ("TcpOutRsts", "TcpAttemptFails", "TcpEstabResets", "RunnelShardDropped",
                 "TcpInCsumErrors", "connections", "half_open", "buffer_bytes"):
        lab.expect_equal(sums.get(name, 0), 0, name)
    handed = sums["RunnelShardHanded"]
    lab.expect_equal(sums["RunnelShardTaken"], handed, "packets handed over and taken")
    print(f"         {handed} of {sums['TcpInSegs']} packets came by another queue "
          f"({handed / (2 * count):.2f} for each connection), "
          f"{sums.get('TcpRetransSegs', 0)} were sent again", flush=True)
    # Half of the connections that begin, and half of those that have rested.
    lab.expect(handed > count / 2, f"hardly anything was handed over: {handed}")


@lab.case
def connections_that_have_rested_for_8_s_are_answered_by_their_shard():
    rest_and_ask(1000)


@lab.case
def an_http_server_on_two_loops_is_one_line_more():
    lab.need("ab")
    with lab.http_server(lab.web_root(), "--loops", LOOPS) as server:
        text = lab.run("ab", "-q", "-s", 30, "-n", 20000, "-c", 64, "-k", lab.url())
        lab.expect(re.search(r"^Failed requests:\s+0$", text, re.MULTILINE), text)
        text = lab.run("ab", "-q", "-s", 30, "-n", 5000, "-c", 64, lab.url())
        lab.expect(re.search(r"^Failed requests:\s+0$", text, re.MULTILINE), text)
        server.stop()
        sums = dict(re.findall(r"^(\w+) +(\d+)$", server.text(), re.MULTILINE))
        lab.expect(int(sums["requests"]) >= 25000, f"requests: {sums['requests']}")
        # A packet that was handed over may come behind the one that ended its connection.
        print(f"         {sums.get('RunnelShardOvertaken', 0)} packets were overtaken by the end",
              flush=True)
        lab.expect_equal(int(sums["TcpOutRsts"]), 0, "resets sent")
        lab.expect(int(sums["RunnelShardHanded"]) > 1000, "half of the connections came elsewhere")


@lab.case
def ss_sees_the_connections_of_both_loops():
    path = os.path.join(lab.folder, "shards.sock")

    def look(*flags):
        return lab.run(lab.example("ss"), "-S", path, *flags).splitlines()

    with lab.http_server(lab.web_root(), "--loops", LOOPS, "--inspect", path) as server:
        server.wait_line("^inspect: ")
        lab.until(lambda: len(look("-tlnH")) == LOOPS, "a listener on each loop", process=server)
        with contextlib.ExitStack() as open_ones:
            clients = [open_ones.enter_context(
                socket.create_connection((lab.STACK, 80), timeout=10)) for _ in range(40)]
            for client in clients:
                client.sendall(b"GET /hello HTTP/1.1\r\nHost: lab\r\n\r\n")
                lab.expect(client.recv(4096).startswith(b"HTTP/1.1 200"), "no answer")
            rows = look("-tnH", "state", "established")
            seen = {row.split()[3].rsplit(":", 1)[1] for row in rows}
            expected = {str(client.getsockname()[1]) for client in clients}
            lab.expect_equal(seen, expected, "ports of the connections")
            counted = "\n".join(look("--nstat", "TcpCurrEstab"))
            lab.expect(re.search(r"TcpCurrEstab +40\b", counted), counted)
        server.stop()
        lab.expect_equal(server.text().count("inspect: "), 1, "sockets to look through")


@lab.case
def an_echo_server_on_two_loops_is_one_line_more():
    with lab.echo_server("--loops", LOOPS) as server:
        lab.until(lambda: server.text().count("listening on port 7") == LOOPS,
                  "both loops listen", process=server)
        clients = [socket.create_connection((lab.STACK, 7), timeout=20) for _ in range(200)]
        ask_all(clients)
        for client in clients:
            client.shutdown(socket.SHUT_WR)
            lab.expect_equal(client.recv(1), b"", "end of the echo")
            client.close()
        server.stop()


if __name__ == "__main__":
    lab.main()
