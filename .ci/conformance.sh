#!/usr/bin/env bash
# Fails where docs/conformance.md or SECURITY.md names a test that does not exist: a
# table of evidence must not outlive the evidence.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
for page in docs/conformance.md SECURITY.md; do
  count=0
  while IFS=. read -r pkg name; do
    count=$((count + 1))
    if ! grep -qs "^func $name(" "$pkg"/*_test.go; then
      echo "$page names $pkg.$name, which does not exist" >&2
      bad=1
    fi
  done < <(grep -oE '`[a-z0-9/]+\.Test[A-Za-z0-9_]+`' "$page" | tr -d '`' | sort -u)
  [ "$count" -gt 0 ] || { echo "$page names no test" >&2; exit 1; }
  echo "$page: $count tests named"
done
[ "$bad" -eq 0 ] || exit 1
