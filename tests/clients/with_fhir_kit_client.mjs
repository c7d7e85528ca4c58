// The cycle of README.md with fhir-kit-client: node with_fhir_kit_client.mjs MODULE BASE RUN
import assert from 'node:assert/strict';

const [module, baseUrl, run] = process.argv.slice(2);
const { Client } = await import(module);
const client = new Client({ baseUrl });
const SYSTEM = 'http://records.example.org/fhir-kit-client';

const patient = (value, more = {}) => ({
  resourceType: 'Patient',
  meta: { tag: [{ system: SYSTEM, code: run }] },
  identifier: [{ system: SYSTEM, value }],
  ...more,
});
const refused = (status, says) => ({ response }) =>
  response.status === status && response.data.resourceType === 'OperationOutcome'
  && JSON.stringify(response.data).includes(says);
const headers = (answer) => Client.httpFor(answer).response.headers;

async function oneResource() {
  const resourceType = 'Patient';
  const created = await client.create({ resourceType, body: patient(run, { name: [{ family: 'Abebe' }] }) });
  const { id } = created;
  assert.equal(Client.httpFor(created).response.status, 201);
  assert.equal(headers(created).get('location'), `${baseUrl}/Patient/${id}/_history/1`);
  const read = await client.read({ resourceType, id });
  assert.deepEqual(read, created);
  assert.equal(headers(read).get('etag'), 'W/"1"');

  const body = { ...read, name: [{ family: 'Bekele' }] };
  const updated = await client.update({ resourceType, id, body, options: { headers: { 'If-Match': 'W/"1"' } } });
  assert.equal(updated.meta.versionId, '2');
  assert.deepEqual(updated.name, [{ family: 'Bekele' }]);
  await assert.rejects(
    client.update({ resourceType, id, body, options: { headers: { 'If-Match': 'W/"1"' } } }),
    refused(412, 'If-Match'),
  );

  const jsonPatch = [{ op: 'add', path: '/birthDate', value: '2020-01-31' }];
  const patched = await client.patch({ resourceType, id, jsonPatch });
  assert.equal(patched.meta.versionId, '3');
  assert.equal(patched.birthDate, '2020-01-31');

  const history = await client.history({ resourceType, id });
  assert.equal(history.total, 3);
  assert.deepEqual(history.entry.map((entry) => entry.resource.meta.versionId), ['3', '2', '1']);
  assert.deepEqual(await client.vread({ resourceType, id, version: '1' }), created);
  const ofType = await client.history({ resourceType });
  assert.equal(ofType.type, 'history');
  assert.ok((await client.systemHistory()).entry.length > 0);

  const searchParams = { identifier: `${SYSTEM}|${run}` };
  const found = await client.search({ resourceType, searchParams });
  assert.equal(found.total, 1);
  assert.deepEqual(found.entry[0].resource, patched);
  const posted = await client.search({ resourceType, searchParams, options: { postSearch: true } });
  assert.deepEqual(posted.entry, found.entry);
  const everywhere = await client.systemSearch({ searchParams: { _type: 'Patient', _id: id } });
  assert.equal(everywhere.entry[0].resource.id, id);

  await client.delete({ resourceType, id });
  await assert.rejects(client.read({ resourceType, id }), refused(410, 'deleted'));
  assert.equal((await client.search({ resourceType, searchParams })).total, 0);
  assert.equal((await client.history({ resourceType, id })).entry[0].request.method, 'DELETE');
}

async function conditions() {
  const searchParams = { identifier: `${SYSTEM}|${run}-once` };
  const condition = { headers: { 'If-None-Exist': `identifier=${SYSTEM}|${run}-once` } };
  const body = patient(`${run}-once`, { active: true });
  const first = await client.create({ resourceType: 'Patient', body, options: condition });
  const again = await client.create({ resourceType: 'Patient', body, options: condition });
  assert.deepEqual(again, first);
  assert.equal(Client.httpFor(again).response.status, 200);
  const updated = await client.update({ resourceType: 'Patient', searchParams, body: { ...body, active: false } });
  assert.equal(updated.id, first.id);
  assert.equal(updated.meta.versionId, '2');
}

async function pages() {
  for (let number = 0; number < 7; number += 1) {
    const meta = { tag: [{ system: SYSTEM, code: `${run}-page` }] };
    await client.create({ resourceType: 'Patient', body: patient(`${run}-page-${number}`, { meta }) });
  }
  const searchParams = { _tag: `${SYSTEM}|${run}-page`, _count: 3, _sort: '_id' };
  const seen = [];
  let page = await client.search({ resourceType: 'Patient', searchParams });
  const sizes = [];
  while (page) {
    sizes.push(page.entry.length);
    seen.push(...page.entry.map((entry) => entry.resource.identifier[0].value));
    page = await client.nextPage({ bundle: page });
  }
  assert.deepEqual(sizes, [3, 3, 1]);
  assert.deepEqual(seen.sort(), [0, 1, 2, 3, 4, 5, 6].map((number) => `${run}-page-${number}`));
}

async function bundles() {
  const url = 'urn:uuid:4b2a4d62-6d3c-4d64-9a0b-1f6f2c0e9a03';
  const observation = { resourceType: 'Observation', status: 'final', code: { text: run }, subject: { reference: url } };
  const entry = [
    { resource: observation, request: { method: 'POST', url: 'Observation' } },
    { fullUrl: url, resource: patient(`${run}-tx`), request: { method: 'POST', url: 'Patient' } },
  ];
  const answer = await client.transaction({ body: { resourceType: 'Bundle', type: 'transaction', entry } });
  assert.deepEqual(answer.entry.map((it) => it.response.status), ['201 Created', '201 Created']);
  const [patientKey] = answer.entry[1].response.location.split('/_history');
  const id = patientKey.split('/')[1];

  const inCompartment = await client.search({ resourceType: 'Observation', compartment: { resourceType: 'Patient', id } });
  assert.equal(inCompartment.total, 1);
  assert.equal(inCompartment.entry[0].resource.subject.reference, patientKey);
  const { subject } = inCompartment.entry[0].resource;
  const resolved = await client.resolve({ reference: subject.reference });
  assert.equal(resolved.identifier[0].value, `${run}-tx`);

  const everything = await client.operation({ name: 'everything', resourceType: 'Patient', id, method: 'GET' });
  assert.deepEqual(everything.entry.map((it) => it.resource.resourceType).sort(), ['Observation', 'Patient']);

  const batch = await client.batch({
    body: {
      resourceType: 'Bundle',
      type: 'batch',
      entry: [
        { request: { method: 'GET', url: patientKey } },
        { request: { method: 'GET', url: `Patient/no-${run}` } },
        { request: { method: 'DELETE', url: patientKey } },
      ],
    },
  });
  // Deletes come before reads, whichever way round they stand.
  assert.deepEqual(batch.entry.map((it) => it.response.status.slice(0, 3)), ['410', '404', '204']);
}

const statement = await client.capabilityStatement();
assert.equal(statement.fhirVersion, '5.0.0');
await oneResource();
await conditions();
await pages();
await bundles();
console.log('done: fhir-kit-client');
