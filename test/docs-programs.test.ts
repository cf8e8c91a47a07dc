/**
 * @file The programs in README and docs compile under strict settings, as a user's would: each block with the names that the text before
 * it has introduced. In: ```ts blocks. Runs nothing; the README's own program is run by docs.test.ts.
 */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** What a block may use without declaring it: the package's functions, and values of the blocks before it. */
const functions = [
  ..."compare evaluate eventsOf generate loadData openModel openPredictor predict predictStream prune SoftpromptError sweep tune".split(
    " ",
  ),
];
const values: Readonly<Record<string, string>> = {
  model: "softprompt.Model",
  data: "softprompt.Dataset",
  own: "softprompt.Dataset",
  run: "softprompt.Tuned",
  inputs: "string[]",
  signal: "AbortSignal",
};

/** The block as a module of its own. */
function moduleOf(code: string): string {
  const has = (name: string) => new RegExp(`\\b${name}\\b`).test(code);
  const imported = [...code.matchAll(/import \{([^}]*)\}/g)].flatMap(([, names]) =>
    names!.split(",").map((n) => n.trim()),
  );
  const missing = functions.filter((name) => has(name) && !imported.includes(name));
  const declared = Object.entries(values).filter(
    ([name]) => has(name) && !new RegExp(`\\b(const|let) (\\[?)${name}\\b`).test(code),
  );
  return [
    'import type * as softprompt from "softprompt";',
    missing.length > 0 ? `import { ${missing.join(", ")} } from "softprompt";` : "",
    has("createInterface") && !imported.includes("createInterface")
      ? 'import { createInterface } from "node:readline";'
      : "",
    ...declared.map(([name, type]) => `declare const ${name}: ${type};`),
    code,
    "export type Used = softprompt.Model;",
  ].join("\n");
}

const blocks = ["README.md", "docs/library.md", "docs/serve.md"].flatMap((file) =>
  [...readFileSync(join(root, file), "utf8").matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code], n) => ({
    name: `${file}, block ${n + 1}`,
    path: join(root, "test", `docs-block-${file.replace(/\W/g, "-")}-${n}.mts`),
    text: moduleOf(code!),
  })),
);

test("each program compiles", { timeout: 600_000 }, () => {
  const options: ts.CompilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    types: ["node"],
    paths: { softprompt: [join(root, "src/index.ts")], "softprompt/*": [join(root, "src/index-*.ts")] },
  };
  const texts = new Map(blocks.map(({ path, text }) => [path, text]));
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => texts.has(resolve(path)) || fileExists(path);
  host.readFile = (path) => texts.get(resolve(path)) ?? readFile(path);
  host.getSourceFile = (path, target) => {
    const text = texts.get(resolve(path));
    return text === undefined ? getSourceFile(path, target) : ts.createSourceFile(path, text, target, true);
  };
  const program = ts.createProgram([...texts.keys()], options, host);
  const wrong = blocks.flatMap(({ name, path, text }) => {
    const file = program.getSourceFile(path)!;
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      ({ start, messageText }) =>
        `${name}: ${text.slice(start, text.indexOf("\n", start))}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`,
    );
  });
  expect(blocks.length).toBeGreaterThan(12);
  expect(wrong).toEqual([]);
});
