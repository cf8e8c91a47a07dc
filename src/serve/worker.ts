/** @file The program of the engine's thread; see worker-loop.ts. */
import { parentPort, workerData } from "node:worker_threads";
import type { EngineStart } from "./protocol.js";
import { serveEngine } from "./worker-loop.js";

await serveEngine(parentPort!, workerData as EngineStart);
