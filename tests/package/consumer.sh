#!/usr/bin/env bash
# consumer.sh PROJECT FOLDER "PROGRAM..." [cmake option...]: configures and builds the project in
# the folder as a user does, and runs the programs.
set -euo pipefail
project=$1 folder=$2 programs=$3
shift 3
rm -rf "$folder"
cmake -S "$project" -B "$folder" "$@"
cmake --build "$folder"
for program in $programs; do
  "$folder/$program"
done
