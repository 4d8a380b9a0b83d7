"""The servers that are compared: how each is started, and where.

All of them answer the same request with the same 14 bytes of content, and close first when it asks
for that.
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from . import spaces
from .errors import HarnessError
from .processes import Child
from .spaces import Link, Space

PORT = 80
BUSY_POLL_US = 1000


@dataclass(frozen=True)
class Paths:
    """Where programs are: the build tree, and what was built beside it."""

    build: str
    peers: str

    def program(self, name: str) -> str:
        return {"http_server": f"{self.build}/examples/http_server",
                "gvisor_http": f"{self.peers}/gvisor_http",
                "nginx": shutil.which("nginx") or "/usr/sbin/nginx",
                }.get(name) or self._in_bench(name)

    def absent(self, name: str) -> str | None:
        """One clause that says that a program is not there; None when it is."""
        path = self.program(name)
        if os.access(path, os.X_OK):
            return None
        inside = path.removeprefix(os.getcwd() + os.sep)
        return f"{inside} is missing"

    def _in_bench(self, name: str) -> str:
        folders = ("", "client", "servers", "lwip", "engine", "micro", "counts", "runtime")
        for folder in folders:
            path = os.path.join(self.build, "bench", folder, name)
            if os.path.isfile(path):
                return path
        return os.path.join(self.build, "bench", name)


@dataclass(frozen=True)
class Contender:
    """An HTTP server on a kind of link. `arguments(space)` are what follows the program's path;
    `ready` is what its first line begins with once it serves."""

    name: str
    title: str
    program: str
    link: Link
    arguments: Callable[[Space], list[str]]
    ready: str = "ready"

    def missing(self, paths: Paths) -> str | None:
        """Why it cannot take part; None when it can."""
        return paths.absent(self.program)


class Server(Child):
    """A contender that serves. `description` is what it says of itself when it starts."""

    def __init__(self, contender: Contender, space: Space, paths: Paths, core: int | str,
                 before: tuple[str, ...] = ()) -> None:
        self.contender = contender
        self._folder = tempfile.mkdtemp(prefix="runnel-bench-")
        argv = [*before, paths.program(contender.program), *contender.arguments(space)]
        if contender.program == "nginx":
            argv += nginx_arguments(self._folder, space.server_address)
        try:
            super().__init__(space.server.command(argv, core), contender.title)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        try:
            self.description = self._wait(space)
        except BaseException:
            self.stop(patience=0.5)
            raise

    def _wait(self, space: Space) -> str:
        if self.contender.program == "nginx":
            wait_for_listener(self, space)
            return ""
        line = self.line(20)
        if not line.startswith(self.contender.ready):
            raise HarnessError(f"{self.name} began with '{line}' in place of "
                               f"'{self.contender.ready}'.")
        return line.removeprefix(self.contender.ready).strip()

    def stop(self, *args: object, **named: object) -> str:
        try:
            return super().stop(*args, **named)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def wait_for_listener(server: Server, space: Space) -> None:
    """Until the kernel has a listening socket at our port: it takes connections from then on."""
    wanted = re.compile(rf"^\s*\d+: [0-9A-F]+:{PORT:04X} [0-9A-F:]+ 0A ", re.MULTILINE)
    for _ in range(500):
        with open(f"/proc/{space.server.pid}/net/tcp", encoding="ascii") as sockets:
            if wanted.search(sockets.read()):
                return
        if server.process.poll() is not None:
            server.line(1)
        time.sleep(0.01)
    raise HarnessError(f"{server.name} does not listen after 5 s.")


def nginx_arguments(folder: str, address: str) -> list[str]:
    temporary = " ".join(f"{each}_temp_path {folder}/{each};" for each in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w", encoding="ascii") as conf:
        conf.write(f"""user root; daemon off; master_process off; pid {folder}/pid;
error_log stderr warn; events {{ worker_connections 16384; }}
http {{ {temporary} access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
server {{ listen {address}:{PORT} backlog=4096;
location / {{ default_type text/plain; return 200 'Hello, world!\\n'; }} }} }}
""")
    return ["-p", folder, "-c", path]


def on_tun(*more: str) -> Callable[[Space], list[str]]:
    return lambda space: ["--tun", space.device, "--address", space.server_address,
                          "--port", str(PORT), *more]


def by_kernel(space: Space) -> list[str]:
    return ["--address", space.server_address, "--port", str(PORT)]


def http_server(space: Space) -> list[str]:
    return [*on_tun()(space), "--tun-address", "", "--keepalive-requests", "1000000000",
            "--backlog", "4096"]


BUSY = ("--busy-poll", str(BUSY_POLL_US))

_TUN = (
    Contender("runnel_http", "runnel: http_server", "http_server", spaces.TUN, http_server,
              "http_server:"),
    Contender("runnel", "runnel: responder", "responder", spaces.TUN, on_tun()),
    Contender("runnel_busy", "runnel: responder, busy-polling", "responder", spaces.TUN,
              on_tun(*BUSY)),
    Contender("stateless", "stateless", "stateless", spaces.TUN, on_tun()),
    Contender("stateless_busy", "stateless, busy-polling", "stateless", spaces.TUN,
              on_tun(*BUSY)),
    Contender("stateless_vnet", "stateless, vnet header", "stateless", spaces.TUN_VNET,
              on_tun("--vnet")),
    Contender("lwip", "lwIP raw API", "lwip_http", spaces.TUN, on_tun()),
    Contender("lwip_busy", "lwIP, busy-polling", "lwip_http", spaces.TUN, on_tun(*BUSY)),
    Contender("gvisor", "gVisor netstack", "gvisor_http", spaces.TUN, on_tun()),
)
_KERNEL = (
    Contender("nginx", "nginx", "nginx", spaces.VETH, lambda space: []),
    Contender("epoll", "epoll server", "kernel_epoll", spaces.VETH, by_kernel),
    Contender("uring", "io_uring server", "kernel_uring", spaces.VETH, by_kernel),
    Contender("asio", "Boost.Beast", "kernel_asio", spaces.VETH, by_kernel),
)

CONTENDERS: dict[str, Contender] = {each.name: each for each in (
    *_TUN,
    *(replace(each, name=f"{each.name}_{link.kind}", link=link,
              title=f"Linux, {each.title}, {link.kind}")
      for link in (spaces.VETH, spaces.LOOPBACK) for each in _KERNEL))}


HTTP_SERVER_COUNTERS = {"TcpExtTW": "time_wait_entered",
                        "RunnelTimeWaitReopened": "time_wait_reopened",
                        "TcpExtTCPTimeWaitOverflow": "time_wait_overflow"}


def last_words(said: str) -> dict[str, object]:
    """What ours print when they end: a line of JSON, or http_server's table of counters; empty for
    who prints nothing."""
    found: dict[str, object] = {}
    for line in said.splitlines():
        words = line.split()
        if line.startswith("{"):
            try:
                found |= json.loads(line)
            except ValueError:
                continue
        elif len(words) == 2 and words[0] in HTTP_SERVER_COUNTERS and words[1].isdigit():
            found[HTTP_SERVER_COUNTERS[words[0]]] = int(words[1])
    return found
