#!/usr/bin/env bash
# Installs what is missing, builds, runs all tests. `tests/run.sh --help` says the rest.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/packages.sh
. .ci/build.sh

usage() {
  cat <<'TEXT'
usage: tests/run.sh [--long] [--preset NAME] [--no-install] [ctest arguments...]

Installs the Debian or Ubuntu packages that are missing, configures and builds one preset in
build/NAME, runs its tests with ctest and ends with ctest's summary. The exit code is 0 when no test
failed.

  --preset NAME   release (the default), debug, asan, tsan, or clang
  --long          also the tests that take minutes (label long), and the long parts of the others
  --no-install    look for no packages; use what is there
  --help          this text

Everything else goes to ctest:
  tests/run.sh -R tcp             tests whose name matches
  tests/run.sh -L interop -V      the tests against the kernel's TCP, with their output
  tests/run.sh --preset asan -E interop
TEXT
}

preset=release
install=yes
long=
excluded=()
ctest_arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --long) long=yes ;;
    --no-install) install= ;;
    --preset)
      [ $# -gt 1 ] || { echo "tests/run.sh: --preset needs a name; see --help." >&2; exit 1; }
      preset=$2
      shift ;;
    --preset=*) preset=${1#*=} ;;
    -LE | --label-exclude)
      # ctest leaves out only what matches every -LE, so this one has to join our own.
      [ $# -gt 1 ] || { echo "tests/run.sh: $1 needs an expression." >&2; exit 1; }
      excluded+=("$2")
      shift ;;
    *) ctest_arguments+=("$1") ;;
  esac
  shift
done
case "$preset" in
  release | debug | asan | tsan | clang) ;;
  *) echo "tests/run.sh: no preset is called '$preset'; see --help." >&2; exit 1 ;;
esac

if [ -n "$install" ]; then packages_install build tests || exit 1; fi
if [ -n "$long" ]; then
  export RUNNEL_LONG=1
else
  excluded+=('^long$')
fi
if [ ${#excluded[@]} -gt 0 ]; then
  ctest_arguments+=(-LE "$(IFS='|'; echo "${excluded[*]}")")
fi

build_configure "$preset"
build_targets "$preset"
build_test "$preset" "build/$preset" "${ctest_arguments[@]}"
