#!/usr/bin/env bash
# Usage: .ci/buf.sh generate | check | lint
# Generates, checks for drift, or lints the wire contract, offline but for the
# pinned tools.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=.ci/tools.sh
. .ci/tools.sh
PROTOVALIDATE=github.com/bufbuild/protovalidate@v1.2.2

buf=$(buf_bin)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# workspace DIR PROTODIR: a buf workspace with the module beside its one import.
workspace() {
  mkdir -p "$1/deps/buf/validate"
  sed 's|^  - path: proto$|&\n  - path: deps|' buf.yaml > "$1/buf.yaml"
  cp -R "$2" "$1/proto"
  local mod
  mod=$(go mod download -json "$PROTOVALIDATE" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
  cp "$mod/proto/protovalidate/buf/validate/validate.proto" "$1/deps/buf/validate/"
  chmod -R u+w "$1"
}

generate() {
  mkdir -p "$1"
  "$buf" generate "$tmp/ws" --template buf.gen.yaml --path "$tmp/ws/proto/valetkey" -o "$1"
  # A generator that made nothing must not pass for one that changed nothing.
  ls "$1"/valetkey/v1/*.pb.go > /dev/null
}

workspace "$tmp/ws" proto
case "${1:-}" in
generate)
  generate "$tmp/out"
  rm -f proto/valetkey/v1/*.pb.go
  cp "$tmp"/out/valetkey/v1/*.pb.go proto/valetkey/v1/
  ;;
check)
  generate "$tmp/out"
  mkdir "$tmp/have"
  cp proto/valetkey/v1/*.pb.go "$tmp/have/"
  if ! diff -ru "$tmp/have" "$tmp/out/valetkey/v1"; then
    echo "generated Go differs from the proto files: run make generate" >&2
    exit 1
  fi
  echo "generated code is up to date"
  ;;
lint)
  "$buf" lint "$tmp/ws" --path "$tmp/ws/proto/valetkey"
  "$buf" format --diff --exit-code proto
  main=$(git rev-parse --verify --quiet origin/main || git rev-parse --verify --quiet main || true)
  if [ -n "$main" ] && git cat-file -e "$main:proto/valetkey" 2> /dev/null; then
    mkdir "$tmp/main"
    git archive "$main" proto | tar -x -C "$tmp/main"
    workspace "$tmp/old" "$tmp/main/proto"
    "$buf" breaking "$tmp/ws" --against "$tmp/old"
    echo "buf: no lint, no breaking change against ${main:0:9}"
  else
    echo "buf: no lint; main has no proto yet to break"
  fi
  ;;
*)
  echo "usage: .ci/buf.sh generate|check|lint" >&2
  exit 2
  ;;
esac
