#!/usr/bin/env python3
"""Writes the compact R5 tables beside this file from the official HL7 packages (CC0-1.0), which one pinned Maven jar holds.

    scripts/fetch-fhir-packages.sh        # puts the jar into .cache/
    python3 generate.py                   # writes *.gz
    python3 generate.py --check           # exit 1 when a committed table is not what this script makes

The output depends on the jar and this script only: rows are sorted, gzip carries no time. `--check` compares what is inside
the gzip files, because two builds of zlib may compress the same text differently. Formats: README.md beside this file.
"""
import argparse, gzip, hashlib, io, json, pathlib, sys, tarfile, zipfile

JAR = "hapi-fhir-validation-resources-r5-8.8.1.jar"
JAR_SHA256 = "913172549df8c02993c9ed8e009e4bc3917189490296b0cba5836844990e48b7"
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
SD = "http://hl7.org/fhir/StructureDefinition/"
# Search parameters that the core package carries as examples of the SearchParameter resource. They are listed, but serve no type.
EXAMPLE_PARAMETERS = {"example", "example-extension", "example-reference", "filter"}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--jar", type=pathlib.Path, default=ROOT / ".cache" / JAR)
    arguments.add_argument("--check", action="store_true", help="compare, write nothing")
    options = arguments.parse_args()
    if not options.jar.exists():
        sys.exit(f"{options.jar} is missing: run scripts/fetch-fhir-packages.sh")
    data = options.jar.read_bytes()
    if hashlib.sha256(data).hexdigest() != JAR_SHA256:
        sys.exit(f"{options.jar} is not the pinned artifact (sha256 differs)")
    packages = read_packages(data)
    stale = []
    for name, text in tables(packages).items():
        path = HERE / f"{name}.gz"
        old = gzip.decompress(path.read_bytes()).decode() if path.exists() else None
        if old == text:
            continue
        stale.append(path.name)
        if not options.check:
            buffer = io.BytesIO()
            with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as out:
                out.write(text.encode())
            path.write_bytes(buffer.getvalue())
    if options.check and stale:
        sys.exit("not up to date: " + ", ".join(stale))
    for name in sorted(p.name for p in HERE.glob("*.gz")):
        print(f"{name}: {(HERE / name).stat().st_size} bytes")


def read_packages(jar):
    """{package name: [resource]} in a stable order."""
    packages = {}
    archive = zipfile.ZipFile(io.BytesIO(jar))
    for entry in sorted(archive.namelist()):
        if not entry.endswith(".tgz"):
            continue
        resources = []
        with tarfile.open(fileobj=io.BytesIO(archive.read(entry))) as package:
            for member in package:
                plain = member.name.count("/") == 1 and member.name.startswith("package/")
                if plain and member.name.endswith(".json") and not member.name.endswith(("/package.json", "/.index.json")):
                    resource = json.load(package.extractfile(member))
                    if "resourceType" in resource:
                        resources.append(resource)
        resources.sort(key=lambda r: (r["resourceType"], r.get("url", ""), r.get("id", "")))
        packages[entry.rsplit("/", 1)[1].rsplit("-", 1)[0]] = resources
    return packages


def tables(packages):
    core, extensions, tho = (packages[n] for n in ("hl7.fhir.r5.core", "hl7.fhir.uv.extensions.r5", "hl7.terminology"))
    structures = of(core, "StructureDefinition")
    types = sorted((s for s in structures if is_type(s)), key=lambda s: s["name"])
    return {
        "structures.tsv": lines(row for s in types for row in structure_rows(s)),
        "constraints.tsv": lines(row for s in types for row in constraint_rows(s)),
        "parameters.tsv": lines(parameter_rows(of(core, "SearchParameter"), types)),
        "compartments.tsv": lines(compartment_rows(of(core, "CompartmentDefinition"))),
        "profiles.jsonl": lines(compact_profile(s) for s in structures if not is_type(s)),
        "extensions.jsonl": lines(compact_profile(s) for s in of(extensions, "StructureDefinition")),
        "terminology.jsonl": lines(terminology_rows(core, extensions, tho, types)),
        "operations.jsonl": lines(compact_operation(o) for o in of(core, "OperationDefinition")),
    }


def of(resources, resource_type):
    return [r for r in resources if r["resourceType"] == resource_type]


def lines(rows):
    return "".join(row + "\n" for row in rows)


def tsv(*cells):
    cells = [str(c) for c in cells]
    assert not any("\t" in c or "\n" in c for c in cells), cells
    return "\t".join(cells)


def one_line(text):
    return " ".join(text.split())


def compact_json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# Structures ---------------------------------------------------------------------------------------------------------

def is_type(s):
    """A type of the specification itself, not a profile of one and not a logical model."""
    return s["kind"] != "logical" and s.get("derivation") != "constraint"


