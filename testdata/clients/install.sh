#!/usr/bin/env bash
# Usage: install.sh [awscli|openssh|shells]; without a name, all of them.
# Installs the clients that the sidecar's tests run, none of them ours, and links
# them into clients/ of the servers' cache folder: awscli, boto3, rclone, psql and
# curl from the distribution (Debian 12), the AWS SDK for JavaScript from npm, s5cmd and
# kubectl from their Go modules, all pinned beside this file. What is there already is
# left alone. Debian's kubectl, 1.20, is older than the version of ExecCredential here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${VALETKEY_SERVERS:-$HOME/.cache/valetkey/servers}/clients
mkdir -p "$out"

# packages NAME...: what is missing, from the distribution.
packages() {
  local missing="$*" sudo=""
  if [ -n "$missing" ]; then
    if ! command -v apt-get > /dev/null; then
      echo "clients: install $missing; there is no apt-get to do it here" >&2
      exit 1
    fi
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    echo "clients: installing $missing"
    # shellcheck disable=SC2086 # a list of words
    { $sudo apt-get -qq update && DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install -y --no-install-recommends $missing; } > "$out/apt.log" 2>&1 || {
      tail -n 20 "$out/apt.log" >&2
      echo "clients: apt-get cannot install $missing; install it by hand and try again" >&2
      exit 1
    }
  fi
}

# awscli: Debian's, or where that is not, the one in PATH, if it is of version 2: version 1 cannot export a credential.
awscli() {
  local aws
  aws=$(command -v /usr/bin/aws || command -v aws) || aws=""
  if [ -z "$aws" ] || [[ $("$aws" --version 2>&1) != aws-cli/2* ]]; then
    packages awscli
    aws=/usr/bin/aws
  fi
  "$aws" --version > /dev/null 2>&1 || {
    echo "clients: $aws does not run" >&2
    exit 1
  }
  ln -sf "$aws" "$out/aws"
}

# openssh: ssh-keygen, which people's approvals are signed with. It is run by its name.
openssh() {
  command -v ssh-keygen > /dev/null || packages openssh-client
}

# shells: those that credentials are quoted for. They are run by their names.
shells() {
  local name missing=()
  for name in bash dash zsh fish tcsh; do
    command -v "$name" > /dev/null || missing+=("$name")
  done
  packages "${missing[@]}"
}

# distribution: programs by package. Debian's own, whatever else is in PATH.
distribution() {
  local pair missing=()
  for pair in awscli=/usr/bin/aws rclone=/usr/bin/rclone postgresql-client=/usr/bin/psql curl=/usr/bin/curl nodejs=node openssh-client=ssh-keygen; do
    command -v "${pair#*=}" > /dev/null || missing+=("${pair%%=*}")
  done
  /usr/bin/python3 -c 'import boto3' 2> /dev/null || missing+=(python3-boto3)
  packages "${missing[@]}"
  ln -sf /usr/bin/aws /usr/bin/rclone /usr/bin/psql /usr/bin/curl "$out/"
  ln -sf /usr/bin/python3 "$out/python3"
  ln -sf "$(command -v node)" "$out/node"
}

# stamp FILE...: what was installed from.
stamp() { cat "$@" | sha256sum | cut -d' ' -f1; }

javascript() {
  local want
  want=$(stamp "$here/js/package.json" "$here/js/package-lock.json")
  if [ "$(cat "$out/js.stamp" 2> /dev/null)" = "$want" ] && [ -d "$out/js/node_modules/@aws-sdk/client-s3" ]; then
    return
  fi
  if ! command -v npm > /dev/null; then
    echo "clients: install npm, which the AWS SDK for JavaScript comes by" >&2
    exit 1
  fi
  echo "clients: installing @aws-sdk/client-s3"
  rm -rf "$out/js"
  mkdir -p "$out/js"
  cp "$here/js/package.json" "$here/js/package-lock.json" "$out/js/"
  (cd "$out/js" && npm ci --ignore-scripts --no-audit --no-fund) > "$out/npm.log" 2>&1 || {
    tail -n 20 "$out/npm.log" >&2
    exit 1
  }
  echo "$want" > "$out/js.stamp"
}

# module NAME PACKAGE: a program that is built from the module beside this file.
module() {
  local name=$1 want
  want=$(stamp "$here/$name/go.mod" "$here/$name/go.sum")
  if [ "$(cat "$out/$name.stamp" 2> /dev/null)" = "$want" ] && [ -x "$out/$name" ]; then
    return
  fi
  echo "clients: building $name"
  (cd "$here/$name" && GOFLAGS="-buildvcs=false -mod=readonly" go build -trimpath -o "$out/.$name.new" "$2") > "$out/$name.log" 2>&1 || {
    tail -n 20 "$out/$name.log" >&2
    exit 1
  }
  mv "$out/.$name.new" "$out/$name"
  echo "$want" > "$out/$name.stamp"
}

case "$*" in
"")
  distribution
  shells
  javascript
  module s5cmd github.com/peak/s5cmd/v2
  module kubectl k8s.io/kubernetes/cmd/kubectl
  ;;
awscli) awscli ;;
openssh) openssh ;;
shells) shells ;;
*)
  echo "usage: install.sh [awscli|openssh|shells]" >&2
  exit 2
  ;;
esac
echo "clients: ready in $out"
