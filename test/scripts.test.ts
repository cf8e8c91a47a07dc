/** @file Scripts that run on the built package, experiments and benchmarks: every name that they import from it is exported there. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect, test } from "vitest";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const { exports: doors } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  exports: Record<string, { default?: string; import?: string } | string>;
};
const scripts = ["bench", "experiments", "scripts", "models", "examples"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".mjs") && !name.includes("node_modules"))
    .map((name) => join(root, folder, name)),
);

/** What a script takes from the package, or from dist: the source file, and a name in it. */
function taken(script: string): { source: string; name: string }[] {
  const text = readFileSync(script, "utf8");
  const places = String.raw`"(softprompt(?:\/[\w-]+)?|\.[^"]*\/dist\/[^"]*\.js)"`;
  const found = [
    ...text.matchAll(new RegExp(String.raw`import \{([^}]*)\} from ${places}`, "g")),
    ...text.matchAll(new RegExp(String.raw`const \{([^}]*)\} = await import\(${places}\)`, "g")),
  ];
  return found.flatMap(([, names, place]) => {
    const door = doors[place!.replace("softprompt", ".")];
    const built = place!.startsWith(".")
      ? resolve(dirname(script), place!)
      : join(root, typeof door === "object" ? (door.import ?? door.default ?? place!) : (door ?? place!));
    const source = join(root, "src", relative(join(root, "dist"), built)).replace(/\.js$/, ".ts");
    const plain = names!.split(",").map((name) =>
      name
        .trim()
        .split(/ as |:/)[0]!
        .trim(),
    );
    return plain.filter((name) => name !== "").map((name) => ({ source, name }));
  });
}

test("every name is exported where the script looks for it", async () => {
  const all = scripts.flatMap((script) => taken(script).map((one) => ({ ...one, script: relative(root, script) })));
  expect(all.length).toBeGreaterThan(20);
  const missing = [];
  for (const one of all)
    if (!((await import(pathToFileURL(one.source).href)) as object)[one.name as never]) missing.push(one);
  expect(missing).toEqual([]);
}, 60_000);
