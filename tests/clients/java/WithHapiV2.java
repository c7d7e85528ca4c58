import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.app.Connection;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.model.v251.message.ACK;
import ca.uhn.hl7v2.model.v251.message.ADT_A01;
import ca.uhn.hl7v2.util.idgenerator.InMemoryIDGenerator;

/** Sends messages with HAPI HL7v2 and prints MSA-1 and MSA-2 of each answer. Its parser reads them: an ACK that it cannot is an exception. */
public class WithHapiV2 {
  public static void main(String[] arguments) throws Exception {
    try (DefaultHapiContext context = new DefaultHapiContext()) {
      // Else it keeps the last control id in a file where it is started.
      context.getParserConfiguration().setIdGenerator(new InMemoryIDGenerator());
      Connection connection = context.newClient("127.0.0.1", Integer.parseInt(arguments[0]), false);
      for (int n = 1; n <= 3; n++) {
        ADT_A01 message = new ADT_A01();
        message.setParser(context.getPipeParser());
        message.initQuickstart("ADT", "A01", "P");
        message.getMSH().getSendingApplication().getNamespaceID().setValue("0");
        message.getMSH().getMessageControlID().setValue("J" + n);
        if (n == 3) {
          message.getMSH().getAcceptAcknowledgmentType().setValue("AL");
          message.getMSH().getApplicationAcknowledgmentType().setValue("NE");
        }
        message.getPID().getPatientIdentifierList(0).getIDNumber().setValue("7 \\ | ^ é");
        Message answer = connection.getInitiator().sendAndReceive(message);
        ACK ack = (ACK) answer;
        System.out.println("MSA|" + ack.getMSA().getAcknowledgmentCode() + "|" + ack.getMSA().getMessageControlID());
      }
      connection.close();
    }
  }
}
