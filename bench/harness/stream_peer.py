"""The kernel's end of one bulk stream, a process in a network namespace.

  stream_peer.py send|receive ADDRESS PORT SECONDS
  stream_peer.py serve ADDRESS

The first prints "begin" and "end" around its window, then a line of JSON with the bytes that went
through and the seconds. The other listens at the discard port 9 and the source port 19 until it is
ended, and prints "ready" when it does. IPv4 or IPv6.
"""

import json
import selectors
import socket
import sys
import time

DISCARD, SOURCE = 9, 19
BLOCK = bytearray(256 * 1024)
WARMUP_SECONDS = 0.2


def connected(address: str, port: int) -> socket.socket:
    """A stream to a server that may take a moment until it answers."""
    for _ in range(250):
        try:
            return socket.create_connection((address, port), timeout=5)
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"stream_peer: nobody answers at {address}, port {port}.")


def move(stream: socket.socket, sends: bool, seconds: float) -> tuple[int, float]:
    begin, count = time.monotonic(), 0
    while (passed := time.monotonic() - begin) < seconds:
        moved = stream.send(BLOCK) if sends else stream.recv_into(BLOCK)
        if not moved:
            raise SystemExit("stream_peer: the server closed the stream.")
        count += moved
    return count, passed


def measure(sends: bool, address: str, port: int, seconds: float) -> None:
    with connected(address, port) as stream:
        move(stream, sends, WARMUP_SECONDS)
        print("begin", flush=True)
        count, passed = move(stream, sends, seconds)
        print("end", flush=True)
        print(json.dumps({"bytes": count, "seconds": passed}), flush=True)


def serve(address: str) -> None:
    """One stream at a time."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    waiting = selectors.DefaultSelector()
    for port in (DISCARD, SOURCE):
        waiting.register(socket.create_server((address, port), family=family),
                         selectors.EVENT_READ, port)
    print("ready", flush=True)
    while True:
        for key, _ in waiting.select():
            with key.fileobj.accept()[0] as stream:
                try:
                    while stream.recv_into(BLOCK) if key.data == DISCARD else stream.send(BLOCK):
                        pass
                except OSError:
                    pass


def main() -> None:
    words = sys.argv[1:]
    try:
        if words[:1] == ["serve"] and len(words) == 2:
            serve(words[1])
        elif words[:1] in (["send"], ["receive"]) and len(words) == 4:
            measure(words[0] == "send", words[1], int(words[2]), float(words[3]))
        else:
            raise SystemExit(__doc__)
    except OSError as error:
        raise SystemExit(f"stream_peer: {error}.") from error


if __name__ == "__main__":
    main()
