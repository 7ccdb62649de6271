// undici, Node's http or ws against the proxy: node_client.mjs (undici|http|ws) (get|full) PROXY ORIGIN.
import http from "node:http";
import { Agent, Client, request } from "undici";
import WebSocket from "ws";

const [client, extent, proxy, origin] = process.argv.slice(2);
const large = Buffer.alloc(2 * 1024 * 1024, Buffer.from(Array.from({ length: 256 }, (_, i) => i)));

function check(what, condition) {
  if (!condition) {
    console.error(`failed: ${what}`);
    process.exit(1);
  }
}

async function body(answer) {
  return Buffer.from(await answer.body.arrayBuffer());
}

async function fails(what, doing) {
  try {
    await doing();
  } catch {
    return;
  }
  check(`${what} ended cleanly`, false);
}

async function withUndici() {
  const wanted = await body(await request(`http://${origin}/bytes/100000`));
  check("the origin itself", wanted.length === 100000);
  const one = new Client(`http://${proxy}`, { pipelining: 10 });
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => one.request({ method: "GET", path: "/bytes/100000" }).then(body)),
  );
  check("fifty, pipelined on one connection", answers.every((answer) => answer.equals(wanted)));
  await one.close();
  const dispatcher = new Agent({ connections: 20 });
  const many = await Promise.all(
    Array.from({ length: 100 }, () => request(`http://${proxy}/bytes/100000`, { dispatcher }).then(body)),
  );
  check("a hundred on twenty", many.every((answer) => answer.equals(wanted)));
  for (let n = 0; n < 10; n++) {
    const controller = new AbortController();
    const answer = await request(`http://${proxy}/bytes/9000000`, { signal: controller.signal, dispatcher });
    answer.body.on("error", () => {});
    controller.abort();
  }
  check("after ten that went away", (await body(await request(`http://${proxy}/bytes/100000`))).equals(wanted));
  const head = await request(`http://${proxy}/bytes/1000`, { method: "HEAD" });
  check("HEAD", head.headers["content-length"] === "1000" && (await body(head)).length === 0);
  if (extent === "get") return;
  const echo = { method: "POST", dispatcher };
  check("an echo with a length", (await body(await request(`http://${proxy}/echo`, { ...echo, body: large }))).equals(large));
  async function* pieces() {
    for (let at = 0; at < large.length; at += 40009) yield large.subarray(at, at + 40009);
  }
  const chunked = await request(`http://${proxy}/echo`, { ...echo, body: pieces() });
  check("an echo in chunks", (await body(chunked)).equals(large));
  await fails("a body that broke off", async () => body(await request(`http://${proxy}/abort`, { dispatcher })));
}

function ask(options, pieces = [], trailers) {
  const [host, port] = proxy.split(":");
  return new Promise((resolve, reject) => {
    const asking = http.request({ host, port, ...options }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("error", reject);
      answer.on("aborted", () => reject(new Error("aborted")));
      answer.on("end", () => resolve({ answer, body: Buffer.concat(parts), continued: asking.continued }));
    });
    asking.on("error", reject);
    const send = () => {
      for (const piece of pieces) asking.write(piece);
      if (trailers) asking.addTrailers(trailers);
      asking.end();
    };
    if (options.headers?.expect) {
      asking.on("continue", () => {
        asking.continued = true;
        send();
      });
      asking.flushHeaders();
    } else send();
  });
}

async function withHttp() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set();
  for (let n = 0; n < 50; n++) {
    const { answer, body } = await ask({ path: "/bytes/1000", agent });
    check(`answer ${n}`, answer.statusCode === 200 && body.length === 1000);
    ports.add(answer.socket?.localPort);
  }
  check("HEAD", (await ask({ path: "/bytes/1000", method: "HEAD", agent })).body.length === 0);
  if (extent === "get") return;
  const post = { path: "/echo", method: "POST", agent };
  check("an echo in chunks", (await ask(post, [large, "x", large])).body.length === 2 * large.length + 1);
  const expecting = await ask({ ...post, headers: { expect: "100-continue", "content-length": large.length } }, [large]);
  check("100-continue", expecting.continued && expecting.body.equals(large));
  if (origin === "node") {
    const trailing = await ask(
      { ...post, headers: { trailer: "x-sum", te: "trailers", connection: "keep-alive, te" } },
      ["hello"],
      { "x-sum": "12345" },
    );
    check("trailers there and back", trailing.answer.trailers["x-sum"] === "12345");
  }
  await fails("a body that broke off", () => ask({ path: "/abort", agent }));
  agent.destroy();
}

function withWebSocket() {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://${proxy}/ws`);
    let got = 0;
    socket.on("open", () => {
      for (let n = 0; n < 100; n++) socket.send(`hello ${n}`);
      socket.send(large.subarray(0, 1 << 20));
    });
    socket.on("message", (data, binary) => {
      if (got < 100) check(`message ${got}`, !binary && data.toString() === `hello ${got}`);
      else {
        check("1 MiB", binary && data.equals(large.subarray(0, 1 << 20)));
        socket.close(1000);
      }
      got++;
    });
    socket.on("error", (error) => check(error.message, false));
    socket.on("close", (code) => {
      check("a clean close", code === 1000 && got === 101);
      resolve();
    });
  });
}

await { undici: withUndici, http: withHttp, ws: withWebSocket }[client]();
console.log("fine");
process.exit(0);
