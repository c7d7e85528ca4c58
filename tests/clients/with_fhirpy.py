"""The cycle of README.md with fhirpy: with_fhirpy.py BASE RUN"""

import asyncio
import sys

from fhirpy import AsyncFHIRClient
from fhirpy.base.exceptions import MultipleResourcesFound, OperationOutcome, ResourceNotFound

base, run = sys.argv[1:3]
SYSTEM = "http://records.example.org/fhirpy"
client = AsyncFHIRClient(base)


def patient(value, **more):
    return client.resource("Patient", identifier=[{"system": SYSTEM, "value": value}], **more)


async def refused(status_error, awaitable, says):
    """The request fails with this error, and an OperationOutcome says why."""
    try:
        await awaitable
    except status_error as error:
        assert "OperationOutcome" in str(error) and says in str(error), error
    else:
        raise AssertionError(f"not refused: {says}")


async def one_resource():
    created = patient(run, name=[{"family": "Abebe", "given": ["Sara"]}])
    await created.save()
    assert created.id and created.meta.versionId == "1", created

    read = await client.reference("Patient", created.id).to_resource()
    assert read.serialize() == created.serialize() and read.name == [{"family": "Abebe", "given": ["Sara"]}], read

    read.name[0].family = "Bekele"
    await read.update()
    assert read.meta.versionId == "2" and read.name[0].family == "Bekele", read

    # JSON Patch; fhirpy names it application/json.
    path = f"Patient/{created.id}"
    patched = await client.execute(path, "patch", [{"op": "add", "path": "/birthDate", "value": "2020-01-31"}])
    assert patched.meta.versionId == "3" and patched.birthDate == "2020-01-31", patched
    # Its own patch() sends the members alone: a kind of patch that FHIR does not have.
    await refused(OperationOutcome, read.to_reference().patch(active=True), "JSON Patch")

    # If-None-Match with a bare number, as fhirpy sends it: 200 for who is behind, 304 for who is not.
    await created.refresh()
    assert created.meta.versionId == "3" and created.name[0].family == "Bekele", created
    await created.refresh()
    assert created.meta.versionId == "3"

    history = await client.execute(f"{path}/_history", "get")
    assert history.type == "history" and history.total == 3, history
    assert [entry.resource.meta.versionId for entry in history.entry] == ["3", "2", "1"]
    first = await client.execute(f"{path}/_history/1", "get")
    assert first.name == [{"family": "Abebe", "given": ["Sara"]}] and "birthDate" not in first, first

    found = await client.resources("Patient").search(identifier=f"{SYSTEM}|{run}").get()
    assert found.id == created.id and found.birthDate == "2020-01-31", found

    assert await created.is_valid()
    assert not await patient(run, gender="nosuch").is_valid()

    await created.delete()
    await refused(ResourceNotFound, client.get("Patient", created.id), "deleted")
    assert await client.resources("Patient").search(identifier=f"{SYSTEM}|{run}").first() is None
    history = await client.execute(f"{path}/_history", "get")
    assert history.total == 4 and history.entry[0].request.method == "DELETE", history.entry[0]


async def conditions():
    value = f"{run}-once"
    once = client.resources("Patient").search(identifier=f"{SYSTEM}|{value}")
    first, created = await once.get_or_create(patient(value, active=True))
    again, created_again = await once.get_or_create(patient(value, active=False))
    assert created and not created_again and again == first and again.active is True, again

    updated, created = await once.update(patient(value, gender="female"))
    assert not created and updated.id == first.id and updated.meta.versionId == "2", updated
    await patient(f"{run}-twice").create(identifier=f"{SYSTEM}|{run}-twice")
    await patient(f"{run}-twice").save()
    twice = client.resources("Patient").search(identifier=f"{SYSTEM}|{run}-twice")
    await refused(MultipleResourcesFound, twice.update(patient(f"{run}-twice")), "OperationOutcome")

    _, status = await once.delete()
    assert status in (200, 204) and await once.first() is None


async def pages():
    for number in range(7):
        await patient(f"{run}-page-{number}", meta={"tag": [{"system": SYSTEM, "code": run}]}).save()
    tagged = client.resources("Patient").search(_tag=f"{SYSTEM}|{run}").sort("_id")
    assert len(await tagged.limit(3).fetch()) == 3
    every = await tagged.limit(3).fetch_all()
    ids = [resource.id for resource in every]
    assert len(set(ids)) == 7 and ids == sorted(ids), ids
    values = {resource.identifier[0].value for resource in every}
    assert values == {f"{run}-page-{number}" for number in range(7)}, values


async def transaction():
    url = "urn:uuid:4b2a4d62-6d3c-4d64-9a0b-1f6f2c0e9a01"
    about = {"resourceType": "Observation", "status": "final", "code": {"text": run}, "subject": {"reference": url}}
    entries = [
        {"resource": about, "request": {"method": "POST", "url": "Observation"}},
        {"fullUrl": url, "resource": patient(f"{run}-tx").serialize(), "request": {"method": "POST", "url": "Patient"}},
        {"request": {"method": "GET", "url": f"Patient?identifier={SYSTEM}|{run}-tx"}},
    ]
    answer = await client.execute("/", data={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert [entry.response.status for entry in answer.entry] == ["201 Created", "201 Created", "200 OK"], answer
    where = answer.entry[1].response.location.split("/_history")[0]
    assert answer.entry[2].resource.entry[0].fullUrl == f"{base}/{where}", answer.entry[2]

    observations = client.resources("Observation").search(subject=where).include("Observation", "subject")
    bundle = await observations.fetch_raw()
    found, included = (entry.resource for entry in bundle.entry)
    assert found.subject.reference == where and included.identifier[0].value == f"{run}-tx"
    assert (await found.subject.to_resource()) == included

    entries[1]["resource"]["gender"] = "nosuch"
    entries[0]["resource"]["code"]["text"] = f"{run} never"
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    await refused(OperationOutcome, client.execute("/", data=bundle), "Bundle.entry[1].resource.gender")
    assert len(await client.resources("Observation").search(subject=where).fetch()) == 1


async def main():
    await one_resource()
    await conditions()
    await pages()
    await transaction()


asyncio.run(main())
print("done: fhirpy")
