/** @file What an editor shows over an option's key in a user's program: its help, range and default, by TypeScript's own language service. */
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

const program = `
import { loadData, openModel, predict, prune, tune } from "softprompt";
const model = await openModel("t5-nano", { threads: 1 });
const data = await loadData({ task: "quickstart", validationShare: 0.2 });
const run = await tune(model, data, { virtualTokens: 20, learningRate: 0.3 });
await prune(model, data, { retrainSteps: 8 });
await predict(model, run.adapter, ["a text"], { batchSize: 4 });
`;

test.skipIf(!existsSync(join(root, "dist/index.d.ts")))(
  "an option's key shows its help, its range and its default (needs npm run build)",
  { timeout: 120_000 },
  () => {
    const file = join(root, "examples/hover.ts"); // in memory only; the package finds itself by its name
    const service = ts.createLanguageService({
      getCompilationSettings: () => ({
        module: ts.ModuleKind.NodeNext,
        moduleResolution: ts.ModuleResolutionKind.NodeNext,
        target: ts.ScriptTarget.ES2022,
        strict: true,
        skipLibCheck: true,
        types: [],
      }),
      getScriptFileNames: () => [file],
      getScriptVersion: () => "1",
      getScriptSnapshot: (name) => {
        const text = name === file ? program : ts.sys.readFile(name);
        return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text);
      },
      getCurrentDirectory: () => root,
      getDefaultLibFileName: ts.getDefaultLibFilePath,
      fileExists: (name) => name === file || ts.sys.fileExists(name),
      readFile: (name) => (name === file ? program : ts.sys.readFile(name)),
      directoryExists: ts.sys.directoryExists,
      getDirectories: ts.sys.getDirectories,
    });
    try {
      expect(service.getSemanticDiagnostics(file).map(({ messageText }) => messageText)).toEqual([]);
      const hover = (key: string) =>
        service
          .getQuickInfoAtPosition(file, program.indexOf(`${key}:`))
          ?.documentation?.map(({ text }) => text)
          .join("");
      expect(hover("virtualTokens")).toMatch(/Length of the soft prompt.*from 1 to 1000.*default 20/s);
      expect(hover("learningRate")).toMatch(/default/);
      for (const key of ["threads", "task", "validationShare", "retrainSteps"])
        expect(hover(key), key).toMatch(/\w+ \w+.*\(/s);
      expect(hover("batchSize")).toMatch(/\w+ \w+/);
    } finally {
      service.dispose();
    }
  },
);
