#!/usr/bin/env bash
# Installs the third-party clients that tests speak to the server with, at the versions tests/clients/ pins, into .cache/clients/.
set -euo pipefail
cd "$(dirname "$0")/.."
pins=tests/clients
into=.cache/clients
pinned=$(cat $pins/requirements.txt $pins/package-lock.json | sha256sum)
[ "$(cat $into/installed 2>/dev/null)" != "$pinned" ] || exit 0

scripts/install-packages.sh python3 node:nodejs npm
# Debian's python3 has venv but not the pip that it would put into it.
python3 -c 'import ensurepip, venv' 2>/dev/null || scripts/install-packages.sh no-such-command:python3-venv

echo "installing the test clients into $into"
rm -rf $into
mkdir -p $into
python3 -m venv $into/venv
$into/venv/bin/pip install --quiet --disable-pip-version-check --requirement $pins/requirements.txt
cp $pins/package.json $pins/package-lock.json $into/
npm ci --prefix $into --no-audit --no-fund --ignore-scripts --loglevel=error
echo "$pinned" >$into/installed
