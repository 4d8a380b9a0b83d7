#!/usr/bin/env bash
# install.sh BUILD PREFIXES "COMPONENT NEEDS..."...: installs all that was built into PREFIXES/all,
# and each component with what it needs alone into PREFIXES/COMPONENT.
set -euo pipefail
build=$1 prefixes=$2
shift 2
rm -rf "$prefixes"
cmake --install "$build" --prefix "$prefixes/all" >/dev/null
for row in "$@"; do
  set -- $row
  for component in "$@"; do
    cmake --install "$build" --prefix "$prefixes/$1" --component "runnel_$component" >/dev/null
  done
done

# What was installed may lie anywhere.
if grep -rnF "$(dirname "$prefixes")" "$prefixes/all/lib"*/{cmake,pkgconfig}; then
  echo "The lines above name the folder of this build." >&2
  exit 1
fi
