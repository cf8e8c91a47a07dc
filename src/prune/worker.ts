/** @file The program a worker process of a search runs; see worker-loop.ts. Argument: the search's folder. */
import { loadTokenizer } from "../text/load.js";
import { serveSearch } from "./worker-loop.js";

serveSearch(process.argv[2]!, loadTokenizer);
