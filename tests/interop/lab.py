"""What the interop tests share: a private network namespace, processes, kernel-side peers.

A test file defines cases and ends with lab.main():

    @lab.case
    def curl_gets_a_file():
        with lab.http_server(root) as server:
            ...

Each case runs in a process that is the first of a network and process namespace of its own, so
that ports, device names and addresses are its own, and whatever it starts dies with it. Where that
is not possible the file exits with 77 and one sentence, which ctest shows as skipped. Waiting is
always for an event with a deadline, never for a time.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

SKIPPED = 77
HOST = "10.77.0.1"  # the kernel's end of the device
STACK = "10.77.0.2"  # answered by our stack
HOST6 = "fd77::1"
STACK6 = "fd77::2"
DEVICE = "rn0"

examples = None  # the folder of the example programs
folder = None  # a temporary folder, gone at the end
_cases = []


class Skip(Exception):
    """The machine cannot show this; the text says why in one sentence."""


def case(function):
    _cases.append(function)
    return function


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def expect_equal(got, wanted, what):
    expect(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def need(*tools):
    for tool in tools:
        if shutil.which(tool) is None:
            raise Skip(f"{tool} is not installed; tests/run.sh installs it.")


def run(*argv, timeout=120, check=True):
    """Runs a program to its end and gives what it printed (both streams)."""
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(f"{argv[0]} exited with {done.returncode}:\n{done.stdout}")
    return done.stdout


def until(condition, what, seconds=10, process=None):
    """Waits for a state of the kernel that sends no event, such as a port that answers."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process is not None and process.wait_exit(0.01):
            raise AssertionError(f"{process.name} ended before {what}:\n{process.text()}")
        if process is None:
            threading.Event().wait(0.01)
        expect(time.monotonic() < deadline, f"waited {seconds} s for {what}")


class Process:
    """A program in the background, with its output kept."""

    def __init__(self, *argv, name=None, stdin=subprocess.DEVNULL, stdout=None, **options):
        self.name = name or os.path.basename(str(argv[0]))
        self.lines = []
        self.expected = 0  # the exit code
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [str(a) for a in argv], stdin=stdin, stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE if stdout else subprocess.STDOUT, **options)
        self._pipe = self.process.stderr if stdout else self.process.stdout
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._pipe:
            with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()

    def text(self):
        return "\n".join(self.lines)

    def wait_line(self, pattern, seconds=10):
        """The first line that matches, waited for."""
        def found():
            return next((l for l in self.lines if re.search(pattern, l)), None)
        with self._changed:
            self._changed.wait_for(found, seconds)
            line = found()
        expect(line is not None, f"{self.name} did not print {pattern!r}:\n{self.text()}")
        return line

    def wait_exit(self, seconds):
        """The exit code is known within that time."""
        try:
            self.process.wait(seconds)
            self._reader.join(5)
            return True
        except subprocess.TimeoutExpired:
            return False

    def exit_code(self, seconds=30):
        expect(self.wait_exit(seconds), f"{self.name} did not end in {seconds} s:\n{self.text()}")
        return self.process.returncode

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def stop(self):
        """Ctrl-C unless it has ended by itself, and the exit code that has to follow."""
        if self.process.poll() is None:
            self.interrupt()
        expect_equal(self.exit_code(), self.expected,
                     f"exit code of {self.name}\n{self.text()}\n")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            try:
                self.stop()
            finally:
                self.kill()
        else:
            self.kill()
            print(f"--- {self.name} printed:\n{self.text()[-4000:]}", flush=True)


def example(name):
    return os.path.join(examples, name)


def tun_flags(device=DEVICE, host=HOST, stack=STACK):
    return ["--tun", device, "--tun-address", f"{host}/24", "--address", stack]


def tun_flags6():
    """The second family beside tun_flags."""
    return ["--tun-address6", f"{HOST6}/64", "--address6", STACK6]


def answers(address, port):
    try:
        socket.create_connection((address, port), timeout=1).close()
        return True
    except OSError:
        return False


def started(process, port):
    try:
        until(lambda: answers(STACK, port), f"port {port} answers", process=process)
    except BaseException:
        process.kill()
        raise
    return process


def http_server(root, *flags):
    return started(Process(example("http_server"), *tun_flags(), "--port", 80, "--root", root,
                           *flags), 80)


def echo_server(*flags):
    return started(Process(example("echo_server"), *tun_flags(), "--port", 7, *flags), 7)


