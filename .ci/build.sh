# Configure and build with one line of progress. Sourced by tests/run.sh, examples/demo.sh, .ci/run.

# build_configure PRESET [cmake option...]: quiet unless it fails.
build_configure() {
  local preset=$1 log
  shift
  log=$(mktemp)
  if ! cmake --preset "$preset" "$@" >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    echo "cmake could not configure the preset $preset; its messages stand above." >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# build_targets PRESET [target...]: at a terminal ninja redraws one line; elsewhere each tenth of
# the way prints one. What the compiler says is never hidden.
build_targets() {
  local preset=$1
  shift
  local targets=()
  [ $# = 0 ] || targets=(--target "$@")
  echo "Building $preset in build/$preset"
  if [ -t 1 ]; then
    NINJA_STATUS="[%f/%t, %es] " cmake --build --preset "$preset" "${targets[@]}" </dev/null
    return
  fi
  NINJA_STATUS="@@ %p %f %t %e " cmake --build --preset "$preset" "${targets[@]}" </dev/null 2>&1 |
    awk '
      $1 == "@@" {
        last = $0
        tenth = int($2 / 10)
        if (tenth != shown) {
          shown = tenth
          printf "  %3d%%  %s of %s steps, %d s\n", $2, $3, $4, $5
          fflush()
        }
        next
      }
      $1 == "FAILED:" { sub(/^@@ +[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ +/, "", last); print "While: " last }
      { print; fflush() }'
  return "${PIPESTATUS[0]}"
}

# build_test PRESET FOLDER [ctest argument...]: runs the tests below that folder of the build tree.
build_test() {
  local preset=$1 folder=$2 launcher=()
  shift 2
  # g++ 12's ThreadSanitizer refuses the wider address space layout of newer kernels' defaults.
  if [ "$preset" = tsan ] && setarch -R true 2>/dev/null; then launcher=(setarch -R); fi
  "${launcher[@]}" ctest --test-dir "$folder" --output-on-failure --no-tests=error -j "$(nproc)" \
    "$@" </dev/null
}