def structure_rows(s):
    """T name kind abstract base regex, then one E row for each element of the snapshot."""
    name, kind = s["name"], s["kind"][0]
    elements = s["snapshot"]["element"]
    regex = ""
    if kind == "p":
        value = next((e for e in elements if e["path"] == f"{name}.value"), None)
        for extension in (value or {}).get("type", [{}])[0].get("extension", []):
            if extension["url"] == SD + "regex":
                regex = extension["valueString"]
        if name == "decimal":
            regex = regex.replace("{1,9}})?", "{1,9})?")  # a stray brace in the package
    base = s.get("baseDefinition", "").removeprefix(SD)
    yield tsv("T", name, kind, int(s.get("abstract", False)), base, regex)
    parents = {e["path"].rsplit(".", 1)[0] for e in elements if "." in e["path"]}
    for e in elements[1:]:
        path = e["path"]
        if kind == "p" and path.endswith(".value"):
            continue  # the JSON value itself
        flags = ("M" if e.get("isModifier") else "") + ("S" if e.get("isSummary") else "")
        if path in parents:
            types = path
        elif "contentReference" in e:
            types = e["contentReference"].rsplit("#", 1)[1]
        else:
            types = ";".join(type_cell(t) for t in e.get("type", []))
        if e.get("base", {}).get("path") == "Element.id":
            types = "string"  # as https://hl7.org/fhir/R5/types.html#Element says; many snapshots of 5.0.0 say id
        backbone = (e.get("type") or [{}])[0].get("code", "") if path in parents else ""
        binding = e.get("binding", {})
        bound = ""
        if binding.get("strength") in ("required", "extensible", "preferred") and "valueSet" in binding:
            bound = binding["strength"][0] + "|" + binding["valueSet"].split("|")[0]
        yield tsv("E", path.removeprefix(name + "."), e["min"], e["max"], flags, types, bound, backbone)


def type_cell(t):
    """code<profile,profile>target,target"""
    code = t["code"]
    for extension in t.get("extension", []):
        if extension["url"] == SD + "structuredefinition-fhir-type":
            code = extension["valueUrl"]
    cell = code
    for key, mark in (("profile", "<"), ("targetProfile", ">")):
        if t.get(key):
            cell += mark + ",".join(u.removeprefix(SD) for u in t[key])
    return cell


def constraint_rows(s):
    """path key severity expression human, where the constraint is declared (not where it is inherited)."""
    for e in s["snapshot"]["element"]:
        for c in e.get("constraint", []):
            declared = c.get("source", s["url"]).removeprefix(SD).split("|")[0] in (s["name"], "")
            if declared and c.get("expression"):
                yield tsv(e["path"], c["key"], c["severity"], one_line(c["expression"]), one_line(c.get("human", "")))


def compact_profile(s):
    elements = [compact_element(e) for e in s.get("snapshot", {}).get("element", [])]
    keep = ("url", "name", "kind", "abstract", "type", "baseDefinition", "derivation", "context", "contextInvariant")
    return compact_json({k: s[k] for k in keep if k in s} | {"element": elements})


def compact_element(e):
    keep = ("sliceName", "slicing", "contentReference", "mustSupport", "isModifier", "isSummary", "maxLength", "sliceIsConstraining")
    out = {"id": e["id"], "min": e["min"], "max": e["max"]} | {k: e[k] for k in keep if e.get(k)}
    out |= {k: v for k, v in e.items() if k.startswith(("fixed", "pattern", "minValue", "maxValue"))}
    if e.get("type"):
        out["type"] = [type_cell(t) for t in e["type"]]
    binding = e.get("binding", {})
    if binding.get("strength") in ("required", "extensible") and "valueSet" in binding:
        out["binding"] = binding["strength"][0] + "|" + binding["valueSet"]
    constraints = [
        [c["key"], c["severity"], c.get("expression", ""), c.get("human", "")]
        for c in e.get("constraint", []) if c["key"] not in ("ele-1", "ext-1") and not c["key"].startswith("dom-")
    ]
    if constraints:
        out["constraint"] = constraints
    return out


# Search parameters --------------------------------------------------------------------------------------------------

