// WebSocket by Node's http2 and the framing of ws: `server [plain]`, with extended CONNECT or without; `client HOST:PORT`;
// `status HOST:PORT`, which says what a CONNECT is answered.
import http2 from "node:http2";
import { WebSocket } from "ws";

function socketOver(stream, isServer) {
  const socket = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 20_000 });
  socket._isServer = isServer;
  socket.setSocket(stream, Buffer.alloc(0), { allowSynchronousEvents: true, maxPayload: 0, skipUTF8Validation: false });
  return socket;
}

function check(what, condition) {
  if (!condition) {
    console.log(`failed: ${what}`);
    process.exit(1);
  }
}

function server(kind) {
  const server = http2.createServer({ settings: { enableConnectProtocol: kind !== "plain" } });
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    if (headers[":path"] === "/forbidden") {
      stream.respond({ ":status": 403 });
      stream.end();
      return;
    }
    if (headers[":method"] !== "CONNECT" || headers[":protocol"] !== "websocket") {
      stream.respond({ ":status": 200 });
      stream.end("a page");
      return;
    }
    check("no key over HTTP/2", headers["sec-websocket-key"] === undefined);
    stream.respond({ ":status": 200 });
    const socket = socketOver(stream, true);
    socket.on("error", () => {});
    socket.on("message", (data, binary) => {
      if (!binary && data.toString() === "close please") socket.close(4321, "as asked");
      else socket.send(data, { binary });
    });
  });
  server.listen(0, "127.0.0.1", () => console.log(`PORT ${server.address().port}`));
}

function connect(address) {
  const session = http2.connect(`http://${address}`);
  return new Promise((resolve) => session.on("remoteSettings", (settings) => {
    check("extended CONNECT is offered", settings.enableConnectProtocol === true);
    resolve(session);
  }));
}

function ask(session, address, path) {
  const stream = session.request({ ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": path,
    ":authority": address, "sec-websocket-version": "13" }, { endStream: false });
  return new Promise((resolve, reject) => {
    stream.on("error", reject);
    stream.on("response", (headers) => resolve([stream, headers]));
  });
}

async function client(address) {
  const session = await connect(address);
  const [stream, headers] = await ask(session, address, "/ws");
  check("200", headers[":status"] === 200);
  check("no answer to a key", headers["sec-websocket-accept"] === undefined);
  const socket = socketOver(stream, false);
  const waiting = [];
  const came = [];
  socket.on("message", (data) => (waiting.length ? waiting.shift()(data) : came.push(data)));
  const next = () => (came.length ? came.shift() : new Promise((resolve) => waiting.push(resolve)));
  for (let n = 0; n < 100; n++) {
    socket.send(`hello ${n}`);
    check(`message ${n}`, (await next()).toString() === `hello ${n}`);
  }
  const large = Buffer.alloc(1 << 20, "0123456789abcdef");
  socket.send(large);
  check("1 MiB", large.equals(await next()));
  for (let n = 0; n < 50; n++) socket.send(`ahead ${n}`);
  for (let n = 0; n < 50; n++) check(`ahead ${n}`, (await next()).toString() === `ahead ${n}`);
  const ponged = new Promise((resolve) => socket.on("pong", resolve));
  socket.ping();
  await ponged;
  const closed = new Promise((resolve) => socket.on("close", (code, reason) => resolve([code, reason.toString()])));
  socket.send("close please");
  const [code, reason] = await closed;
  check("a close from there", code === 4321 && reason === "as asked");
  const [another] = await ask(session, address, "/ws");
  const second = socketOver(another, false);
  const over = new Promise((resolve) => second.on("close", resolve));
  second.close(1000);
  check("a close from here", (await over) === 1000);
  console.log("fine");
  session.close();
}

async function status(address, path) {
  const session = await connect(address);
  const [stream, headers] = await ask(session, address, path);
  console.log(headers[":status"]);
  stream.close();
  session.close();
}

// What a client sees of a drain: a request that is under way, and what GOAWAY says.
async function drain(address) {
  const session = http2.connect(`http://${address}`);
  session.on("goaway", (code, last) => console.log(`goaway ${code} ${last}`));
  const stream = session.request({ ":path": "/slow" });
  stream.on("response", (headers) => console.log(`answered ${headers[":status"]}`));
  stream.on("end", () => console.log("whole"));
  stream.resume();
  session.on("close", () => console.log("closed"));
}

const [what, address, path] = process.argv.slice(2);
if (what === "server") server(address);
else if (what === "client") await client(address);
else if (what === "status") await status(address, path);
else await drain(address);
