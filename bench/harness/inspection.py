"""A look into http_server while it runs, through its inspection socket."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace

from .contenders import CONTENDERS, Contender, Paths
from .errors import HarnessError
from .processes import tool
from .spaces import Space


@dataclass(frozen=True)
class Table:
    """How many of each there are now, the bytes that their tables take, and an entry's in
    TIME_WAIT."""

    established: int
    half_open: int
    time_wait: int
    table_bytes: int
    time_wait_bytes: int


def with_flags(contender: Contender, *more: str) -> Contender:
    """The same with flags, each with one value, in place of those of the same names."""
    def arguments(space: Space) -> list[str]:
        usual = contender.arguments(space)
        pairs = zip(usual[::2], usual[1::2])
        return [*(word for pair in pairs if pair[0] not in more for word in pair), *more]
    return replace(contender, arguments=arguments)


class Inspection:
    """A socket for one server: start `contender(...)`, whose first line tells of the socket, and
    read its second one, too. Use it as a context manager around the server."""

    def __init__(self, paths: Paths) -> None:
        self._program = os.path.join(paths.build, "examples", "ss")
        self._folder = tempfile.mkdtemp(prefix="runnel-bench-inspect-")
        self._socket = os.path.join(self._folder, "socket")

    def __enter__(self) -> "Inspection":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def contender(self, *more: str, base: str = "runnel_http", name: str = "") -> Contender:
        """http_server with the socket and with `more` flags, which take the place of its usual
        ones."""
        known = with_flags(CONTENDERS[base], *more, "--inspect", self._socket)
        return replace(known, name=name or known.name, ready=f"inspect: {self._socket}")

    def _ask(self, *flags: str) -> dict:
        said = tool([self._program, "-S", self._socket, *flags], timeout=20)
        try:
            return json.loads(said)
        except ValueError as error:
            raise HarnessError(f"{self._program} did not print JSON: {error}.") from error

    def counters(self) -> dict[str, int]:
        """By Linux's names; those that are zero are not there."""
        return self._ask("--nstat", "-j")["runnel"]

    def table(self) -> Table:
        told = self._ask("-s", "-j")
        states = told["states"]
        return Table(established=told["estab"], half_open=states["SYN-RECV"],
                     time_wait=states["TIME-WAIT"], table_bytes=told["memory"]["tables"],
                     time_wait_bytes=told["memory"]["time_wait"])

    @staticmethod
    def missing(paths: Paths) -> str | None:
        """Why nothing can be looked at; None when it can."""
        if os.access(os.path.join(paths.build, "examples", "ss"), os.X_OK):
            return None
        return "build/release/examples/ss is missing"
