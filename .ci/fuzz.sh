#!/usr/bin/env bash
# Usage: .ci/fuzz.sh TIME
# Runs every fuzz target for TIME. Finding none is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
count=0
while IFS=: read -r file target; do
  pkg=./$(dirname "$file")
  # A target behind a build tag, or renamed since, would pass without running.
  listed=$(go test -list "^$target\$" "$pkg")
  grep -qx "$target" <<< "$listed" || { echo "$pkg has no $target" >&2; exit 1; }
  echo "fuzz: $pkg $target"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$pkg"
  count=$((count + 1))
done < <(git grep --no-color -E '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go' | sed -E 's/^([^:]+):func (Fuzz[A-Za-z0-9_]*)\(.*/\1:\2/')
if [ "$count" -eq 0 ]; then
  echo "fuzz: no target found" >&2
  exit 1
fi
echo "fuzz: $count targets"
