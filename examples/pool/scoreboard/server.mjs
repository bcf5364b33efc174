// A worker of a pool that writes on its scoreboard: HTTP with kept connections, at the socket that doula opened.
import { openSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { Server } from "node:net";

const board = Number(process.env.DOULA_SCOREBOARD ?? openSync("/dev/null", "w"));
const words = Buffer.alloc(16);
let [busy, answered, ending] = [0, 0n, false];
function write() {
  words.writeUInt32LE(busy > 0 ? 2 : 1, 0);
  words.writeBigUInt64LE(answered, 8);
  writeSync(board, words, 0, 16, 0);
}
const server = createServer((request, response) => {
  busy++, write();
  response.on("close", () => (busy--, answered++, write()));
  response.shouldKeepAlive &&= !ending; // the last answer says that it is the last
  response.end("hello\n");
});
server.listen({ fd: 3 }, () => (write(), console.log("ready")));
// The close of an HTTP server hangs up on kept connections, on which a request may be on its way; this only stops accepting.
process.on("SIGTERM", () => ((ending = true), Server.prototype.close.call(server)));
