# Debian and Ubuntu packages: which ones a job needs, and how they get installed.
# Sourced by tests/run.sh, examples/demo.sh, bench/run.sh and .ci/run; it runs nothing by itself.

# packages_for build|demo|tests|bench|peers|ci ...: prints the packages of those jobs, one per line.
packages_for() {
  local job
  for job in "$@"; do
    case "$job" in
      build)
        echo g++ cmake ninja-build pkg-config liburing-dev doctest-dev libcli11-dev \
          libtomlplusplus-dev libc-ares-dev
        boost_packages
        ;;
      demo) echo iproute2 util-linux curl wrk python3 ;;
      tests)
        echo iproute2 iputils-ping util-linux binutils curl wrk python3 apache2-utils nginx tshark \
          valgrind strace
        ;;
      bench)
        echo python3 iproute2 util-linux gnuplot-nox strace libbenchmark-dev valgrind xz-utils git
        ;;
      peers) peer_packages ;;
      ci) echo clang-19 clang-format-14 doxygen ;;
      *) echo "packages_for: no job is called $job" >&2; return 1 ;;
    esac
  done | tr ' ' '\n' | sort -u
}

# Boost 1.81 or newer. Debian 12 calls it libboost1.81-dev beside an older default; where the
# default is new enough, the default is it.
boost_packages() {
  if apt-cache show libboost-context1.81-dev >/dev/null 2>&1; then
    echo libboost1.81-dev libboost-context1.81-dev
  else
    echo libboost-dev libboost-context-dev
  fi
}

# What our benchmarks are compared with, and what only some systems have to count with: those of
# them that this one knows.
peer_packages() {
  local name
  for name in nginx golang-go golang-gvisor-gvisor-dev linux-perf; do
    if apt-cache show "$name" >/dev/null 2>&1; then echo "$name"; fi
  done
}

# packages_missing NAME...: prints those that are not installed.
packages_missing() {
  local name
  for name in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
  done
}

# packages_install JOB...: installs what these jobs miss. Says what it installs. Where it has no
# right to, it says which line to run and returns 1. On a system without apt it says what is needed
# and returns 0, so that the build may try with what is there.
packages_install() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "This system has no apt; going on with what is installed. Debian's names of what is" \
      "needed: $(packages_for "$@" | xargs)." >&2
    return 0
  fi
  # A machine that never fetched its lists does not know which Boost packages it has.
  if ! apt-cache show libboost-dev >/dev/null 2>&1 && packages_rights; then packages_update; fi
  local missing
  missing=$(packages_missing $(packages_for "$@"))
  [ -n "$missing" ] || return 0
  missing=$(echo $missing)
  if ! packages_rights; then
    echo "Packages are missing and this user may not install them. Run:" >&2
    echo "  sudo apt-get install --no-install-recommends $missing" >&2
    return 1
  fi
  echo "Installing with apt-get: $missing"
  packages_update && packages_apt install -y --no-install-recommends $missing
}

# True when this user can run apt-get: root, sudo without a password, or sudo at a terminal.
packages_rights() {
  [ "$(id -u)" = 0 ] && return 0
  command -v sudo >/dev/null || return 1
  sudo -n true 2>/dev/null || [ -t 0 ]
}

# The lists are fetched at most once; a second try covers a mirror that was busy.
packages_update() {
  [ -z "${packages_updated:-}" ] || return 0
  packages_apt update || { sleep 5; packages_apt update; } || return 1
  packages_updated=yes
}

# apt-get, quiet unless it fails. Debian starts a web server as soon as it is installed; the policy
# file says no to that for as long as apt-get runs.
packages_apt() {
  local as_root=() log policy=/usr/sbin/policy-rc.d own_policy=
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  log=$(mktemp)
  if [ "$1" = install ] && [ ! -e "$policy" ]; then
    own_policy=yes
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod +x "$policy"
  fi
  local status=0
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q \
    -o Acquire::Retries=2 -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 </dev/null || status=$?
  [ -z "$own_policy" ] || "${as_root[@]}" rm -f "$policy"
  if [ "$status" != 0 ]; then
    tail -n 20 "$log" >&2
    echo "apt-get $1 failed (exit code $status); its last lines stand above." >&2
  fi
  rm -f "$log"
  return "$status"
}
