/** @file The program a child process of the comparison of methods runs; see unit-worker-loop.ts. Argument: the path of its parent's plan. */
import { openTokenizer } from "../model/tokenizer.js";
import { serveUnits } from "./unit-worker-loop.js";

serveUnits(process.argv[2]!, openTokenizer);
