#!/usr/bin/env python3
"""checklist.py CHECKLIST.md: the rows of a checklist that have neither a scenario nor a reason.

A row is a line `| ID | …` of the checklist, which is no part of this project. A scenario names its rows (`rows: [ID, …]`);
`tests/conformance/not-covered.tsv` has the reasons (ID, tab, reason). Names that the checklist does not have, and reasons for rows
that have a scenario, are told as well. Ends with 1 where there is something to tell.
"""

import pathlib
import re
import sys

CONFORMANCE = pathlib.Path(__file__).resolve().parent.parent / "tests" / "conformance"


def main(checklist):
    rows = re.findall(r"^\| ([A-Z0-9]+(?:-[A-Z0-9]+)+) \|", checklist.read_text(), re.M)
    scenarios = {
        row.strip()
        for file in CONFORMANCE.glob("scenarios/**/*.yaml")
        for rows_of_one in re.findall(r"^\s*rows: \[(.*)\]$", file.read_text(), re.M)
        for row in rows_of_one.split(",")
    }
    lines = (CONFORMANCE / "not-covered.tsv").read_text().splitlines()[1:]
    reasons = {row for row, reason in (line.split("\t") for line in lines) if reason}
    told = [f"{row}: neither a scenario nor a reason" for row in rows if row not in scenarios | reasons]
    told += [f"{row}: not in the checklist" for row in sorted((scenarios | reasons) - set(rows))]
    told += [f"{row}: a reason, but there is a scenario" for row in sorted(scenarios & reasons)]
    print("\n".join([*told, f"{len(rows)} rows, {len(scenarios)} with scenarios, {len(reasons)} with a reason not to"]))
    return 1 if told else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1])))
