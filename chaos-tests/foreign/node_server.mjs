// An origin on Node's http and ws: /echo, /bytes/N, /chunked/N, /abort, /head, /trailers, and WebSocket echo.
import http from "node:http";
import { WebSocketServer } from "ws";

const server = http.createServer((request, response) => {
  const [, what, number] = request.url.split("/");
  if (what === "echo") {
    if (request.headers["content-length"]) response.setHeader("content-length", request.headers["content-length"]);
    request.on("end", () => {
      if (request.trailers["x-sum"]) response.addTrailers({ "x-sum": request.trailers["x-sum"] });
    });
    if (request.headers.trailer) response.setHeader("trailer", request.headers.trailer);
    request.on("error", () => response.destroy());
    request.pipe(response);
  } else if (what === "bytes") {
    const body = Buffer.alloc(Number(number));
    for (let i = 0; i < body.length; i++) body[i] = (i * 7 + Math.floor(i / 251)) % 256;
    response.setHeader("content-length", body.length);
    response.end(body);
  } else if (what === "chunked") {
    for (let n = 0; n < Number(number); n++) response.write(`chunk ${n}\n`);
    response.end();
  } else if (what === "abort") {
    response.setHeader("content-length", 100000);
    response.write(Buffer.alloc(1000));
    setTimeout(() => request.socket.resetAndDestroy(), 50);
  } else if (what === "head") {
    response.end(JSON.stringify({ method: request.method, headers: request.rawHeaders }));
  } else {
    response.end("node\n");
  }
});

const sockets = new WebSocketServer({ server, maxPayload: 1 << 28 });
sockets.on("connection", (socket) => {
  socket.on("message", (data, binary) => {
    if (!binary && data.toString() === "close please") socket.close(4321, "as asked");
    else socket.send(data, { binary });
  });
});
server.listen(0, "127.0.0.1", () => console.log(`PORT ${server.address().port}`));
