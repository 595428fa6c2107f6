#!/usr/bin/env bash
# Usage: stress.sh [TIMES]. Runs the tests so many times (10) beside a load of their own, two busy processes a core, and
# ends at the first failure: a test that only passes on an idle machine is a defect.
set -euo pipefail
cd "$(dirname "$0")/.."
times=${1:-10}
load=()
trap 'kill "${load[@]}" 2> /dev/null || true' EXIT
for _ in $(seq $((2 * $(nproc)))); do
  (while :; do :; done) &
  load+=($!)
done
for n in $(seq "$times"); do
  echo "stress: run $n of $times"
  .ci/test.sh
done
echo "stress: green $times times"