def parameter_rows(parameters, types):
    """P rows: each definition once. K rows: (concrete type, code) -> P row; the row's position is the parameter's number."""
    # Parameters is a resource that is never stored or searched.
    concrete = [s["name"] for s in types if s["kind"] == "resource" and not s.get("abstract") and s["name"] != "Parameters"]
    parameters = sorted(parameters, key=lambda p: p["url"])
    served = {}
    for index, p in enumerate(parameters):
        components = [f'{c["definition"]} {one_line(c["expression"])}' for c in p.get("component", [])]
        yield tsv(
            "P", p["url"], p["code"], p["type"], ",".join(p["base"]), one_line(p.get("expression", "")),
            ",".join(p.get("target", [])), int(p.get("multipleOr", True)), int(p.get("multipleAnd", True)),
            ",".join(p.get("comparator", [])), ",".join(p.get("modifier", [])), "#".join(components),
        )
        if p["id"] in EXAMPLE_PARAMETERS:
            continue
        for base in p["base"]:
            # Of two definitions of one pair the more special base wins.
            rank = {"Resource": 2, "DomainResource": 1}.get(base, 0)
            for resource_type in (concrete if rank else [base]):
                if rank == 1 and not any(s["name"] == resource_type and is_domain(s) for s in types):
                    continue
                key = (resource_type, p["code"])
                if key not in served or rank < served[key][0]:
                    served[key] = (rank, index)
    for (resource_type, code), (_, index) in sorted(served.items()):
        yield tsv("K", resource_type, code, index)


def is_domain(s):
    return any(e["path"] == s["name"] + ".contained" for e in s["snapshot"]["element"])


def compartment_rows(compartments):
    """compartment type code,code — {def} stands for the resource itself."""
    for c in sorted((c for c in compartments if not c["id"].startswith("example")), key=lambda c: c["code"]):
        for r in c["resource"]:
            if r.get("param"):
                yield tsv(c["code"], r["code"], ",".join(r["param"]))


# Terminology --------------------------------------------------------------------------------------------------------

def terminology_rows(core, extensions, tho, types):
    """All of core and the extensions pack, and from hl7.terminology what bindings of core lead to. kind, url, then the content."""
    value_sets = {v["url"]: v for v in of(tho, "ValueSet") + of(extensions, "ValueSet") + of(core, "ValueSet")}
    code_systems = {c["url"]: c for c in of(tho, "CodeSystem") + of(extensions, "CodeSystem") + of(core, "CodeSystem")}
    wanted = {v["url"] for v in of(core, "ValueSet") + of(extensions, "ValueSet")}
    for s in types:
        for e in s["snapshot"]["element"]:
            wanted.add(e.get("binding", {}).get("valueSet", "").split("|")[0])
    wanted, systems, open_sets = set(), {c["url"] for c in of(core, "CodeSystem")}, list(sorted(wanted))
    while open_sets:
        url = open_sets.pop()
        if url in wanted or url not in value_sets:
            continue
        wanted.add(url)
        compose = value_sets[url].get("compose", {})
        for include in compose.get("include", []) + compose.get("exclude", []):
            open_sets += [v.split("|")[0] for v in include.get("valueSet", [])]
            systems.add(include.get("system", "").split("|")[0])
    for url in sorted(wanted):
        v = value_sets[url]
        yield compact_json({"V": url, "version": v.get("version", ""), "name": v["name"], "compose": compact_compose(v)})
    for url in sorted(systems & code_systems.keys()):
        c = code_systems[url]
        row = {"S": url, "version": c.get("version", ""), "name": c["name"], "content": c["content"]}
        row |= {k: c[k] for k in ("caseSensitive", "hierarchyMeaning", "valueSet", "supplements") if k in c}
        yield compact_json(row | {"concept": [compact_concept(x) for x in c.get("concept", [])]})
    for m in of(core, "ConceptMap"):
        yield compact_json({"M": m["url"]} | {k: m[k] for k in ("sourceScopeUri", "targetScopeUri", "group") if k in m})


def compact_compose(v):
    compose = v.get("compose", {})
    keep = ("system", "version", "valueSet", "filter")
    out = {}
    for part in ("include", "exclude"):
        if compose.get(part):
            out[part] = [
                {k: i[k] for k in keep if k in i}
                | ({"concept": [[c["code"]] + ([c["display"]] if "display" in c else []) for c in i["concept"]]} if "concept" in i else {})
                for i in compose[part]
            ]
    return out


def compact_concept(c):
    """[code, display, properties, children], cut after the last one that is there."""
    properties = {}
    for p in c.get("property", []):
        value = next(v for k, v in p.items() if k.startswith("value"))
        properties.setdefault(p["code"], []).append(value["code"] if isinstance(value, dict) else value)
    cells = [c["code"], c.get("display", ""), properties, [compact_concept(x) for x in c.get("concept", [])]]
    while len(cells) > 1 and not cells[-1]:
        cells.pop()
    return cells


def compact_operation(o):
    keep = ("url", "name", "code", "kind", "affectsState", "resource", "system", "type", "instance")
    parameters = [
        {k: p[k] for k in ("name", "use", "scope", "min", "max", "type", "targetProfile", "searchType") if k in p}
        for p in o.get("parameter", [])
    ]
    return compact_json({k: o[k] for k in keep if k in o} | {"parameter": parameters})


if __name__ == "__main__":
    main()
