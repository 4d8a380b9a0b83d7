#!/usr/bin/env bash
# The main job on this machine in one go: `examples/demo.sh --help`.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/packages.sh
. .ci/build.sh

usage() {
  cat <<'TEXT'
usage: examples/demo.sh [--seconds N] [--no-install]

Builds http_server, http_client and ss, makes a private network namespace and shows in it:
  - http_server on its own TCP behind a TUN device, asked by curl twice over one connection;
  - its connections as ss shows them, from another process;
  - the same under wrk for some seconds;
  - http_client, over the same TCP, fetching from a server on the kernel's TCP;
and prints a table of what was seen. Namespace, device and processes are gone afterwards, after
Ctrl-C too; what stays is the build in build/release. Without root it uses an unprivileged user
namespace. Where no TUN device can be opened, server and client run over the in-process link.

  --seconds N    how long wrk runs (5)
  --no-install   look for no packages; use what is there
TEXT
}

seconds=5
install=yes
inside=
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --no-install) install= ;;
    --seconds)
      [ $# -gt 1 ] && [ "$2" -gt 0 ] 2>/dev/null ||
        { echo "demo.sh: --seconds needs a number above 0." >&2; exit 1; }
      seconds=$2
      shift ;;
    --inside) # what the script calls itself with, in the namespace: its folder for files
      inside=$2
      shift ;;
    *) echo "demo.sh: unknown argument '$1'; see --help." >&2; exit 1 ;;
  esac
  shift
done

bin=$PWD/build/release/examples
host=10.77.0.1   # the kernel's end of the server's device
stack=10.77.0.2  # answered by http_server
client_host=10.77.1.1
client_stack=10.77.1.2

heading() { printf '\n== %s\n' "$1"; }

# row WHAT RESULT: a line of the summary.
row() { printf '  %-52s %s\n' "$1" "$2" >>"$inside/table"; }

# wait_for COMMAND...: until it succeeds; false after 10 s, or when the process $waited_on is gone.
wait_for() {
  local try
  for ((try = 0; try < 200; ++try)); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    kill -0 "$waited_on" 2>/dev/null || return 1
    sleep 0.05
  done
  return 1
}

start_server() {
  "$bin/http_server" --tun runnel0 --tun-address "$host/24" --address "$stack" --port 80 \
    --root "$inside/www" --inspect "$inside/inspect.sock" >"$inside/server.log" 2>&1 &
  server=$!
  waited_on=$server
  wait_for curl -s -o /dev/null --max-time 1 "http://$stack/hello"
}

stop_server() {
  local status=0
  kill -TERM "$server" 2>/dev/null || true
  wait "$server" || status=$?
  row "http_server told to stop" "exit code $status"
}

show_curl() {
  heading "curl, two requests over one connection to http://$stack"
  local format='  %{url_effective}: %{http_code}, %{size_download} bytes, '
  format+='%{num_connects} connects\n'
  local output
  output=$(curl -sS --max-time 20 -w "$format" -o "$inside/1" "http://$stack/hello" \
    -o "$inside/2" "http://$stack/megabyte") || { row "curl" "failed"; return; }
  echo "$output"
  local bytes=other
  if cmp -s "$inside/2" "$inside/www/megabyte"; then bytes=equal; fi
  row "curl, 2 requests" "$(grep -c ': 200' <<<"$output") answers, bytes $bytes, connections: $(
    grep -c ' 1 connects' <<<"$output")"
}

show_ss() {
  heading "ss -tan, which asks http_server"
  local output
  if ! output=$("$bin/ss" -S "$inside/inspect.sock" -tan 2>&1); then
    row "ss" "failed: $output"
    return
  fi
  echo "$output" | sed 's/^/  /'
  row "ss -tan" "$(tail -n +2 <<<"$output" | wc -l) sockets"
}

show_wrk() {
  heading "wrk, 64 connections, $seconds s"
  if ! command -v wrk >/dev/null; then row "wrk" "is not installed"; return; fi
  local output
  output=$(wrk -t1 -c64 -d"${seconds}s" --latency "http://$stack/hello") || true
  echo "$output" | sed 's/^/  /'
  local rate errors p99
  rate=$(awk '/Requests\/sec/ { print int($2) }' <<<"$output")
  p99=$(awk '$1 == "99%" { print $2 }' <<<"$output")
  errors=$(sed -n 's/.*Socket errors: //p' <<<"$output")
  row "wrk, 64 keep-alive connections, $seconds s" \
    "${rate:-0} requests/s, p99 ${p99:-?}, socket errors: ${errors:-none}"
}

