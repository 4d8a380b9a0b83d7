#!/usr/bin/env bash
# Fetches the source of lwIP, as the system's Debian or Ubuntu has it: `bench/lwip/fetch.sh --help`.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: bench/lwip/fetch.sh FOLDER

Leaves the source of lwIP in FOLDER/source and its Debian version in FOLDER/version, for
`cmake -DRUNNEL_LWIP=FOLDER/source`. It asks the system's own package sources for it, with a copy of
their list that has the source packages, too; the system's configuration stays as it is. Debian's
patches are left out: they touch sockets, threads, PPP and Debian's port, none of which is built
here. Where FOLDER has it already, nothing is fetched.
TEXT
}

fail() {
  echo "fetch.sh: $*" >&2
  exit 1
}

case "${1:-}" in
  --help | -h) usage; exit 0 ;;
  '' | -*) usage >&2; exit 1 ;;
esac
[ $# = 1 ] || fail "one folder is needed and $# were given; see --help."

mkdir -p "$1" || fail "the folder '$1' cannot be made."
folder=$(cd "$1" && pwd)
if [ -s "$folder/version" ] && [ -f "$folder/source/src/core/tcp.c" ]; then
  echo "lwIP $(cat "$folder/version") is there already."
  exit 0
fi

for tool in apt-get tar xz; do
  command -v "$tool" >/dev/null ||
    fail "there is no '$tool' (Debian: apt, tar, xz-utils); without it lwIP's source stays away."
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial"

# source_lists: the system's package sources, in either form, with source packages only.
source_lists() {
  local file name
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    sed 's/^Types:.*/Types: deb-src/' "$file" >"$work/parts/${file##*/}"
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    name=${file##*/}
    sed -n 's/^deb\([[:space:]]\)/deb-src\1/p' "$file" >"$work/parts/${name%.list}_own.list"
  done
}

# apt ARGUMENT...: apt-get that knows of these lists only.
apt() {
  timeout 120 apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts" \
    -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o Acquire::Retries=2 \
    -o APT::Sandbox::User="$(id -un)" "$@" >"$work/log" 2>&1 </dev/null && return
  tail -n 5 "$work/log" >&2
  return 1
}

source_lists
apt -o APT::Update::Error-Mode=any update ||
  fail "the lists of source packages could not be fetched; apt's last lines stand above."
(cd "$work" && apt source --download-only lwip) ||
  fail "no source package 'lwip' could be fetched; apt's last lines stand above."
archive=$(find "$work" -maxdepth 1 -name 'lwip_*.orig.tar.*' ! -name '*.asc' | head -n 1)
[ -n "$archive" ] || fail "the source package of lwIP has no archive of the original source."
version=$(sed -n 's/^Version: //p' "$work"/lwip_*.dsc | head -n 1)

rm -rf "$folder/source" "$folder/version"
mkdir "$folder/source"
tar -xf "$archive" -C "$folder/source" --strip-components=1 ||
  fail "the archive ${archive##*/} could not be unpacked into '$folder/source'."
[ -f "$folder/source/src/core/tcp.c" ] ||
  fail "the archive ${archive##*/} has no src/core/tcp.c: it is not the lwIP that is known here."
echo "${version:-unknown}" >"$folder/version"
echo "lwIP $(cat "$folder/version") is in $folder/source."
