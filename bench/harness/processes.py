"""Child processes with an end in every case, and what the kernel tells of them."""

import os
import selectors
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from .errors import HarnessError


@dataclass(frozen=True)
class CpuTime:
    """What a process has used: exact nanoseconds, and clock ticks to split them by."""

    ns: int = 0
    user_ticks: int = 0
    system_ticks: int = 0

    def __sub__(self, before: "CpuTime") -> "CpuTime":
        return CpuTime(self.ns - before.ns, self.user_ticks - before.user_ticks,
                       self.system_ticks - before.system_ticks)


def cpu_time(pid: int) -> CpuTime:
    """Of all its threads, those of io_uring included."""
    ns = user = system = 0
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError as error:
        raise HarnessError(f"The process {pid} is gone while it is measured: {error}.") from error
    for thread in threads:
        folder = f"/proc/{pid}/task/{thread}"
        try:
            with open(f"{folder}/stat", encoding="ascii", errors="replace") as stat:
                # The name in parentheses may hold anything, so fields count from behind it.
                fields = stat.read().rpartition(")")[2].split()
            with open(f"{folder}/schedstat", encoding="ascii") as exact:
                ns += int(exact.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
        user += int(fields[11])
        system += int(fields[12])
    return CpuTime(ns, user, system)


def resident_bytes(pid: int) -> int:
    """Its anonymous memory that is in RAM: what it has taken for itself."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("Anonymous:"):
                return 1024 * int(line.split()[1])
    raise HarnessError(f"/proc/{pid}/smaps_rollup does not tell the memory of process {pid}.")


class Child:
    """A process whose lines are read with a limit in time. Use it as a context manager: it ends
    with the block, by SIGTERM, and by SIGKILL when that is not heard."""

    def __init__(self, argv: list[str], name: str, stdin: int = subprocess.DEVNULL) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()
        self._rest = b""
        try:
            # A session of its own: Ctrl-C is ours to pass on.
            self.process = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE,
                                            stderr=self._errors, start_new_session=True)
        except OSError as error:
            self._errors.close()
            raise HarnessError(f"{name} cannot be started: {error}.") from error
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.process.stdout, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, timeout: float) -> str:
        """The next line of its output; a HarnessError when it ends or does not come in time."""
        end = time.monotonic() + timeout
        while b"\n" not in self._rest:
            if not self._selector.select(max(0.0, end - time.monotonic())):
                raise HarnessError(f"{self.name} said nothing for {timeout:.0f} s"
                                   f"{self._last_words()}.")
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                raise HarnessError(f"{self.name} ended early with exit code "
                                   f"{self.process.wait(timeout=10)}{self._last_words()}.")
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")

    def check(self) -> None:
        """A HarnessError when it has ended by itself."""
        if self.process.poll() is not None:
            raise HarnessError(f"{self.name} ended by itself with exit code "
                               f"{self.process.returncode}{self._last_words()}.")

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1].rstrip('.')}" if lines else ""

    def stop(self, patience: float = 4.0, how: int = signal.SIGTERM) -> str:
        """Ends it; the rest of what it printed."""
        if self.process.stdout.closed:
            return ""
        if self.process.stdin:
            self.process.stdin.close()
            self.process.stdin = None
        try:
            for attempt in (how, signal.SIGKILL):
                if self.process.poll() is None:
                    self.process.send_signal(attempt)
                try:
                    said = self.process.communicate(timeout=patience)[0]
                    return (self._rest + said).decode(errors="replace")
                except subprocess.TimeoutExpired:
                    continue
            return ""
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._selector.close()
            self.process.stdout.close()
            self._errors.close()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop(patience=4.0 if kind is None else 0.5)


def tool(argv: list[str], timeout: float = 60) -> str:
    """The output of a short command; a HarnessError when it fails."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"{argv[0]} failed: {error}.") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise HarnessError(f"{' '.join(argv)} failed: {said[-1].rstrip('.')}.")
    return done.stdout
