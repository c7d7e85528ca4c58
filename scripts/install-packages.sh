#!/usr/bin/env bash
# install-packages.sh COMMAND[:PACKAGE]...   installs through apt the packages whose command is not there yet.
set -euo pipefail
missing=()
for wanted in "$@"; do
  command -v "${wanted%%:*}" >/dev/null 2>&1 || missing+=("${wanted##*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null 2>&1 || { echo "please install: ${missing[*]} (this script knows only apt)" >&2; exit 1; }
sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
echo "installing ${missing[*]}"
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
