#!/usr/bin/env bash
# Measures runnel beside its peers, in one run and in turn: `bench/run.sh --help`.
set -euo pipefail
called_from=$PWD
cd "$(dirname "$0")/.."
. .ci/packages.sh
. .ci/build.sh

usage() {
  cat <<'TEXT'
usage: bench/run.sh [--rounds N] [--seconds S] [--results FOLDER] [--only CONTENDER]...
                    [--long] [--update-readme] [--no-install] [--no-build] [NAME...]
       bench/run.sh --list

Installs the peers, builds them and us, and measures figures: every contender in turn, forwards in
one round and backwards in the next (A B B A ...), each measurement in network namespaces of its
own, the server on the first core and the client on another. Prints a table for each figure, and
leaves JSON with every single value, PNG and SVG charts in FOLDER. NAME is a figure or a group of
--list; without one all are measured. A peer that cannot be installed or built is named and left
out. Ctrl-C ends the run, which keeps and shows what it has measured; nothing else stays but the
builds in build/release and build/peers.

  --rounds N        rounds of each figure (5; 21 for a figure that is to be claimed)
  --seconds S       how long each measurement lasts (1; two at least with thousands at once)
  --results FOLDER  where files go (bench/results): run.json and the charts are of this run,
                    latest.json keeps the last whole run of each figure
  --only CONTENDER  no other one; may be given more than once
  --long            also the figures of minutes, which else are measured only by their names
  --update-readme   put tables of FOLDER/latest.json into bench/README.md and README.md; a run of
                    all figures into bench/results does so by itself
  --list            print figures with their groups and contenders, and measure nothing
  --no-install      look for no packages; use what is there
  --no-build        build nothing; use what is there
  --help            this text

Without root it uses an unprivileged user namespace, and the packages must be there.
TEXT
}

fail() {
  echo "run.sh: $*" >&2
  exit 1
}

install=yes
build=yes
list=
results=bench/results
given=()
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --no-install) install= ;;
    --no-build) build= ;;
    --list) list=yes; given+=("$1") ;;
    --long | --update-readme) given+=("$1") ;;
    --rounds | --seconds)
      [[ ${2:-} =~ ^[0-9]*\.?[0-9]+$ && ! ${2:-} =~ ^[0.]*$ ]] ||
        fail "$1 needs a number above 0."
      [[ $1 != --rounds || $2 != *.* ]] || fail "--rounds needs a whole number."
      given+=("$1" "$2")
      shift ;;
    --results | --only)
      [ $# -gt 1 ] || fail "$1 needs a name behind it; see --help."
      if [ "$1" = --only ]; then
        given+=("$1" "$2")
      else
        results=$2
        [[ $results == /* ]] || results=$called_from/$results
      fi
      shift ;;
    -*) fail "there is no flag '$1'; see --help." ;;
    *) given+=("$1") ;;
  esac
  shift
done

# harness ARGUMENT...: in front of it goes what makes namespaces for it, if anything.
harness() {
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=bench "${wrapped[@]}" python3 -m harness \
    --results "$results" --build "$PWD/build/release" --peers "$PWD/build/peers" "$@"
}

# fetch_peers: what is no package of a binary. Each one that fails says why itself, and what it may
# have left of an earlier run is not to be measured.
fetch_peers() {
  if ! bench/lwip/fetch.sh build/peers/lwip >&2; then
    rm -rf build/peers/lwip build/release/bench/lwip/lwip_*
    echo "lwIP is left out: its source could not be fetched; the reason stands above." >&2
  fi
  if ! bench/gvisor/build.sh build/peers/gvisor_http >&2; then
    rm -f build/peers/gvisor_http
    echo "gVisor is left out: its server could not be built; the reason stands above." >&2
  fi
}

# build_ours: what must be there first, then all other programs of bench/, of which some may fail.
build_ours() {
  local lwip=
  [ ! -f build/peers/lwip/source/src/core/tcp.c ] || lwip=$PWD/build/peers/lwip/source
  build_configure release -DRUNNEL_BUILD_BENCH=ON -DRUNNEL_BUILD_EXAMPLES=ON "-DRUNNEL_LWIP=$lwip"
  build_targets release http_server responder bench_client >&2
  build_targets release bench/all -- -k 0 >&2 ||
    echo "Some programs were not built, as said above; their figures or peers are left out." >&2
}

command -v python3 >/dev/null || packages_install bench || exit 1
wrapped=(env)
if [ -n "$list" ]; then
  harness "${given[@]}"
  exit
fi
# A name that is not known shall not cost a build.
harness --check "${given[@]}"
mkdir -p "$results" || fail "the folder '$results' for the results cannot be made."
if [ -n "$install" ]; then
  packages_install build bench || exit 1
  packages_install peers || echo "Peers that are not installed are left out." >&2
fi
if [ -n "$build" ]; then
  fetch_peers
  build_ours
fi

# Children of a killed run end with their process namespace.
spaces=(--net --mount --pid --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || spaces=(--user --map-root-user "${spaces[@]}")
unshare "${spaces[@]}" true 2>/dev/null ||
  fail "no namespaces can be made here: run it as root, or allow them to users by" \
    "'sysctl kernel.unprivileged_userns_clone=1' or" \
    "'sysctl kernel.apparmor_restrict_unprivileged_userns=0'."

# Ctrl-C is the harness's: it ends its children and shows what it has.
trap : INT TERM
wrapped=(unshare "${spaces[@]}")
harness "${given[@]}"
