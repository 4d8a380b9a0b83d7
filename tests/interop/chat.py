"""The chat example: lines between clients of the kernel's TCP, and one that does not read."""

import contextlib
import re
import socket

import lab

PORT = 6667


class Client:
    """One end of a conversation; reads by line, with a deadline."""

    def __init__(self, **options):
        self.socket = socket.socket()
        for name, value in options.items():
            self.socket.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        self.socket.settimeout(20)
        self.socket.connect((lab.STACK, PORT))
        self.lines = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.lines.close()
        self.socket.close()

    def say(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def line(self):
        return self.lines.readline().decode().rstrip("\n")

    def until(self, pattern):
        """The first line that matches, and how many came before it."""
        count = 0
        while True:
            line = self.line()
            lab.expect(line, f"the connection ended before {pattern!r}")
            if re.search(pattern, line):
                return line, count
            count += 1


def named(name, **options):
    client = Client(**options)
    client.say(f"/name {name}")
    client.until(f"is now {name}$")
    return client


def chat_server(*flags):
    return lab.started(lab.Process(lab.example("chat"), *lab.tun_flags(), "--port", PORT, *flags),
                       PORT)


@lab.case
def what_one_says_the_others_hear_in_order():
    with chat_server(), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(named(f"c{i}")) for i in range(20)]
        for number in range(50):
            clients[0].say(f"line {number}")
        for client in clients[1:]:
            client.until("^c0: line 0$")
            for number in range(1, 50):
                lab.expect_equal(client.until("^c0: ")[0], f"c0: line {number}", "what came")
        clients[1].say("/who")
        names, _ = clients[1].until("^[*] here:")
        lab.expect_equal(sorted(names.split()[2:]), sorted(f"c{i}" for i in range(20)), "who is in")
        clients[2].say("/quit")
        clients[1].until("c2 has gone")
        while clients[2].line():
            pass


@lab.case
def a_client_that_half_closes_gets_what_was_said_to_it_before():
    with chat_server(), named("ann") as ann, named("bob") as bob:
        ann.say("first")
        ann.say("/who")
        ann.until("^[*] here:")
        bob.socket.shutdown(socket.SHUT_WR)
        bob.until("^ann: first$")
        while bob.line():
            pass


@lab.case
def a_client_that_does_not_read_loses_its_connection_and_delays_nobody():
    with chat_server("--slow", "disconnect", "--queue", 16) as server, named("writer") as writer, \
         named("reader") as reader, named("slow", SO_RCVBUF=4096) as slow:
        gone = []
        text = "x" * 400
        for number in range(20_000):
            writer.say(text)
            writer.say(f"mark {number}")
            while True:
                line = reader.line()
                lab.expect(line, f"the reader lost its connection too\n{server.text()}")
                if line == "* slow was too slow":
                    gone.append(number)
                if line == f"writer: mark {number}":
                    break
            if gone:
                break
        lab.expect(gone, "8 MB were said and nothing happened to the slow client")
        try:
            while slow.line():
                pass
        except ConnectionResetError:
            return
        raise AssertionError("the slow client was not reset")


@lab.case
def a_client_that_does_not_read_loses_its_oldest_lines():
    with chat_server("--queue", 16) as server, named("writer") as writer, \
         named("reader") as reader, named("slow", SO_RCVBUF=4096) as slow:
        text = "x" * 400
        # More than the client's buffer, the server's and the queue can hold.
        for number in range(1000):
            writer.say(text)
            writer.say(f"mark {number}")
            reader.until(f"mark {number}$")
        notice, before = slow.until("lines were lost")
        lab.expect(before < 1900, f"{before} lines came before {notice!r}\n{server.text()}")
        slow.until("mark 999$")


if __name__ == "__main__":
    lab.main()
