#!/usr/bin/env bash
# Builds the responder on gVisor's netstack: `bench/gvisor/build.sh --help`.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: bench/gvisor/build.sh PROGRAM

Builds bench/gvisor/main.go as PROGRAM, from Debian's packages golang-go and
golang-gvisor-gvisor-dev alone: nothing is fetched. It prints the versions of both.
TEXT
}

fail() {
  echo "build.sh: $*" >&2
  exit 1
}

case "${1:-}" in
  --help | -h) usage; exit 0 ;;
  '' | -*) usage >&2; exit 1 ;;
esac
[ $# = 1 ] || fail "one program's name is needed and $# were given; see --help."

sources=/usr/share/gocode
command -v go >/dev/null || fail "there is no 'go': install Debian's golang-go."
[ -d $sources/src/gvisor.dev/gvisor/pkg/tcpip ] ||
  fail "there is no netstack below $sources: install Debian's golang-gvisor-gvisor-dev."

mkdir -p "$(dirname "$1")" || fail "the folder of '$1' cannot be made."
here=$(cd "$(dirname "$0")" && pwd)
GO111MODULE=off GOPATH=$sources GOFLAGS= GOPROXY=off go build -o "$1" "$here/main.go" ||
  fail "go could not build $here/main.go; its messages stand above."
version=$(dpkg-query -W -f='${Version}' golang-gvisor-gvisor-dev 2>/dev/null) || version=unknown
echo "gVisor netstack $version, $(go version | cut -d' ' -f3): $1"
