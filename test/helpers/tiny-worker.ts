/** @file A worker process of a search on the tiny fixtures, whose tokenizer needs no file. */
import { serveSearch } from "../../src/prune/worker-loop.js";
import { tinyTokenizer } from "./tiny.js";

serveSearch(process.argv[2]!, async () => tinyTokenizer);