start_kernel_server() {
  ip address add "$client_host/32" dev lo
  if command -v nginx >/dev/null; then
    kernel_server=nginx
    local temp
    temp=$(printf "%s_temp_path $inside/%s; " client_body client_body proxy proxy fastcgi fastcgi \
      uwsgi uwsgi scgi scgi)
    echo "daemon off; master_process off; pid $inside/pid; error_log $inside/nginx.log;
      events {} http { $temp access_log off; server { listen $client_host:8080;
      root $inside/www; } }" >"$inside/nginx.conf"
    nginx -p "$inside" -c "$inside/nginx.conf" &
  else
    kernel_server="python3 -m http.server"
    python3 -m http.server --bind "$client_host" --directory "$inside/www" 8080 \
      >/dev/null 2>&1 &
  fi
  waited_on=$!
  wait_for curl -s -o /dev/null --max-time 1 "http://$client_host:8080/hello"
}

show_client() {
  heading "http_client over its own TCP, 2000 requests to a server on the kernel's TCP"
  if ! start_kernel_server; then
    row "http_client" "failed: the kernel-side server did not start"
    return
  fi
  local output what
  if output=$("$bin/http_client" --tun runnel1 --tun-address "$client_host/24" \
    --address "$client_stack" -n 2000 -c 16 "http://$client_host:8080/hello" 2>&1); then
    what=$(sed -n '/per second\|\/s/{p;q}' <<<"$output" | xargs)
  else
    what="failed"
  fi
  echo "$output" | sed 's/^/  /'
  row "http_client, 2000 requests to $kernel_server" "${what:-2000 answers}"
}

show_in_process() {
  heading "server and client over the in-process link"
  local output
  if output=$("$bin/http_client" --in-process -n 20000 -c 64 2>&1); then
    row "in-process, 64 connections, 20000 requests" \
      "$(sed -n '/per second\|\/s/{p;q}' <<<"$output" | xargs)"
  else
    row "in-process" "failed"
  fi
  echo "$output" | sed 's/^/  /'
}

show_table() {
  heading "summary ($(uname -sr), $(nproc) cores)"
  cat "$inside/table"
  if grep -q failed "$inside/table"; then return 1; fi
}

# Runs as the first process of the private namespace: when it ends, everything in there ends.
run_inside() {
  trap 'exit 130' INT TERM
  ip link set lo up
  if ! start_server; then
    wait "$server" 2>/dev/null || true
    tail -n 1 "$inside/server.log" >"$inside/reason"
    exit 42
  fi
  show_curl
  show_ss
  show_wrk
  show_client
  stop_server
  show_table
}

# namespace COMMAND...: runs it in a network and process namespace; 43 where there can be none.
namespace() {
  local flags=(--net --pid --fork --kill-child)
  if [ "$(id -u)" = 0 ] && unshare "${flags[@]}" true 2>/dev/null; then
    unshare "${flags[@]}" "$@"
  elif unshare --user --map-root-user "${flags[@]}" true 2>/dev/null; then
    unshare --user --map-root-user "${flags[@]}" "$@"
  else
    echo "This user may not make a network namespace (unshare --user --net)." >"$work/reason"
    return 43
  fi
}

if [ -n "$inside" ]; then
  run_inside
  exit
fi

if [ -n "$install" ]; then packages_install build demo || exit 1; fi
build_configure release
build_targets release http_server http_client ss

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/www"
head -c 1048576 /dev/urandom >"$work/www/megabyte"
echo "hello" >"$work/www/hello"

status=0
namespace "$0" --inside "$work" --seconds "$seconds" || status=$?
case "$status" in
  42 | 43)
    echo "No TUN device here, so the in-process link takes its place: $(cat "$work/reason")"
    inside=$work
    show_in_process
    status=0
    show_table || status=1 ;;
esac
exit "$status"
