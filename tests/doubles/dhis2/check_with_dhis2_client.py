"""Uses the double as the third-party client `dhis2-client` uses a server: check_with_dhis2_client.py BASE DIALECT USER PASSWORD"""

import sys

from dhis2_client import DHIS2Client
from dhis2_client.errors import DHIS2HTTPError

base, dialect, user, password = sys.argv[1:5]
new = dialect == "2.43"
client = DHIS2Client(base_url=base, username=user, password=password, retries=0)

assert client.get_system_info()["version"].startswith(dialect)

AT = {"dataSet": "dsOpdMonth1", "period": "202610", "orgUnit": "ouClinicA01"}


def post(values, **more):
    return client.post_data_value_set({**AT, **more, "dataValues": values})


def summary(answer):
    return answer["response"] if "response" in answer else answer


def stored(**more):
    found = client.get_data_value_set({**AT, **more}).get("dataValues", [])
    return {(value["dataElement"], value["categoryOptionCombo"]): value["value"] for value in found}


visits = {"dataElement": "deOpdVisit1", "categoryOptionCombo": "cocFemaleU5", "value": "3"}
tests = {"dataElement": "deRdtDone01", "value": "7"}
counts = summary(post([visits, tests]))["importCount"]
assert counts == {"imported": 0 if new else 2, "updated": 2 if new else 0, "ignored": 0, "deleted": 0}, counts
assert stored() == {("deOpdVisit1", "cocFemaleU5"): "3", ("deRdtDone01", "HllvX50cXC0"): "7"}, stored()
assert stored(dataElementIdScheme="code", categoryOptionComboIdScheme="code") == {
    ("OUTPATIENT_VISITS", "FEMALE_UNDER_5"): "3",
    ("MALARIA_RDT_DONE", "default"): "7",
}

# the same again: nothing changes, and it is counted differently
counts = summary(post([visits, tests]))["importCount"]
assert (counts["ignored"], counts["updated"]) == ((0, 2) if new else (2, 0)), counts

# one bad value: the other one is stored; only the older servers say 409
try:
    answer = post([visits | {"value": "4"}, tests | {"value": "many"}])
    assert new
except DHIS2HTTPError as error:
    assert not new and error.status_code == 409
    answer = error.payload
assert summary(answer)["status"] == "WARNING" and summary(answer)["rejectedIndexes"] == [1], answer
assert stored()["deOpdVisit1", "cocFemaleU5"] == "4"

# a closed period: a 409 either way, and nothing is stored
try:
    post([visits], period="202001")
    raise AssertionError("accepted")
except DHIS2HTTPError as error:
    assert error.status_code == 409
    code = summary(error.payload)["conflicts"][0]["errorCode"]
    assert code == ("E8030" if new else "E7640"), code

# deleting works in both
post([{"dataElement": "deRdtDone01", "deleted": True}])
assert ("deRdtDone01", "HllvX50cXC0") not in stored()

# a wrong password
try:
    DHIS2Client(base_url=base, username=user, password="wrong", retries=0).get_system_info()
    raise AssertionError("accepted")
except DHIS2HTTPError as error:
    assert error.status_code == 401

print("ok")
