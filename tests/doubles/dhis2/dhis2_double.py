"""A stand-in for the part of a DHIS2 server that data value sets are sent to, in three dialects.

2.37: the import summary is the root of the answer.   2.42: each value stands alone; a warning is a 409.
2.43: the values of a data set, period and org unit stand or fall together; a warning is a 200, `imported` is always 0.

Written from DHIS2's documentation and sources of those versions, and knows nothing of the program it tests. It is checked by the
third-party client `dhis2-client` (check_with_dhis2_client.py).

    dhis2_double.py --dialect 2.42 [--metadata metadata.json] [--port 0] [--user U --password P --token T]

Prints `listening on 127.0.0.1:PORT`. For tests: POST /double/faults takes a list of what to do to the next data value sets that are
posted (an HTTP status, "hang-before", "hang-after", "page"); GET /double/requests gives the posted bodies.
"""

import argparse
import base64
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

HANG_SECONDS = 5
DEFAULT_COMBO = {"id": "HllvX50cXC0", "code": "default"}


class Server:
    def __init__(self, dialect, metadata):
        self.dialect = tuple(int(part) for part in dialect.split("."))
        self.metadata = metadata
        self.values = {}  # (data element, period, org unit, option combo, attribute combo), all uids -> value
        self.faults = []
        self.requests = []
        self.lock = threading.Lock()

    def find(self, kind, scheme, text):
        """The object of metadata that this text names under the id scheme; None when there is none."""
        objects = self.metadata[kind] + ([DEFAULT_COMBO] if kind == "categoryOptionCombos" else [])
        key = {"UID": "id", "CODE": "code", "NAME": "name"}.get((scheme or "uid").upper())
        return next((found for found in objects if key and found.get(key) == text), None)

    def take(self, payload, query):
        """An import. Returns (HTTP status, body)."""
        schemes = lambda name: payload.get(name) or query.get(name) or payload.get("idScheme") or query.get("idScheme")
        values = payload.get("dataValues") or []
        data_set = self.find("dataSets", schemes("dataSetIdScheme"), payload.get("dataSet"))
        if self.dialect >= (2, 43) and payload.get("dataSet") is None:
            return self.refused("E8002", len(values))
        if payload.get("dataSet") is not None and data_set is None:
            return self.refused("E8003" if self.dialect >= (2, 43) else "E7600", len(values))
        rows = []
        for index, value in enumerate(values):
            given = lambda name: value.get(name) or payload.get(name)
            rows.append(
                {
                    "index": index,
                    "element": self.find("dataElements", schemes("dataElementIdScheme"), value.get("dataElement")),
                    "period": given("period"),
                    "orgUnit": self.find("organisationUnits", schemes("orgUnitIdScheme"), given("orgUnit")),
                    "combo": self.find("categoryOptionCombos", schemes("categoryOptionComboIdScheme"), value["categoryOptionCombo"])
                    if value.get("categoryOptionCombo")
                    else DEFAULT_COMBO,
                    "attribute": self.find("categoryOptionCombos", schemes("attributeOptionComboIdScheme"), given("attributeOptionCombo"))
                    if given("attributeOptionCombo")
                    else DEFAULT_COMBO,
                    "value": value.get("value"),
                    "deleted": value.get("deleted") is True,
                }
            )
        if self.dialect >= (2, 43):
            return self.take_as_group(data_set, rows)
        return self.take_one_by_one(data_set, rows)

    def key(self, row):
        return (row["element"]["id"], row["period"], row["orgUnit"]["id"], row["combo"]["id"], row["attribute"]["id"])

    def take_one_by_one(self, data_set, rows):
        counts = dict(imported=0, updated=0, ignored=0, deleted=0)
        conflicts, rejected = [], []
        for row in rows:
            code = None
            if row["element"] is None:
                code = "E7610"
            elif not re.fullmatch(r"\d{4}(\d{2}|\d{4}|W\d{1,2}|Q[1-4])?", row["period"] or ""):
                code = "E7611"
            elif row["orgUnit"] is None:
                code = "E7612"
            elif row["combo"] is None:
                code = "E7613"
            elif row["attribute"] is None:
                code = "E7615"
            elif not row["deleted"] and row["value"] is None:
                code = "E7618"
            elif not row["deleted"] and not re.fullmatch(r"-?\d+", str(row["value"])):
                code = "E7619"
            elif data_set and row["period"] in data_set.get("closedPeriods", []):
                code = "E7640"
            if code:
                counts["ignored"] += 1
                rejected.append(row["index"])
                conflicts.append({"object": str(row["index"]), "objects": {}, "value": "refused", "errorCode": code, "indexes": [row["index"]]})
                continue
            key, before = self.key(row), self.values.get(self.key(row))
            if row["deleted"]:
                counts["deleted" if self.values.pop(key, None) is not None else "ignored"] += 1
            elif row["value"] == "0" and not row["element"].get("zeroIsSignificant"):
                # an insignificant zero is not stored, and takes away what was there
                counts["deleted" if self.values.pop(key, None) is not None else "ignored"] += 1
            elif before == row["value"]:
                counts["ignored"] += 1
            else:
                self.values[key] = row["value"]
                counts["imported" if before is None else "updated"] += 1
        return self.summary("WARNING" if conflicts else "SUCCESS", counts, conflicts, rejected)

    def take_as_group(self, data_set, rows):
        elements = set(data_set.get("dataElements", []))
        seen = set()
        for row in rows:
            if row["element"] is None or row["combo"] is None or row["attribute"] is None or row["orgUnit"] is None:
                return self.refused("E8102", len(rows))
            if elements and row["element"]["code"] not in elements:
                return self.refused("E8021", len(rows))
            if row["period"] in data_set.get("closedPeriods", []):
                return self.refused("E8030", len(rows))
            if self.key(row) in seen:
                return self.refused("E8128", len(rows))
            seen.add(self.key(row))
        counts = dict(imported=0, updated=0, ignored=0, deleted=0)
        conflicts, rejected = [], []
        for row in rows:
            if row["deleted"]:
                self.values.pop(self.key(row), None)
                counts["updated"] += 1
            elif row["value"] is None or not re.fullmatch(r"-?\d+", str(row["value"])):
                counts["ignored"] += 1
                rejected.append(row["index"])
                conflicts.append({"object": str(row["index"]), "value": "refused", "errorCode": "E8120", "indexes": [row["index"]]})
            else:
                self.values[self.key(row)] = row["value"]
                counts["updated"] += 1
        return self.summary("WARNING" if conflicts else "SUCCESS", counts, conflicts, rejected)

    def refused(self, code, count):
        """Nothing was imported."""
        conflict = {"object": "dataSet", "value": "refused", "errorCode": code}
        return self.summary("ERROR", dict(imported=0, updated=0, ignored=count, deleted=0), [conflict], [])

    def summary(self, status, counts, conflicts, rejected):
        summary = {
            "responseType": "ImportSummary",
            "status": status,
            "description": "Import process completed successfully",
            "importCount": counts,
            "conflicts": conflicts,
            "rejectedIndexes": rejected,
            "dataSetComplete": "false",
        }
        conflict = status == "ERROR" or (status == "WARNING" and self.dialect < (2, 43))
        if self.dialect < (2, 38):
            return (409 if conflict else 200), summary
        return (409 if conflict else 200), {
            "httpStatus": "Conflict" if conflict else "OK",
            "httpStatusCode": 409 if conflict else 200,
            "status": "OK" if status == "SUCCESS" else status,
            "message": "One more conflicts encountered, please check import summary." if conflict else "Import was successful.",
            "response": summary,
        }

    def export(self, query):
        """GET /api/dataValueSets: ids in by the input schemes, out by the others."""
        kinds = {"dataElement": "dataElements", "orgUnit": "organisationUnits", "categoryOptionCombo": "categoryOptionCombos"}
        schemes_in = lambda name: query.get(f"input{name}IdScheme") or query.get("inputIdScheme")
        data_set = self.find("dataSets", schemes_in("DataSet"), query.get("dataSet"))
        org_unit = self.find("organisationUnits", schemes_in("OrgUnit"), query.get("orgUnit"))
        if data_set is None or org_unit is None:
            return 409, {"httpStatus": "Conflict", "httpStatusCode": 409, "status": "ERROR", "errorCode": "E2001", "message": "not found"}

        def out(name, uid):
            kind = kinds["categoryOptionCombo" if name == "attributeOptionCombo" else name]
            found = self.find(kind, "uid", uid)
            scheme = query.get(f"{name}IdScheme") or query.get("idScheme") or "uid"
            return found["code" if scheme.upper() == "CODE" else "id"]

        rows = []
        for (element, period, unit, combo, attribute), value in self.values.items():
            if unit != org_unit["id"] or period != query.get("period"):
                continue
            if data_set.get("dataElements") and out_code(self, element) not in data_set["dataElements"]:
                continue
            rows.append(
                {
                    "dataElement": out("dataElement", element),
                    "period": period,
                    "orgUnit": out("orgUnit", unit),
                    "categoryOptionCombo": out("categoryOptionCombo", combo),
                    "attributeOptionCombo": out("attributeOptionCombo", attribute),
                    "value": value,
                    "storedBy": "admin",
                    "created": "2026-11-01T00:00:00.000+0000",
                    "lastUpdated": "2026-11-01T00:00:00.000+0000",
                    "followup": False,
                }
            )
        return 200, {"dataValues": rows} if rows else {}


