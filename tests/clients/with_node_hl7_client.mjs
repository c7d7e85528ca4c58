// Sends a message and a batch of two with node-hl7-client, and prints MSA-1 and MSA-2 of what is said to each.
// node with_node_hl7_client.mjs PATH-OF-INDEX.mjs PORT
const { Batch, Client, Message } = await import(process.argv[2]);

const text = (id) => `MSH|^~\\&|0|FAC|||20260301||ADT^A01|${id}|P|2.5.1\rPID|1||${id}\r`;
const batch = `BHS|^~\\&|0|FAC|||20260301||||B1\r${text('N2')}${text('N3')}BTS|2\r`;

const client = new Client({ host: '127.0.0.1' });
const answers = [];
let told;
const connection = client.createConnection({ port: Number(process.argv[3]) }, (answer) => {
  answers.push(answer.getMessage().toString());
  told?.();
});
const answered = (count) => new Promise((resolve) => {
  told = () => answers.length >= count && resolve();
  told();
});
await connection.sendMessage(new Message({ text: text('N1') }));
await answered(1);
await connection.sendMessage(new Batch({ text: batch }));
await answered(2);
await connection.close();
for (const line of answers.join('\r').split('\r').filter((line) => line.startsWith('MSA'))) console.log(line);
process.exit(0);
