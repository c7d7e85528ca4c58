import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.api.MethodOutcome;
import ca.uhn.fhir.rest.api.PreferReturnEnum;
import ca.uhn.fhir.rest.api.SortSpec;
import ca.uhn.fhir.rest.client.api.IGenericClient;
import ca.uhn.fhir.rest.client.api.ServerValidationModeEnum;
import ca.uhn.fhir.rest.gclient.TokenClientParam;
import ca.uhn.fhir.rest.server.exceptions.BaseServerResponseException;
import ca.uhn.fhir.rest.server.exceptions.PreconditionFailedException;
import ca.uhn.fhir.rest.server.exceptions.ResourceGoneException;
import ca.uhn.fhir.rest.server.exceptions.ResourceNotFoundException;
import ca.uhn.fhir.rest.server.exceptions.UnprocessableEntityException;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.instance.model.api.IIdType;
import org.hl7.fhir.r5.model.Bundle.BundleEntryComponent;
import org.hl7.fhir.r5.model.Bundle.BundleType;
import org.hl7.fhir.r5.model.Bundle.HTTPVerb;
import org.hl7.fhir.r5.model.Bundle;
import org.hl7.fhir.r5.model.CapabilityStatement;
import org.hl7.fhir.r5.model.CodeType;
import org.hl7.fhir.r5.model.CodeableConcept;
import org.hl7.fhir.r5.model.DataType;
import org.hl7.fhir.r5.model.Encounter;
import org.hl7.fhir.r5.model.Enumerations;
import org.hl7.fhir.r5.model.Meta;
import org.hl7.fhir.r5.model.Observation;
import org.hl7.fhir.r5.model.OperationOutcome;
import org.hl7.fhir.r5.model.Parameters.ParametersParameterComponent;
import org.hl7.fhir.r5.model.Parameters;
import org.hl7.fhir.r5.model.Patient;
import org.hl7.fhir.r5.model.Period;
import org.hl7.fhir.r5.model.Quantity;
import org.hl7.fhir.r5.model.Reference;
import org.hl7.fhir.r5.model.Resource;
import org.hl7.fhir.r5.model.StringType;

/** The cycle of README.md with the client of HAPI FHIR, once in JSON and once in XML: java -cp JARS WithHapi.java BASE RUN */
public class WithHapi {
  static final String SYSTEM = "http://records.example.org/hapi";
  static final TokenClientParam TAG = new TokenClientParam("_tag");

  final IGenericClient client;
  final String run;

  WithHapi(IGenericClient client, String run) {
    this.client = client;
    this.run = run;
  }

  public static void main(String[] arguments) {
    FhirContext context = FhirContext.forR5();
    // It reads the CapabilityStatement first, and refuses a server of another version.
    context.getRestfulClientFactory().setServerValidationMode(ServerValidationModeEnum.ONCE);
    context.getRestfulClientFactory().setSocketTimeout(60_000);
    for (EncodingEnum encoding : List.of(EncodingEnum.JSON, EncodingEnum.XML)) {
      IGenericClient client = context.newRestfulGenericClient(arguments[0]);
      client.setEncoding(encoding);
      WithHapi cycle = new WithHapi(client, arguments[1] + "-" + encoding.name().toLowerCase());
      cycle.capabilities();
      cycle.oneResource();
      cycle.conditions();
      cycle.pages();
      cycle.transaction();
      cycle.operations();
    }
    System.out.println("done: hapi");
  }

  void capabilities() {
    CapabilityStatement statement = client.capabilities().ofType(CapabilityStatement.class).execute();
    same(Enumerations.FHIRVersion._5_0_0, statement.getFhirVersion());
    check(statement.getRestFirstRep().getResource().size() > 100, "fewer types than R5 has");
  }

