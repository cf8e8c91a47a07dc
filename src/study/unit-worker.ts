/** @file The program a child process of the comparison of methods runs; see unit-worker-loop.ts. Argument: the folder of its runs. */
import { openTokenizer } from "../model/tokenizer.js";
import { serveUnits } from "./unit-worker-loop.js";

serveUnits(process.argv[2]!, openTokenizer);
