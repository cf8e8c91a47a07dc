/**
 * @file Writes the help text, range and default of every option over its key in dist/**\/*.d.ts, where an editor shows it on hover.
 *
 * Options are declared once as data (src/base/options.ts); TypeScript writes only their types into declaration files. Runs after tsc, as a
 * part of `npm run build`. Types made from a table by OptionValues keep its keys' comments.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const dist = resolve(dirname(fileURLToPath(import.meta.url)), "../dist");

/** A declaration file's text with comments. @param tables what the module exports @param wordsOf an option in words */
export function withComments(text, tables, wordsOf) {
  let table = null;
  const out = [];
  for (const line of text.split("\n")) {
    const opened = /^export declare const (?:.*, )?(\w+): \{$/.exec(line);
    if (opened) table = tables[opened[1]] ?? null;
    // several names in one statement: `const model: X, openOptions: {`
    else if (/^\}/.test(line)) table = tables[/^\}, (\w+): \{$/.exec(line)?.[1] ?? ""] ?? null;
    const key = /^ {4}(\w+): import\("[^"]*options\.js"\)\.\w+Option</.exec(line)?.[1];
    const option = key === undefined || table === null ? undefined : table[key];
    if (option !== undefined && !out.at(-1).trimEnd().endsWith("*/")) out.push(`    /** ${wordsOf(option)} */`);
    out.push(line);
  }
  return out.join("\n");
}

/** Help, then what a value looks like, then the default. */
export function optionWords(option, expectation) {
  const value = Array.isArray(option.default) ? option.default.join(", ") : String(option.default);
  const fallback = option.required ? "required" : option.default === undefined ? null : `default ${value}`;
  const parts = [expectation(option), fallback, option.source].filter((part) => part != null && part !== "");
  return `${option.help}. (${parts.join("; ")})`.replaceAll("*/", "*\\/").replaceAll(/\s+/g, " ");
}

async function main() {
  const { expectation } = await import(pathToFileURL(join(dist, "base/options.js")).href);
  const files = readdirSync(dist, { recursive: true, encoding: "utf8" }).filter(
    (name) => name.endsWith(".d.ts") && !name.replaceAll("\\", "/").startsWith("cli/"),
  );
  for (const name of files) {
    const path = join(dist, name);
    const text = readFileSync(path, "utf8");
    if (!/^ {4}\w+: import\("[^"]*options\.js"\)\.\w+Option</m.test(text)) continue;
    const tables = await import(pathToFileURL(path.replace(/\.d\.ts$/, ".js")).href);
    writeFileSync(
      path,
      withComments(text, tables, (option) => optionWords(option, expectation)),
    );
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
