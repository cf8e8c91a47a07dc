/** @file As tiny-unit-worker, with a model that takes longer to open than a run that is read back. */
import { setTimeout } from "node:timers/promises";
import { serveUnits } from "../../src/study/unit-worker-loop.js";
import { tinyTokenizer } from "./tiny.js";

serveUnits(process.argv[2]!, () => setTimeout(600, tinyTokenizer));
