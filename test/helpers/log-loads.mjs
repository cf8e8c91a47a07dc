/** @file Writes the URL of every module that is loaded to standard error: `node --import ./log-loads.mjs …`. */
import { register } from "node:module";

const hooks = `
import { writeSync } from "node:fs";
export async function load(url, context, next) {
  writeSync(2, "load " + url + "\\n");
  return next(url, context);
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
