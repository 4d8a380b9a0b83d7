#!/usr/bin/env bash
# pkg_config.sh COMPILER PREFIX CONSUMER FOLDER: a compiler's line with what pkg-config says.
set -euo pipefail
compiler=$1 prefix=$2 consumer=$3 folder=$4
PKG_CONFIG_PATH=$(echo "$prefix"/lib*/pkgconfig "$prefix"/lib/*/pkgconfig | tr ' ' ':')
export PKG_CONFIG_PATH
rm -rf "$folder"
mkdir -p "$folder"
build() {
  "$compiler" -std=c++20 -Wall -Wextra -Werror "$consumer/$1_program.cpp" \
    -o "$folder/$1_program" $(pkg-config --cflags --libs --static "$2")
  "$folder/$1_program"
}
build runtime runnel-runtime
build tcp runnel
for module in "$prefix"/lib*/pkgconfig/*.pc; do
  pkg-config --print-errors --exists "$(basename "$module" .pc)"
done
