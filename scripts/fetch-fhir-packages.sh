#!/usr/bin/env bash
# Puts the pinned jars with the official FHIR R5 packages into .cache/ (needs mvn, unzip and a Maven repository).
#   scripts/fetch-fhir-packages.sh            # what r5/generate.py reads
#   scripts/fetch-fhir-packages.sh examples   # also the 2,822 official examples that a test validates, and the suites of FHIRPath and of patches
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache

fetch() { # group:artifact:version sha256
    jar=.cache/$(cut -d: -f2,3 <<<"$1" | tr : -).jar
    if ! sha256sum --check --status <<<"$2  $jar" 2>/dev/null; then
        mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
            -Dartifact="$1" -DoutputDirectory="$PWD/.cache" -Dmdep.overWriteReleases=true
        sha256sum --check --quiet <<<"$2  $jar"
    fi
}

fetch ca.uhn.hapi.fhir:hapi-fhir-validation-resources-r5:8.8.1 913172549df8c02993c9ed8e009e4bc3917189490296b0cba5836844990e48b7
[ "${1:-}" = examples ] || exit 0

fetch org.hl7.fhir.testcases:fhir-test-cases:1.7.69 827a559099ae3297c3f96ab5749b419a24600d74b6a09e23620881a9c17df741
examples=.cache/r5-examples
if [ ! -e $examples/complete ]; then
    rm -rf $examples
    mkdir -p $examples
    # the package is a tgz inside the jar
    unzip -p .cache/fhir-test-cases-1.7.69.jar '*/hl7.fhir.r5.examples.tgz' | tar -xz -C $examples
    touch $examples/complete
fi

fhirpath=.cache/r5-fhirpath
if [ ! -e $fhirpath/complete ]; then
    mkdir -p $fhirpath
    # the tests and the resources that they run on
    unzip -q -o -j .cache/fhir-test-cases-1.7.69.jar '*/testcases/r5/fhirpath/tests-fhir-r5.xml' -d $fhirpath
    names=$(grep -o 'inputfile="[^"]*"' $fhirpath/tests-fhir-r5.xml | cut -d'"' -f2 | sort -u)
    for name in $names; do
        unzip -q -o -j .cache/fhir-test-cases-1.7.69.jar "*/testcases/r5/$name" -d $fhirpath
    done
    touch $fhirpath/complete
fi

patch=.cache/r5-patch
if [ ! -e $patch/complete ]; then
    mkdir -p $patch
    unzip -q -o -j .cache/fhir-test-cases-1.7.69.jar '*/testcases/r5/patch/*-tests.*' -d $patch
    touch $patch/complete
fi

# the XML schemas, for what is written in XML
schemas=.cache/r5-xsd
if [ ! -e $schemas/complete ]; then
    rm -rf $schemas
    mkdir -p $schemas
    unzip -p .cache/hapi-fhir-validation-resources-r5-8.8.1.jar '*/hl7.fhir.r5.core-5.0.0.tgz' |
        tar -xz -C $schemas --strip-components=2 --wildcards 'package/xml/*.xsd'
    touch $schemas/complete
fi