def out_code(server, uid):
    return server.find("dataElements", "uid", uid)["code"]


def handler(server, accepted):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, status, body, content_type="application/json"):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            if status in (429, 503):
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(data)

        def query(self):
            return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

        def authorised(self):
            if not accepted or self.headers.get("Authorization") in accepted:
                return True
            self.reply(401, {"httpStatus": "Unauthorized", "httpStatusCode": 401, "status": "ERROR", "message": "Unauthorized"})
            return False

        def do_GET(self):
            path = urlsplit(self.path).path.removesuffix(".json")
            if path == "/double/requests":
                return self.reply(200, server.requests)
            if not self.authorised():
                return None
            if path == "/api/system/info":
                version = ".".join(str(part) for part in server.dialect) + ".0"
                return self.reply(200, {"version": version, "calendar": server.metadata.get("calendar", "iso8601"), "dateFormat": "yyyy-mm-dd"})
            if path == "/api/dataValueSets":
                with server.lock:
                    return self.reply(*server.export(self.query()))
            return self.reply(404, {"httpStatus": "Not Found", "httpStatusCode": 404, "status": "ERROR"})

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path.removesuffix(".json")
            if path == "/double/faults":
                server.faults.extend(json.loads(body))
                return self.reply(200, {})
            if not self.authorised():
                return None
            if path != "/api/dataValueSets":
                return self.reply(404, {"httpStatus": "Not Found", "httpStatusCode": 404, "status": "ERROR"})
            fault = server.faults.pop(0) if server.faults else None
            if isinstance(fault, int):
                return self.reply(fault, {"httpStatusCode": fault, "status": "ERROR"})
            if fault == "page":
                return self.reply(200, b"<html>please sign in</html>", "text/html")
            if fault == "hang-before":
                time.sleep(HANG_SECONDS)
                self.close_connection = True
                return None
            with server.lock:
                payload = json.loads(body)
                server.requests.append(payload)
                status, answer = server.take(payload, self.query())
            if fault == "hang-after":
                time.sleep(HANG_SECONDS)
                self.close_connection = True
                return None
            return self.reply(status, answer)

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialect", choices=["2.37", "2.42", "2.43"], default="2.42")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--metadata", type=Path, default=Path(__file__).with_name("metadata.json"))
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--token")
    options = parser.parse_args()
    accepted = []
    if options.user:
        accepted.append("Basic " + base64.b64encode(f"{options.user}:{options.password}".encode()).decode())
    if options.token:
        accepted.append("ApiToken " + options.token)
    server = Server(options.dialect, json.loads(options.metadata.read_text()))
    listener = ThreadingHTTPServer(("127.0.0.1", options.port), handler(server, accepted))
    listener.daemon_threads = True
    print(f"listening on 127.0.0.1:{listener.server_address[1]}", flush=True)
    listener.serve_forever()


if __name__ == "__main__":
    main()
