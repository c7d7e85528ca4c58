"""The cycle of README.md with fhirclient: with_fhirclient.py BASE RUN

Its models are those of R4: they take what R5 has in common with it (here Patient, Observation, Bundle) and refuse R5's own elements.
It has no patch and no delete by condition; what it lacks goes through the session it keeps.
"""

import sys

from fhirclient.models.bundle import Bundle, BundleEntry, BundleEntryRequest
from fhirclient.models.codeableconcept import CodeableConcept
from fhirclient.models.fhirreference import FHIRReference
from fhirclient.models.fhirsearch import FHIRSearch
from fhirclient.models.humanname import HumanName
from fhirclient.models.identifier import Identifier
from fhirclient.models.meta import Meta
from fhirclient.models.coding import Coding
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRNotFoundException, FHIRServer
from requests import HTTPError

base, run = sys.argv[1:3]
SYSTEM = "http://records.example.org/fhirclient"
server = FHIRServer(None, base)


def patient(value, family="Abebe"):
    made = Patient()
    made.identifier = [Identifier({"system": SYSTEM, "value": value})]
    made.name = [HumanName({"family": family, "given": ["Sara"]})]
    made.meta = Meta()
    made.meta.tag = [Coding({"system": SYSTEM, "code": run})]
    return made


def versions(path):
    bundle = Bundle.read_from(f"{path}/_history", server)
    assert bundle.type == "history" and bundle.total == len(bundle.entry), bundle.as_json()
    return bundle.entry


def one_resource():
    created = Patient(patient(run).create(server))
    path = created.relativePath()
    assert created.id and created.meta.versionId == "1", created.as_json()

    read = Patient.read(created.id, server)
    assert read.as_json() == created.as_json(), read.as_json()

    read.name[0].family = "Bekele"
    updated = Patient(read.update(server))
    assert updated.meta.versionId == "2" and updated.name[0].family == "Bekele", updated.as_json()

    patch = [{"op": "test", "path": "/name/0/family", "value": "Bekele"}, {"op": "add", "path": "/active", "value": True}]
    answer = server.session.patch(server.base_uri + path, json=patch)
    assert answer.status_code == 200 and Patient(answer.json()).active is True, answer.text

    assert [entry.resource.meta.versionId for entry in versions(path)] == ["3", "2", "1"]
    assert Patient.read_from(f"{path}/_history/1", server).name[0].family == "Abebe"

    search = Patient.where({"identifier": f"{SYSTEM}|{run}"})
    (found,) = search.perform_resources_iter(server)
    assert found.id == created.id and found.meta.versionId == "3", found.as_json()

    found.delete(server)
    try:
        Patient.read(created.id, server)
    except HTTPError as error:
        assert error.response.status_code == 410, error
    else:
        raise AssertionError("read although it was deleted")
    assert list(search.perform_resources_iter(server)) == []
    last = versions(path)[0]
    assert last.request.method == "DELETE" and last.resource is None, last.as_json()
    try:
        Patient.read(f"no-{run}", server)
    except FHIRNotFoundException as error:
        assert error.response.json()["resourceType"] == "OperationOutcome", error.response.text
    else:
        raise AssertionError("there is no such patient")


def pages():
    for number in range(7):
        patient(f"{run}-page-{number}").create(server)
    search = Patient.where({"_tag": f"{SYSTEM}|{run}", "_count": "3", "_sort": "_id"})
    bundles = list(search.perform_iter(server))
    assert [len(bundle.entry) for bundle in bundles] == [3, 3, 1]
    ids = [entry.resource.id for bundle in bundles for entry in bundle.entry]
    assert len(set(ids)) == 7 and ids == sorted(ids), ids


def entry(resource, url, full_url=None):
    made = BundleEntry()
    made.fullUrl = full_url
    made.resource = resource
    made.request = BundleEntryRequest({"method": "POST", "url": url})
    return made


def transaction():
    url = "urn:uuid:4b2a4d62-6d3c-4d64-9a0b-1f6f2c0e9a02"
    about = Observation()
    about.status = "final"
    about.code = CodeableConcept({"text": run})
    about.subject = FHIRReference({"reference": url})
    bundle = Bundle()
    bundle.type = "transaction"
    bundle.entry = [entry(about, "Observation"), entry(patient(f"{run}-tx"), "Patient", url)]
    answer = Bundle(bundle.create(server))
    assert answer.type == "transaction-response", answer.as_json()
    assert [it.response.status for it in answer.entry] == ["201 Created", "201 Created"], answer.as_json()

    where = answer.entry[1].response.location.split("/_history")[0]
    search = FHIRSearch(Patient, {"identifier": f"{SYSTEM}|{run}-tx"}).include("subject", Observation, reverse=True)
    found, included = search.perform_resources_iter(server)
    assert found.relativePath() == where, found.as_json()
    assert included.subject.reference == where and included.code.text == run, included.as_json()


one_resource()
pages()
transaction()
print("done: fhirclient")
