#!/usr/bin/env bash
# How http_server on our own TCP over TUN compares with nginx on the kernel's TCP over veth, on this
# machine: `bench/http.sh --help`.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/packages.sh
. .ci/build.sh

usage() {
  cat <<'TEXT'
usage: bench/http.sh [--rounds N] [--seconds S] [--connections C] [--no-install]

Serves the same small answer by http_server on a TUN device and by nginx on a veth pair, both
inside private network namespaces, and asks each in turn (A B B A ...) with wrk from the kernel's
TCP:

  CPS   a connection for each request; the server closes
  RPS   keep-alive connections

The server is pinned to the first core, wrk to the second. Both device queues hold 10,000 packets,
TIME_WAIT is 60 s, congestion control is cubic where the machine allows it. Printed are medians
with minimum and maximum over the rounds, the median of the paired ratios, and the server's CPU
time for each request.

  --rounds N       how often each is asked (5; 21 for a figure that is to be claimed)
  --seconds S      how long wrk runs each time (3)
  --connections C  how many connections wrk keeps busy (64)
  --no-install     look for no packages; use what is there
TEXT
}

rounds=5
seconds=3
connections=64
install=yes
inside=
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --no-install) install= ;;
    --rounds | --seconds | --connections)
      [ $# -gt 1 ] && [ "$2" -gt 0 ] 2>/dev/null ||
        { echo "http.sh: $1 needs a number above 0." >&2; exit 1; }
      printf -v "${1#--}" '%s' "$2"
      shift ;;
    --inside) # what the script calls itself with, in the namespace: its folder for files
      inside=$2
      shift ;;
    *) echo "http.sh: unknown argument '$1'; see --help." >&2; exit 1 ;;
  esac
  shift
done

bin=$PWD/build/release/examples
server_core=0
client_core=1
declare -A address=([runnel]=10.77.0.2 [nginx]=10.78.0.2)

wait_for() { # ADDRESS PID
  local try
  for ((try = 0; try < 200; ++try)); do
    curl -s -o /dev/null --max-time 1 "http://$1/hello" && return 0
    kill -0 "$2" 2>/dev/null || return 1
    sleep 0.05
  done
  return 1
}

# use_cubic [COMMAND...]: a machine's default may pace. Where it may not be changed it stays.
use_cubic() { "$@" sysctl -qw net.ipv4.tcp_congestion_control=cubic 2>/dev/null || true; }

start_runnel() {
  taskset -c $server_core "$bin/http_server" --tun runnel0 --tun-address 10.77.0.1/24 \
    --address "${address[runnel]}" --port 80 --keepalive-requests 1000000 \
    >"$inside/runnel.log" 2>&1 &
  pid[runnel]=$!
  wait_for "${address[runnel]}" "${pid[runnel]}" || {
    tail -n 1 "$inside/runnel.log" >&2
    exit 1
  }
}

start_nginx() {
  unshare --net sleep infinity &
  local space=$!
  local try
  for ((try = 0; try < 100; ++try)); do
    [ "$(readlink "/proc/$space/ns/net")" = "$(readlink /proc/self/ns/net)" ] || break
    sleep 0.02
  done
  ip link add veth0 txqueuelen 10000 type veth peer name veth1 netns "$space"
  ip address add 10.78.0.1/24 dev veth0
  ip link set veth0 up
  in_space() { nsenter -t "$space" -n "$@"; }
  in_space ip link set lo up
  in_space ip address add "${address[nginx]}/24" dev veth1
  in_space ip link set veth1 up txqueuelen 10000
  in_space sysctl -qw net.core.somaxconn=4096
  use_cubic in_space
  local temp
  temp=$(printf "%s_temp_path $inside/%s; " client_body client_body proxy proxy fastcgi fastcgi \
    uwsgi uwsgi scgi scgi)
  echo "daemon off; master_process off; pid $inside/pid; error_log $inside/nginx.log;
    events { worker_connections 8192; } http { $temp access_log off; keepalive_requests 1000000;
    server { listen ${address[nginx]}:80 backlog=4096; location / { default_type text/plain;
    return 200 'Hello, world!\n'; } } }" >"$inside/nginx.conf"
  in_space taskset -c $server_core nginx -p "$inside" -c "$inside/nginx.conf" 2>/dev/null &
  waited=$!
  wait_for "${address[nginx]}" "$waited" || { echo "nginx did not start." >&2; exit 1; }
  pid[nginx]=$(cat "$inside/pid")
}

