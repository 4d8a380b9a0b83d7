"""A load of kernel connections that say for themselves how each of them ended."""

import contextlib
import re
import socket
import threading

import lab

REQUEST = b"GET /hello HTTP/1.1\r\nHost: lab\r\n\r\n"


def read_response(connection, head_so_far=b""):
    """One response with Content-Length: its head and body; None for an end before any byte."""
    data = head_so_far
    while b"\r\n\r\n" not in data:
        block = connection.recv(65536)
        if not block:
            if data:
                raise EOFError("a response ended inside its head")
            return None
        data += block
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)[1])
    while len(body) < length:
        block = connection.recv(65536)
        if not block:
            raise EOFError(f"a response ended {length - len(body)} bytes before its end")
        body += block
    return head, body


class Connection(threading.Thread):
    """Asks again and again. `end` is 'closed' (FIN between responses), 'truncated', 'reset',
    'silent' (no answer in time) or 'left' (we stopped it)."""

    def __init__(self, load):
        super().__init__(daemon=True)
        self.load = load
        self.answers = 0
        self.end = None
        self.socket = socket.create_connection((lab.STACK, 80), timeout=30)

    def run(self):
        try:
            while not self.load.leaving:
                self.socket.sendall(REQUEST)
                response = read_response(self.socket)
                if response is None:
                    self.end = "closed"
                    break
                lab.expect(response[0].startswith(b"HTTP/1.1 200"),
                           f"an answer other than 200: {response[0][:200]}")
                self.load.answered(self)
                if re.search(rb"connection: *close", response[0], re.IGNORECASE):
                    # The server's FIN has to follow, not RST.
                    self.end = "closed" if self.socket.recv(1) == b"" else "more after the end"
                    break
        except EOFError:
            self.end = "truncated"
        except (ConnectionResetError, BrokenPipeError):
            self.end = "reset"
        except TimeoutError:
            self.end = "silent"
        except OSError:
            self.end = "left" if self.load.leaving else "error"
        self.end = self.end or "left"
        self.load.ended()


class Load:
    """As many connections as asked for, running until they end or `with` does."""

    def __init__(self, count):
        self.leaving = False
        self._changed = threading.Condition()
        self.connections = [Connection(self) for _ in range(count)]

    def __enter__(self):
        for connection in self.connections:
            connection.start()
        return self

    def __exit__(self, *_):
        self.leaving = True
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        for connection in self.connections:
            connection.join(10)
            connection.socket.close()

    def answered(self, connection):
        with self._changed:
            connection.answers += 1
            self._changed.notify_all()

    def ended(self):
        with self._changed:
            self._changed.notify_all()

    def wait_answers(self, more, seconds=30):
        """Each connection got that many further answers, or has ended."""
        with self._changed:
            wanted = [(c, c.answers + more) for c in self.connections]
            done = self._changed.wait_for(
                lambda: all(c.end or c.answers >= n for c, n in wanted), seconds)
        lab.expect(done, f"not every connection got {more} answers: {self.ends()}")

    def wait_ends(self, seconds=30):
        with self._changed:
            done = self._changed.wait_for(lambda: all(c.end for c in self.connections), seconds)
        lab.expect(done, f"some connections did not end: {self.ends()}")

    def ends(self):
        counts = {}
        for connection in self.connections:
            counts[connection.end] = counts.get(connection.end, 0) + 1
        return counts
