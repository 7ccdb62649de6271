// toxiproxy-node-client through all that it offers: client.mjs API UPSTREAM. What it says does not depend on who answers.
import net from "node:net";
import { Toxiproxy } from "toxiproxy-node-client";

const [api, upstream] = process.argv.slice(2);
const toxiproxy = new Toxiproxy(`http://${api}`);

function say(what, ...values) {
  console.log([what, ...values.map((value) => JSON.stringify(value))].join(" "));
}

async function fails(what, doing) {
  try {
    await doing();
    say(what, "did not fail");
  } catch (error) {
    say(what, error.message);
  }
}

// Sends a word through a proxy and waits for it to come back: how long it took, or how it ended.
function ask(listen, word = "ping") {
  const [host, port] = [listen.slice(0, listen.lastIndexOf(":")), Number(listen.slice(listen.lastIndexOf(":") + 1))];
  return new Promise((resolve) => {
    const began = Date.now();
    const socket = net.connect(port, host, () => socket.write(word));
    let heard = "";
    const end = (how) => {
      socket.destroy();
      resolve({ heard, how, ms: Date.now() - began });
    };
    socket.setTimeout(10000, () => end("late"));
    socket.on("data", (data) => {
      heard += data;
      if (heard.length >= word.length) end("answered");
    });
    socket.on("end", () => end("closed"));
    socket.on("error", (error) => end(error.code));
  });
}

say("version", (await toxiproxy.getVersion()).trim());
await toxiproxy.reset();
say("none", await toxiproxy.getAll());

const proxy = await toxiproxy.createProxy({ name: "one", listen: "127.0.0.1:0", upstream });
say("created", proxy.name, proxy.enabled, proxy.upstream === upstream, proxy.listen.startsWith("127.0.0.1:"));
await fails("created twice", () => toxiproxy.createProxy({ name: "one", listen: "127.0.0.1:0", upstream }));
await fails("without a name", () => toxiproxy.createProxy({ name: "", listen: "127.0.0.1:0", upstream }));
await fails("unknown", () => toxiproxy.get("nobody"));
say("asked", (await ask(proxy.listen)).how);

const latency = await proxy.addToxic({ name: "late", type: "latency", stream: "downstream", toxicity: 1, attributes: { latency: 300, jitter: 0 } });
say("latency", latency.toJson());
say("slow", (await ask(proxy.listen)).ms >= 300);
say("updated", (await latency.update({ attributes: { latency: 5 } })).toJson());
say("got", (await proxy.getToxic("late")).toJson());
await fails("taken", () => proxy.addToxic({ name: "late", type: "latency", stream: "downstream", toxicity: 1, attributes: {} }));
await latency.remove();
await fails("removed", () => proxy.getToxic("late"));

for (const [type, attributes] of [
  ["bandwidth", { rate: 1000 }],
  ["slow_close", { delay: 10 }],
  ["timeout", { timeout: 10 }],
  ["slicer", { average_size: 2, size_variation: 1, delay: 10 }],
  ["limit_data", { bytes: 2 }],
  ["reset_peer", { timeout: 0 }],
]) {
  const toxic = await proxy.addToxic({ name: type, type, stream: "downstream", toxicity: 1, attributes });
  const { heard, how } = await ask(proxy.listen);
  say(type, toxic.toJson(), heard, how);
  await toxic.remove();
}
await fails("no such type", () => proxy.addToxic({ name: "x", type: "nonsense", stream: "downstream", toxicity: 1, attributes: {} }));
await fails("no such stream", () => proxy.addToxic({ name: "x", type: "latency", stream: "sideways", toxicity: 1, attributes: {} }));

const off = await proxy.update({ enabled: false, listen: proxy.listen, upstream });
say("off", off.enabled, off.listen === proxy.listen, (await ask(proxy.listen)).how);
const on = await proxy.update({ enabled: true, listen: proxy.listen, upstream });
say("on", on.enabled, on.listen === proxy.listen, (await ask(proxy.listen)).how);

await proxy.addToxic({ name: "stays", type: "latency", stream: "upstream", toxicity: 0, attributes: { latency: 1 } });
const populated = await toxiproxy.populate([
  { name: "one", listen: proxy.listen, upstream },
  { name: "two", listen: "127.0.0.1:0", upstream, enabled: false },
]);
say("populated", Object.keys(populated), populated.one.enabled, populated.two.enabled);
say("untouched", (await (await toxiproxy.get("one")).getToxic("stays")).toJson());
await toxiproxy.reset();
say("reset", Object.entries(await toxiproxy.getAll()).map(([name, one]) => [name, one.enabled]));
await fails("no toxic after it", () => proxy.getToxic("stays"));
await proxy.remove();
await (await toxiproxy.get("two")).remove();
await fails("gone", () => proxy.remove());
say("none", await toxiproxy.getAll(), (await ask(proxy.listen)).how);