  void oneResource() {
    Patient made = patient(run);
    made.addName().setFamily("Abebe").addGiven("Sara");
    MethodOutcome created = client.create().resource(made).prefer(PreferReturnEnum.REPRESENTATION).execute();
    check(created.getCreated(), "not created");
    IIdType id = created.getId().toUnqualifiedVersionless();
    same("1", created.getId().getVersionIdPart());

    Patient read = client.read().resource(Patient.class).withId(id).execute();
    check(alike(read, created.getResource()), "another resource than was created");
    same("Abebe", read.getNameFirstRep().getFamily());

    // With its version in the id, HAPI updates under If-Match.
    read.getNameFirstRep().setFamily("Bekele");
    read.addExtension("http://example.org/weight", new Quantity().setValue(new java.math.BigDecimal("3.50")));
    MethodOutcome updated = client.update().resource(read).prefer(PreferReturnEnum.REPRESENTATION).execute();
    same("2", updated.getId().getVersionIdPart());
    same("3.50", ((Patient) updated.getResource()).getExtension().get(0).getValueQuantity().getValue().toPlainString());
    read.getNameFirstRep().setFamily("Chala");
    refused(PreconditionFailedException.class, () -> client.update().resource(read).withId(read.getIdElement())
        .withAdditionalHeader("If-Match", "W/\"1\"").execute());

    String patch = "[{\"op\":\"add\",\"path\":\"/birthDate\",\"value\":\"2020-01-31\"}]";
    MethodOutcome patched = client.patch().withBody(patch).withId(id).prefer(PreferReturnEnum.REPRESENTATION).execute();
    same("3", patched.getId().getVersionIdPart());
    Patient third = (Patient) patched.getResource();
    same("2020-01-31", third.getBirthDateElement().getValueAsString());
    same("Bekele", third.getNameFirstRep().getFamily());

    Parameters fhirPatch = new Parameters();
    fhirPatch.addParameter().setName("operation")
        .addPart(part("type", new CodeType("replace")))
        .addPart(part("path", new StringType("Patient.name.family")))
        .addPart(part("value", new StringType("Chala")));
    MethodOutcome again = client.patch().withFhirPatch(fhirPatch).withId(id).prefer(PreferReturnEnum.REPRESENTATION).execute();
    same("4", again.getId().getVersionIdPart());
    Patient fourth = (Patient) again.getResource();
    same("Chala", fourth.getNameFirstRep().getFamily());
    same("2020-01-31", fourth.getBirthDateElement().getValueAsString());

    Bundle history = client.history().onInstance(id).returnBundle(Bundle.class).execute();
    same(4, history.getTotal());
    List<String> versions = new ArrayList<>();
    history.getEntry().forEach(entry -> versions.add(entry.getResource().getMeta().getVersionId()));
    same(List.of("4", "3", "2", "1"), versions);
    Patient first = client.read().resource(Patient.class).withIdAndVersion(id.getIdPart(), "1").execute();
    same("Abebe", first.getNameFirstRep().getFamily());
    Patient unchanged = client.read().resource(Patient.class).withId(id).ifVersionMatches("4").returnResource(fourth).execute();
    check(unchanged == fourth, "not 304 for the current version");

    Bundle found = search(run);
    same(1, found.getTotal());
    check(alike(found.getEntryFirstRep().getResource(), fourth), "another resource than was patched");

    client.delete().resourceById(id).execute();
    refused(ResourceGoneException.class, () -> client.read().resource(Patient.class).withId(id).execute());
    refused(ResourceNotFoundException.class, () -> client.read().resource(Patient.class).withId("no-" + run).execute());
    same(0, search(run).getTotal());
    history = client.history().onInstance(id).returnBundle(Bundle.class).execute();
    same(HTTPVerb.DELETE, history.getEntryFirstRep().getRequest().getMethod());
    check(!history.getEntryFirstRep().hasResource(), "a deleted version with a body");
    check(client.history().onType(Patient.class).returnBundle(Bundle.class).count(5).execute().getEntry().size() == 5, "history of a type");
  }

