/** @file A child process of the comparison of methods on the tiny fixtures, whose tokenizer needs no file. */
import { serveUnits } from "../../src/study/unit-worker-loop.js";
import { tinyTokenizer } from "./tiny.js";

serveUnits(process.argv[2]!, async () => tinyTokenizer);
