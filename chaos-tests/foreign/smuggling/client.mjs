// Asks for each "METHOD path" that stdin names, one after the other on one connection, and says what it has read: a line of
// JSON for each. The argument says where.
import readline from "node:readline";
import { Client } from "undici";

const client = new Client(`http://${process.argv[2]}`, { pipelining: 1, headersTimeout: 20000, bodyTimeout: 20000 });
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [method, path] = line.split(" ");
  try {
    const answer = await client.request({ method, path });
    const body = Buffer.from(await answer.body.arrayBuffer()).toString("hex");
    console.log(JSON.stringify({ path, status: answer.statusCode, body }));
  } catch (error) {
    console.log(JSON.stringify({ path, error: String(error) }));
  }
}
await client.destroy();