def url(path="/hello", address=STACK, port=80):
    return f"http://{address}:{port}{path}" if port != 80 else f"http://{address}{path}"


def web_root(**files):
    """A folder to serve; the values are sizes or bytes."""
    root = tempfile.mkdtemp(dir=folder)
    for name, content in files.items():
        with open(os.path.join(root, name), "wb") as out:
            out.write(os.urandom(content) if isinstance(content, int) else content)
    return root


def nginx(root, port=8080, listen=""):
    """nginx on the kernel's side, unprivileged settings, its access log in <root>/../access."""
    need("nginx")
    base = tempfile.mkdtemp(dir=folder)
    log = os.path.join(base, "access")
    paths = "".join(f"{kind}_temp_path {base}/{kind};"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(os.path.join(base, "nginx.conf"), "w", encoding="utf-8") as out:
        out.write(f"daemon off; master_process off; pid {base}/pid; error_log stderr;"
                  "events { worker_connections 4096; }"
                  "http { " + paths +
                  "log_format short '$connection $connection_requests $status';"
                  f"access_log {log} short; keepalive_requests 100000;"
                  f"server {{ listen {HOST}:{port} backlog=4096 {listen}; root {root}; }} }}")
    server = Process("nginx", "-p", base, "-c", os.path.join(base, "nginx.conf"))
    server.access = log
    return server


def host_device(device=DEVICE, host=HOST):
    """An address of the kernel's side before the stack opens its device."""
    length = 128 if ":" in host else 32
    run("ip", "address", "replace", f"{host}/{length}", "dev", "lo")


def _namespace_command():
    """How to get a network and process namespace here, or None."""
    common = ["--net", "--pid", "--fork", "--kill-child"]
    ways = [["unshare", *common]] if os.geteuid() == 0 else []
    ways.append(["unshare", "--user", "--map-root-user", *common])
    for way in ways:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            if subprocess.run([*way, "true"], stdin=subprocess.DEVNULL, timeout=20,
                              capture_output=True).returncode == 0:
                return way
    return None


def _check_tun():
    try:
        with open("/dev/net/tun", "r+b", buffering=0) as device:
            fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"", 0x1001))
    except OSError as error:
        raise Skip(f"no TUN device can be opened here: {error}.") from error


def _title(function):
    return function.__name__.replace("_", " ")


def _run_inside(function):
    """One case, in its namespace: 0, 1 or SKIPPED."""
    global folder
    begin = time.monotonic()
    try:
        need("ip")
        run("ip", "link", "set", "lo", "up")
        with contextlib.suppress(OSError):
            with open("/proc/sys/net/ipv4/ip_local_port_range", "w", encoding="ascii") as out:
                out.write("1024 65535")
        _check_tun()
        with tempfile.TemporaryDirectory(prefix="runnel-") as folder:
            function()
    except Skip as reason:
        print(f"skipped  {_title(function)}: {reason}", flush=True)
        return SKIPPED
    except Exception:
        print(f"FAILED   {_title(function)}\n{traceback.format_exc()}", flush=True)
        return 1
    print(f"ok       {_title(function)} ({time.monotonic() - begin:.1f} s)", flush=True)
    return 0


def main():
    """usage: TEST.py EXAMPLES_FOLDER [part of a case's name]"""
    global examples
    if len(sys.argv) < 2:
        sys.exit(main.__doc__)
    examples = os.path.abspath(sys.argv[1])
    inside = os.environ.get("RUNNEL_LAB_CASE")
    if inside:
        sys.exit(_run_inside(next(c for c in _cases if c.__name__ == inside)))
    way = _namespace_command()
    if way is None:
        print("skipped: this user may not make a network namespace (unshare --user --net).")
        sys.exit(SKIPPED)
    os.environ["RUNNEL_LAB_USER"] = "mapped" if "--user" in way else "real"
    # A file may use what another one has without taking its cases over.
    own = [c for c in _cases if c.__module__ == "__main__"]
    wanted = [c for c in own if all(word in _title(c) for word in sys.argv[2:])]
    codes = []
    for function in wanted:
        codes.append(subprocess.run([*way, sys.executable, *sys.argv[:2]], check=False,
                                    stdin=subprocess.DEVNULL,
                                    env={**os.environ, "RUNNEL_LAB_CASE": function.__name__}
                                    ).returncode)
    if not codes or any(code not in (0, SKIPPED) for code in codes):
        sys.exit(1)
    sys.exit(SKIPPED if all(code == SKIPPED for code in codes) else 0)
