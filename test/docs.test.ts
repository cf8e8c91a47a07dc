/**
 * @file Documentation cannot lie: command pages come from the option tables, links lead somewhere, the README's program runs.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { docsPages } from "../src/cli/commands/docs.js";
import { loadCommands } from "../src/cli/commands.js";
import { exitCodesMarkdown } from "../src/cli/describe.js";

const commands = await loadCommands();
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

describe("docs/commands", () => {
  const pages = docsPages(commands);
  test.each(Object.entries(pages))("%s is what the option tables say (else: npm run docs)", (name, page) => {
    expect(read(join("docs/commands", name))).toBe(page);
  });
  test("no page of a command that is gone", () => {
    expect(readdirSync(join(root, "docs/commands")).sort()).toEqual(Object.keys(pages).sort());
  });
});

const markdown = [
  ...readdirSync(root).filter((f) => f.endsWith(".md")),
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((f) => f.endsWith(".md"))
    .map((f) => join("docs", f)),
  ...readdirSync(join(root, "examples"), { recursive: true, encoding: "utf8" })
    .filter((f) => f.endsWith(".md"))
    .map((f) => join("examples", f)),
];

test.each(markdown)("%s: every relative link leads somewhere", (file) => {
  const text = read(file).replace(/```[\s\S]*?```/g, "");
  const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map((m) => m[1]!)
    .filter((t) => !/^(https?:|mailto:|#)/.test(t));
  const dead = targets.filter((t) => !existsSync(resolve(root, dirname(file), t.split("#")[0]!)));
  expect(dead).toEqual([]);
});

// the log tells of files as they were
test.each(markdown.filter((file) => !/^docs\/(log\.md|reference\/)/.test(file)))(
  "%s: code in backticks that is a path exists",
  (file) => {
    const paths = [...read(file).matchAll(/`((?:src|test|docs|bench|examples|models|scripts)\/[\w./-]+)`/g)].map(
      (m) => m[1]!,
    );
    expect(paths.filter((p) => !existsSync(join(root, p)))).toEqual([]);
  },
);

describe("README", () => {
  const readme = read("README.md");
  test("exit codes are those of the code", () => {
    expect(readme).toContain(exitCodesMarkdown());
  });
  test("the tree names every room, and no other", () => {
    const tree = [...readme.matchAll(/^src\/(\w+) /gm)].map((m) => m[1]!);
    const rooms = readdirSync(join(root, "src"), { withFileTypes: true }).filter((e) => e.isDirectory());
    expect(tree.sort()).toEqual(rooms.map((e) => e.name).sort());
  });
  test("its commands and flags exist", () => {
    const blocks = [...readme.matchAll(/```sh\n([\s\S]*?)```/g)].map((m) => m[1]!.replaceAll("\\\n", " "));
    const lines = blocks.flatMap((b) => b.split("\n")).filter((l) => /^softprompt /.test(l));
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) {
      const [, name] = line.split(/\s+/);
      const command = commands[name!];
      expect(command, line).toBeDefined();
      const flags = Object.values(command!.sections).flatMap((table) => Object.keys(table));
      for (const [, flag] of line.matchAll(/ --([a-z][\w-]*)/g)) {
        const key = flag!.replace(/-([a-z])/g, (_, c: string) => c.toUpperCase());
        expect([...flags, "config", "json", "quiet", "help"], `${line}: --${flag}`).toContain(key);
      }
    }
  });
  test("the ten lines of typed API run, on fewer steps", async () => {
    const [, program] = /```ts\n([\s\S]*?)```/.exec(readme)!;
    expect(program!.trim().split("\n").length).toBeLessThanOrEqual(11);
    // The program as it stands, only the package's name resolved to the sources and the steps cut.
    const here = mkdtempSync(join(tmpdir(), "softprompt-readme-"));
    const file = join(root, "test", `readme-program-${process.pid}.mts`);
    const lines: unknown[][] = [];
    const log = console.log;
    try {
      writeFileSync(
        file,
        program!
          .replace('"softprompt"', JSON.stringify(join(root, "src/index.js")))
          .replace(
            /steps: \d+, evalEvery: \d+, batchSize: \d+/,
            "steps: 2, evalEvery: 2, batchSize: 2, maxEvalRows: 4, baselines: false, evaluateBy: 'ranking'",
          ),
      );
      console.log = (...parts: unknown[]) => lines.push(parts);
      await import(/* @vite-ignore */ pathToFileURL(file).href);
    } finally {
      console.log = log;
      rmSync(file, { force: true });
      rmSync(here, { recursive: true, force: true });
    }
    expect(lines).toHaveLength(2);
    expect(lines[0]![0]).toHaveProperty("accuracy");
    expect(["positive", "negative"]).toContain(lines[1]![0]);
    const probabilities = Object.values(lines[1]![1] as Record<string, number>);
    expect(probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
  });
});
