import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import ca.uhn.fhir.validation.ValidationResult;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r5.model.CapabilityStatement;

/** What the server says of itself, in the eyes of HL7's validator: java -cp JARS ValidateWithHapi.java BASE RUN */
public class ValidateWithHapi {
  public static void main(String[] arguments) throws Exception {
    FhirContext context = FhirContext.forR5();
    ValidationSupportChain support = new ValidationSupportChain(
        new DefaultProfileValidationSupport(context),
        new CommonCodeSystemsTerminologyService(context),
        new InMemoryTerminologyServerValidationSupport(context));
    FhirValidator validator = context.newValidator().registerValidatorModule(new FhirInstanceValidator(support));
    String base = arguments[0];
    List<String> addresses = new ArrayList<>(List.of(base + "/metadata", base + "/metadata?mode=terminology"));
    addresses.addAll(ownOperations(context, base));
    int errors = 0;
    for (String address : addresses) {
      ValidationResult result = validator.validateWithResult(get(address));
      for (SingleValidationMessage message : result.getMessages()) {
        if (message.getSeverity().compareTo(ResultSeverityEnum.ERROR) >= 0) {
          errors++;
          System.out.println(address + ": " + message.getLocationString() + ": " + message.getMessage());
        }
      }
    }
    if (errors > 0) {
      throw new AssertionError(errors + " errors");
    }
    System.out.println("done: validator");
  }

  /** The definitions that the server serves of operations which are its own. */
  static TreeSet<String> ownOperations(FhirContext context, String base) throws Exception {
    CapabilityStatement statement = context.newJsonParser().parseResource(CapabilityStatement.class, get(base + "/metadata"));
    TreeSet<String> found = new TreeSet<>();
    statement.getRest().forEach(rest -> {
      rest.getOperation().forEach(operation -> found.add(operation.getDefinition()));
      rest.getResource().forEach(type -> type.getOperation().forEach(operation -> found.add(operation.getDefinition())));
    });
    found.removeIf(definition -> !definition.startsWith(base));
    if (found.isEmpty()) {
      throw new AssertionError("the statement names no operation of the server's own");
    }
    return found;
  }

  static String get(String address) throws Exception {
    HttpRequest request = HttpRequest.newBuilder(URI.create(address)).header("Accept", "application/fhir+json").build();
    HttpResponse<String> response = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    if (response.statusCode() != 200) {
      throw new AssertionError(address + ": " + response.statusCode());
    }
    return response.body();
  }
}
