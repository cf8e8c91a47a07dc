/** @file The engine's thread, which dies in the middle of its first long text; the one that is started after it lives. */
import { parentPort, workerData } from "node:worker_threads";
import type { EngineStart, Report } from "../../src/serve/protocol.js";
import { serveEngine } from "../../src/serve/worker-loop.js";

const port = parentPort!;
const post = port.postMessage.bind(port);
let pieces = 0;
port.postMessage = (report: Report) => {
  post(report);
  if (report.kind !== "events") return;
  for (const [, { kind }] of report.events) if (kind === "piece") pieces++;
  // what was said goes out first
  if (pieces === 3) setImmediate(() => process.exit(3));
};

await serveEngine(port, workerData as EngineStart);