  void conditions() {
    String value = run + "-once";
    var condition = Patient.IDENTIFIER.exactly().systemAndCode(SYSTEM, value);
    MethodOutcome first = client.create().resource(patient(value)).conditional().where(condition).execute();
    MethodOutcome again = client.create().resource(patient(value)).conditional().where(condition).execute();
    check(first.getCreated() && !Boolean.TRUE.equals(again.getCreated()), "created twice");
    same(first.getId().getIdPart(), again.getId().getIdPart());

    Patient changed = patient(value);
    changed.setActive(true);
    MethodOutcome updated = client.update().resource(changed).conditional().where(condition).execute();
    same(first.getId().getIdPart(), updated.getId().getIdPart());
    same("2", updated.getId().getVersionIdPart());

    String patch = "[{\"op\":\"replace\",\"path\":\"/active\",\"value\":false}]";
    MethodOutcome patched = client.patch().withBody(patch).conditional(Patient.class).where(condition).execute();
    same("3", patched.getId().getVersionIdPart());

    client.delete().resourceConditionalByType(Patient.class).where(condition).execute();
    same(0, search(value).getTotal());
    Encounter wrong = new Encounter();
    wrong.setActualPeriod(new Period().setStartElement(new org.hl7.fhir.r5.model.DateTimeType("2020-05-02")));
    OperationOutcome why = refused(UnprocessableEntityException.class, () -> client.create().resource(wrong).execute());
    check(why.getIssueFirstRep().getExpression().get(0).getValue().startsWith("Encounter"), "a refusal without a place");
  }

  void pages() {
    for (int number = 0; number < 7; number++) {
      client.create().resource(patient(run + "-page-" + number)).execute();
    }
    Bundle page = client.search().forResource(Patient.class).where(TAG.exactly().systemAndCode(SYSTEM, run))
        .sort(new SortSpec("_id")).count(3).returnBundle(Bundle.class).execute();
    TreeSet<String> seen = new TreeSet<>();
    List<Integer> sizes = new ArrayList<>();
    while (true) {
      sizes.add(page.getEntry().size());
      page.getEntry().forEach(entry -> seen.add(((Patient) entry.getResource()).getIdentifierFirstRep().getValue()));
      if (page.getLink(Bundle.LINK_NEXT) == null) {
        break;
      }
      page = client.loadPage().next(page).execute();
    }
    same(List.of(3, 3, 1), sizes);
    same(7, seen.size());
    same(run + "-page-0", seen.first());
  }

  void transaction() {
    String url = "urn:uuid:4b2a4d62-6d3c-4d64-9a0b-1f6f2c0e9a04";
    Observation observation = new Observation();
    observation.setStatus(Enumerations.ObservationStatus.FINAL).setCode(new CodeableConcept().setText(run));
    observation.setSubject(new Reference(url));
    Bundle bundle = new Bundle().setType(BundleType.TRANSACTION);
    bundle.addEntry().setResource(observation).getRequest().setMethod(HTTPVerb.POST).setUrl("Observation");
    BundleEntryComponent about = bundle.addEntry().setFullUrl(url).setResource(patient(run + "-tx"));
    about.getRequest().setMethod(HTTPVerb.POST).setUrl("Patient").setIfNoneExist("identifier=" + SYSTEM + "|" + run + "-tx");
    bundle.addEntry().getRequest().setMethod(HTTPVerb.GET).setUrl("Patient?identifier=" + SYSTEM + "|" + run + "-tx");
    for (String expect : List.of("201 Created", "200 OK")) {
      Bundle answer = client.transaction().withBundle(bundle).execute();
      same(BundleType.TRANSACTIONRESPONSE, answer.getType());
      same("201 Created", answer.getEntry().get(0).getResponse().getStatus());
      same(expect, answer.getEntry().get(1).getResponse().getStatus());
      String where = answer.getEntry().get(1).getResponse().getLocation().replaceAll("/_history.*", "");
      Bundle found = (Bundle) answer.getEntry().get(2).getResource();
      same(where, found.getEntryFirstRep().getResource().getIdElement().toUnqualifiedVersionless().getValue());
    }

    Bundle found = client.search().forResource(Observation.class)
        .where(Observation.SUBJECT.hasChainedProperty("Patient", Patient.IDENTIFIER.exactly().systemAndCode(SYSTEM, run + "-tx")))
        .include(Observation.INCLUDE_SUBJECT).returnBundle(Bundle.class).execute();
    same(2, found.getTotal());
    same(3, found.getEntry().size());

    observation.setStatus(null);
    OperationOutcome why = refused(UnprocessableEntityException.class, () -> client.transaction().withBundle(bundle).execute());
    String place = why.getIssueFirstRep().getExpression().get(0).getValue();
    check(place.startsWith("Bundle.entry[0].resource"), place);
  }

