// Says, and answers with, what Node's http has read: one line of JSON for each request. Says its port first.
import http from "node:http";

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("error", () => response.destroy());
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const socket = request.socket;
    socket.count = (socket.count ?? 0) + 1;
    const seen = JSON.stringify({
      method: request.method,
      target: request.url,
      host: request.headers.host ?? "",
      body: Buffer.concat(pieces).toString("hex"),
      connection: String(socket.remotePort),
      nth: socket.count,
    });
    console.log(seen);
    response.setHeader("content-length", seen.length);
    response.end(seen);
  });
});
server.keepAliveTimeout = 60000;
server.listen(0, "127.0.0.1", () => console.log(`PORT ${server.address().port}`));