# cpu_ticks PID: user and system time so far.
cpu_ticks() { awk '{ print $14, $15 }' "/proc/$1/stat"; }

# measure CONTENDER FIGURE: one run; appends "rate user_us sys_us errors" to its file.
measure() {
  local who=$1 figure=$2 header=() before after output
  [ "$figure" = RPS ] || header=(-H 'Connection: close')
  before=$(cpu_ticks "${pid[$who]}")
  output=$(taskset -c $client_core wrk -t1 -c"$connections" -d"${seconds}s" "${header[@]}" \
    "http://${address[$who]}/hello")
  after=$(cpu_ticks "${pid[$who]}")
  awk -v before="$before" -v after="$after" -v tick="$(getconf CLK_TCK)" '
    /requests in/ { count = $1 }
    /Requests\/sec/ { rate = $2 }
    /Socket errors/ { gsub(",", ""); errors = $4 + $6 + $8 + $10 }
    /Non-2xx/ { errors += $NF }
    END {
      split(before, b); split(after, a)
      each = count > 0 ? 1e6 / tick / count : 0
      printf "%.0f %.2f %.2f %d\n", rate, (a[1] - b[1]) * each, (a[2] - b[2]) * each, errors
    }' <<<"$output" >>"$inside/$figure.$who"
}

# summary FIGURE: the lines of the table.
summary() {
  paste -d' ' "$inside/$1.runnel" "$inside/$1.nginx" | awk -v figure="$1" '
    function median(list, n,   i, j, t) {
      for (i = 2; i <= n; ++i)
        for (j = i; j > 1 && list[j] < list[j - 1]; --j) {
          t = list[j]; list[j] = list[j - 1]; list[j - 1] = t
        }
      return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
    }
    { a[NR] = $1; au[NR] = $2; as[NR] = $3; ae += $4; b[NR] = $5; bu[NR] = $6; bs[NR] = $7; be += $8
      r[NR] = $5 > 0 ? $1 / $5 : 0 }
    function line(name, rate, user, sys, errors, ratio,   m) {
      m = median(rate, NR)
      printf "  %-5s %-26s %9d  (%d - %d) %8.2f + %5.2f %8d %9s\n", figure, name, m, rate[1], \
        rate[NR], median(user, NR), median(sys, NR), errors, ratio
    }
    END {
      line("http_server on TUN", a, au, as, ae, sprintf("%.2f", median(r, NR)))
      line("nginx on veth", b, bu, bs, be, "")
    }'
}

run_inside() {
  trap 'exit 130' INT TERM
  declare -gA pid=()
  ip link set lo up
  sysctl -qw net.ipv4.ip_local_port_range='1024 65535'
  use_cubic
  start_runnel
  start_nginx
  local round figure who order
  for figure in CPS RPS; do
    for ((round = 1; round <= rounds; ++round)); do
      printf '\r%s: round %d of %d ' "$figure" "$round" "$rounds" >&2
      order="runnel nginx"
      ((round % 2)) || order="nginx runnel"
      for who in $order; do measure "$who" "$figure"; done
    done
  done
  printf '\r                              \r' >&2
  printf '%d rounds of %d s, %d connections, %s, %s, kernel side with %s\n\n' "$rounds" \
    "$seconds" "$connections" "$(uname -sr)" \
    "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
    "$(cat /proc/sys/net/ipv4/tcp_congestion_control)"
  printf '  %-5s %-26s %9s  %-17s %14s %8s %9s\n' "" "" "median/s" "(min - max)" "user + sys us" \
    errors ratio
  summary CPS
  summary RPS
}

if [ -n "$inside" ]; then
  run_inside
  exit
fi

if [ "$(nproc)" -lt 2 ]; then
  echo "http.sh: needs two cores, one for the server and one for wrk; this machine has one." >&2
  exit 1
fi
if [ -n "$install" ]; then packages_install build demo tests || exit 1; fi
build_configure release
build_targets release http_server >&2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
spaces=(--net --pid --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || spaces=(--user --map-root-user "${spaces[@]}")
unshare "${spaces[@]}" "$0" --inside "$work" --rounds "$rounds" --seconds "$seconds" \
  --connections "$connections"
