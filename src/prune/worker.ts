/** @file The program a worker process of a search runs; see worker-loop.ts. Argument: the search's folder. */
import { openTokenizer } from "../model/tokenizer.js";
import { serveSearch } from "./worker-loop.js";

serveSearch(process.argv[2]!, openTokenizer);
