#!/usr/bin/env node
/**
 * @file The program that `softprompt` starts: resolves its own real path and runs entry.ts there.
 *
 * In: nothing; the command line is read by entry.ts. It imports none of our modules by a relative name, because under
 * `--preserve-symlinks-main` such a name is looked up beside the link that was started, not beside this file.
 */
import { realpathSync } from "node:fs";
import * as nodeModule from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

// Node 22.8 and newer keep compiled modules between starts; if the folder is not writable, this has no effect.
const { enableCompileCache } = nodeModule as { enableCompileCache?: () => unknown };
enableCompileCache?.();

// runtime/node.ts says what it does. Child processes and threads take it over.
process.env.SOFTPROMPT_DENORMALS ??= "zero";

const here = dirname(realpathSync(fileURLToPath(import.meta.url)));
const { enter } = (await import(pathToFileURL(join(here, "entry.js")).href)) as typeof import("./entry.js");
await enter();
