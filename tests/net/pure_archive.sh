#!/bin/sh
# pure_archive.sh NM ARCHIVE: fails when the archive refers to a clock, a random source, a
# descriptor, a thread or liburing.
set -eu
symbols=$("$1" --undefined-only "$2" | awk '$1 == "U" { print $2 }' | sort -u)
forbidden='^(clock_|gettimeofday|time$|getrandom|getentropy|rand|random|socket|send|recv'
forbidden="$forbidden|read\$|write\$|open|ioctl|poll|epoll|pthread_|mtx_|io_uring|syscall"
forbidden="$forbidden|_ZNSt6chrono|_ZNSt13random_device)"
bad=$(printf '%s\n' "$symbols" | grep -E "$forbidden" || true)
[ -z "$bad" ] || { printf '%s refers to:\n%s\n' "$2" "$bad" >&2; exit 1; }
[ -n "$symbols" ] || { printf '%s has no symbols\n' "$2" >&2; exit 1; }
