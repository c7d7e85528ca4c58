#!/usr/bin/env bash
# Installs the third-party clients that tests speak to the server with, at the versions tests/clients/ pins, into .cache/clients/.
set -euo pipefail
cd "$(dirname "$0")/.."
pins=tests/clients
into=.cache/clients
mkdir -p $into

# is_there PART PIN...   has the part been installed from these pins?
is_there() {
  pinned=$(cat "${@:2}" | sha256sum)
  [ "$(cat "$into/$1.installed" 2>/dev/null)" = "$pinned" ] || { echo "installing the test clients: $1"; return 1; }
}

if ! is_there python $pins/requirements.txt; then
  scripts/install-packages.sh python3
  # Debian's python3 has venv but not the pip that it would put into it.
  python3 -c 'import ensurepip, venv' 2>/dev/null || scripts/install-packages.sh no-such-command:python3-venv
  rm -rf $into/venv
  python3 -m venv $into/venv
  $into/venv/bin/pip install --quiet --disable-pip-version-check --requirement $pins/requirements.txt
  echo "$pinned" >$into/python.installed
fi

if ! is_there node $pins/package-lock.json; then
  scripts/install-packages.sh node:nodejs npm
  rm -rf $into/node_modules
  cp $pins/package.json $pins/package-lock.json $into/
  npm ci --prefix $into --no-audit --no-fund --ignore-scripts --loglevel=error
  echo "$pinned" >$into/node.installed
fi

if ! is_there java $pins/java/pom.xml; then
  scripts/install-packages.sh javac:default-jdk-headless mvn:maven
  rm -rf $into/java
  # Without a Maven repository the test that needs these says that it was skipped.
  if mvn -q -B -f $pins/java/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$PWD/$into/java"; then
    echo "$pinned" >$into/java.installed
  fi
fi
