# Sourced: where pinned tools live, and how they get there. They stay outside
# the tree, so that a clean checkout stays clean.
# shellcheck shell=bash
TOOLS=${VALETKEY_TOOLS:-$HOME/.cache/valetkey/tools}
BUF_VERSION=1.75.0
GOLANGCI_VERSION=v2.15.0

buf_bin() {
  local dir=$TOOLS/buf-$BUF_VERSION
  if ! [ -x "$dir/node_modules/.bin/buf" ]; then
    echo "installing buf $BUF_VERSION" >&2
    mkdir -p "$dir"
    npm install --silent --no-audit --no-fund --prefix "$dir" "@bufbuild/buf@$BUF_VERSION" >&2
  fi
  echo "$dir/node_modules/.bin/buf"
}

golangci_bin() {
  local dir=$TOOLS/golangci-lint-$GOLANGCI_VERSION
  if ! [ -x "$dir/golangci-lint" ]; then
    echo "building golangci-lint $GOLANGCI_VERSION (some minutes, once)" >&2
    mkdir -p "$dir"
    # From outside the module, so that its requirements stay out of go.mod.
    (cd "$dir" && GOFLAGS= GOBIN=$dir go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$GOLANGCI_VERSION") >&2
  fi
  echo "$dir/golangci-lint"
}