  void operations() {
    IIdType id = client.create().resource(patient(run + "-op")).execute().getId().toUnqualifiedVersionless();
    Observation observation = new Observation();
    observation.setStatus(Enumerations.ObservationStatus.FINAL).setCode(new CodeableConcept().setText(run));
    observation.setSubject(new Reference(id.getValue()));
    client.create().resource(observation).execute();
    Bundle everything = client.operation().onInstance(id).named("$everything").withNoParameters(Parameters.class)
        .returnResourceType(Bundle.class).execute();
    same(2, everything.getEntry().size());

    Meta more = new Meta();
    more.addTag(SYSTEM, run + "-more", null);
    same(2, client.meta().add().onResource(id).meta(more).execute().getTag().size());
    same(1, client.meta().delete().onResource(id).meta(more).execute().getTag().size());
    same(1, client.meta().get(Meta.class).fromResource(id).execute().getTag().size());

    // The resource in Parameters.
    MethodOutcome good = client.validate().resource(patient(run)).execute();
    check(((OperationOutcome) good.getOperationOutcome()).getIssue().stream().noneMatch(WithHapi::isError), "valid, and refused");
  }

  static boolean isError(OperationOutcome.OperationOutcomeIssueComponent issue) {
    return issue.getSeverity() == OperationOutcome.IssueSeverity.ERROR || issue.getSeverity() == OperationOutcome.IssueSeverity.FATAL;
  }

  static ParametersParameterComponent part(String name, DataType value) {
    ParametersParameterComponent part = new ParametersParameterComponent();
    part.setName(name);
    part.setValue(value);
    return part;
  }

  Patient patient(String value) {
    Patient patient = new Patient();
    patient.getMeta().addTag(SYSTEM, run, null);
    patient.addIdentifier().setSystem(SYSTEM).setValue(value);
    return patient;
  }

  Bundle search(String value) {
    return client.search().forResource(Patient.class).where(Patient.IDENTIFIER.exactly().systemAndCode(SYSTEM, value))
        .returnBundle(Bundle.class).execute();
  }

  /** The same but for the id: HAPI makes it absolute where Content-Location or fullUrl says where the resource is. */
  static boolean alike(IBaseResource one, IBaseResource other) {
    one.setId(one.getIdElement().toUnqualified());
    other.setId(other.getIdElement().toUnqualified());
    return ((Resource) one).equalsDeep((Resource) other);
  }

  /** The request fails in this way, and the answer is an OperationOutcome. */
  static OperationOutcome refused(Class<? extends BaseServerResponseException> how, Runnable request) {
    try {
      request.run();
    } catch (BaseServerResponseException failure) {
      check(how.isInstance(failure), failure.toString());
      check(failure.getOperationOutcome() instanceof OperationOutcome, "no OperationOutcome: " + failure);
      return (OperationOutcome) failure.getOperationOutcome();
    }
    throw new AssertionError("not refused: " + how);
  }

  static void same(Object expect, Object is) {
    check(expect.equals(is), is + " instead of " + expect);
  }

  static void check(boolean holds, String otherwise) {
    if (!holds) {
      throw new AssertionError(otherwise);
    }
  }
}
