/** @file Scripts that run on the built package, experiments and benchmarks: every name that they import from it is exported there. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const scripts = ["bench", "experiments", "scripts", "models", "examples", "test"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".mjs") && !name.includes("node_modules"))
    .map((name) => join(root, folder, name)),
);

/** What a script takes from dist: the source of the file, and a name in it. */
function taken(script: string): { source: string; name: string }[] {
  const text = readFileSync(script, "utf8");
  const found = [
    ...text.matchAll(/import \{([^}]*)\} from "(\.[^"]*\/dist\/[^"]*)\.js"/g),
    ...text.matchAll(/const \{([^}]*)\} = await import\("(\.[^"]*\/dist\/[^"]*)\.js"\)/g),
  ];
  return found.flatMap(([, names, path]) => {
    const source = `${join(root, "src", relative(join(root, "dist"), resolve(dirname(script), path!)))}.ts`;
    const plain = names!.split(",").map((name) => name.trim().split(/ as |:/)[0]!.trim());
    return plain.filter((name) => name !== "").map((name) => ({ source, name }));
  });
}

const exported = (text: string, name: string) =>
  new RegExp(`export (?:async )?(?:function\\*?|const|class) ${name}\\b`).test(text) ||
  new RegExp(`export \\{[^}]*\\b${name}\\b`).test(text);

test("every name is exported where the script looks for it", () => {
  const all = scripts.flatMap((script) => taken(script).map((one) => ({ ...one, script: relative(root, script) })));
  expect(all.length).toBeGreaterThan(20);
  const missing = all.filter(({ source, name }) => !exported(readFileSync(source, "utf8"), name));
  expect(missing).toEqual([]);
});
