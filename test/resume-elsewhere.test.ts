/** @file A run that was started with relative paths goes on from another folder, and its records call the model what it was called. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { commandLine } from "./helpers/command-line.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const place = mkdtempSync(join(tmpdir(), "softprompt-elsewhere-"));
afterAll(() => {
  rmSync(place, { recursive: true, force: true });
});

async function softprompt(argv: readonly string[], stopAt?: string) {
  const interrupt = new AbortController();
  const onError = (text: string) => {
    if (stopAt !== undefined && text.includes(stopAt)) interrupt.abort("SIGINT");
  };
  return commandLine(argv, { signal: interrupt.signal, onError });
}

test("from another folder", { timeout: 120_000 }, async () => {
  const [here, elsewhere] = [join(place, "here"), join(place, "else")];
  mkdirSync(elsewhere, { recursive: true });
  cpSync(join(root, "models/t5-nano"), join(here, "my/model"), { recursive: true });
  cpSync(join(root, "examples/quickstart"), join(here, "rows"), { recursive: true });
  const given =
    "--model my/model --train rows/train.jsonl --validation rows/validation.jsonl --label-column label --virtual-tokens 2 --steps 4 --eval-every 2 --few-shot 8 --max-eval-rows 4 --batch-size 4 --no-baselines";
  const cwd = process.cwd();
  try {
    process.chdir(here);
    const argv = ["train", ...given.split(" "), "--template", "sentence: {text}", "--output", "run"];
    const stopped = await softprompt(argv, "step 2:");
    expect(stopped).toMatchObject({ code: 130 });
    process.chdir(elsewhere);
    const resumed = await softprompt(["train", "--resume", "../here/run"]);
    expect(resumed.stderr).not.toMatch(/^error/m);
    expect(resumed.code).toBe(0);
  } finally {
    process.chdir(cwd);
  }
  expect(readFileSync(join(here, "run/config.yaml"), "utf8")).toMatch(/^model: .*here.my.model # my\/model$/m);
  expect(JSON.parse(readFileSync(join(here, "run/result.json"), "utf8")).where.model.name).toBe("my/model");
  const adapter = JSON.parse(readFileSync(join(here, "run/adapter/adapter_config.json"), "utf8"));
  expect(adapter.base_model_name_or_path).toBe("my/model");
});
