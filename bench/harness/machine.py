"""What numbers were measured on, for the results."""

import datetime
import os
import platform
import re
import subprocess

from .contenders import Paths


def said(*argv: str) -> str:
    """What a command prints, both ways; nothing when it is not there."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else ""


def file_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()
    except OSError:
        return ""


def siblings(core: int) -> set[int]:
    """The processors that are threads of the same core, itself among them."""
    text = file_text(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    found = {core}
    for first_one, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found |= set(range(int(first_one), int(last or first_one) + 1))
    return found


def package(name: str) -> str:
    return said("dpkg-query", "-W", "-f=${Version}", name)


def compiler(build: str) -> dict[str, str]:
    cache = file_text(os.path.join(build, "CMakeCache.txt"))
    program = first(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", cache)
    kind = first(r"^CMAKE_BUILD_TYPE:\w+=(.*)$", cache)
    flags = [first(rf"^CMAKE_CXX_FLAGS{suffix}:\w+=(.*)$", cache)
             for suffix in ("", f"_{kind.upper()}")]
    return {"program": (said(program, "--version").splitlines() or [program])[0] if program else "",
            "build_type": kind, "flags": " ".join(each for each in flags if each)}


def describe(paths: Paths, root: str) -> dict[str, object]:
    """Kernel, processor, versions, commit: everything that is the same for the whole run."""
    processor = file_text("/proc/cpuinfo")
    # The checkout may be another user's.
    git = ("git", "-c", f"safe.directory={root}", "-C", root)
    commit = said(*git, "rev-parse", "HEAD")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit,
        "dirty": bool(said(*git, "status", "--porcelain", "--", ":!bench/results")),
        "kernel": f"{platform.system()} {platform.release()}",
        "processor": first(r"^model name\s*: (.*)$", processor) or platform.machine(),
        "cores": os.cpu_count(),
        "virtual": "hypervisor" in first(r"^flags\s*: (.*)$", processor).split(),
        "compiler": compiler(paths.build),
        "time_wait_s": 60,
        "versions": versions(paths),
    }


def versions(paths: Paths) -> dict[str, str]:
    lwip = first(r"^RUNNEL_LWIP:\w+=(.*)$",
                 file_text(os.path.join(paths.build, "CMakeCache.txt")))
    init = file_text(os.path.join(lwip, "src/include/lwip/init.h")) if lwip else ""
    numbers = [first(rf"^#define LWIP_VERSION_{part}\s+(\d+)", init)
               for part in ("MAJOR", "MINOR", "REVISION")]
    found = {
        "lwip": ".".join(numbers) if all(numbers) else "",
        "gvisor": package("golang-gvisor-gvisor-dev"),
        "go": said("go", "version").removeprefix("go version "),
        "nginx": said(paths.program("nginx"), "-v").removeprefix("nginx version: "),
        "boost": package("libboost1.81-dev") or package("libboost-dev"),
        "liburing": package("liburing-dev"),
    }
    return {name: text for name, text in found.items() if text}
