/**
 * @file Every command on a decoder-only folder, from one end to the other, on a tiny model with few steps: what breaks for a family breaks here.
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { vocabularySize } from "../src/method/init.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { commandLine } from "./helpers/command-line.js";
import { tinyCausal, tinyChat } from "./helpers/tiny-causal.js";

const place = mkdtempSync(join(tmpdir(), "softprompt-causal-"));
const folder = join(place, "model");
cpSync(tinyCausal({ chat: tinyChat }), folder, { recursive: true });
afterAll(() => rmSync(place, { recursive: true, force: true }));

const softprompt = (...argv: string[]) => commandLine(argv);
async function json(...argv: string[]) {
  const { code, stdout, stderr } = await softprompt(...argv, "--json");
  expect(code, stderr).toBe(0);
  return { ...JSON.parse(stdout), stderr };
}

const model = ["--model", folder, "--threads", "1"];
const few = [
  "--steps",
  "4",
  "--batch-size",
  "4",
  "--micro-batch-size",
  "4",
  "--virtual-tokens",
  "4",
  "--learning-rate",
  "0.05",
];
const data = [
  "--task",
  "quickstart",
  "--few-shot",
  "8",
  "--max-eval-rows",
  "4",
  "--final-eval-rows",
  "4",
  "--no-baselines",
];
const tuning = [...model, ...data, ...few];
const tuned = join(place, "tuned");

describe("train", { timeout: 120_000 }, () => {
  test("takes a rate that suits the model's small vocabulary vectors where none is given, and keeps it", async () => {
    const size = await vocabularySize(await openCheckpoint(folder));
    expect(size).toBeLessThan(0.5);
    const suited = Number((0.3 * size).toPrecision(2));
    const output = join(place, "own-rate");
    const short = [...model, ...data, "--virtual-tokens", "4", "--steps", "1"];
    const result = await json("train", ...short, "--output", output);
    const kept = () => parse(readFileSync(join(output, "config.yaml"), "utf8")).learningRate;
    expect(kept()).toBe(suited);
    expect(result.stderr).not.toMatch(/learning rate/);
    await json("train", "--resume", output, "--steps", "2");
    expect(kept()).toBe(suited);
    // a search takes the run's rate, also one that was given
    const given = join(place, "given-rate");
    await json("train", ...short, "--learning-rate", "0.02", "--output", given);
    const pruned = join(place, "pruned-rate");
    const counts = ["--tokens-pruned", "2", "--pieces-pruned", "", "--retrain-steps", "1", "--pieces", "2"];
    await json("prune", "--from", given, ...counts, "--output", pruned);
    expect(parse(readFileSync(join(pruned, "config.yaml"), "utf8")).learningRate).toBe(0.02);
    const anew = join(place, "pruned-anew");
    await json("prune", ...short, ...counts, "--output", anew);
    expect(parse(readFileSync(join(anew, "config.yaml"), "utf8")).learningRate).toBe(suited);
    const study = join(place, "study-rate");
    const asked = ["compare", "--tasks", "quickstart=quickstart", "--seeds", "0", ...model, "--virtual-tokens", "4"];
    const tiny = ["--few-shot", "8", "--max-eval-rows", "4", "--steps", "8", "--output"];
    expect((await json(...asked, ...tiny, study)).stderr).not.toMatch(/learning rate/);
    expect(parse(readFileSync(join(study, "config.yaml"), "utf8")).learningRate).toBe(suited);
    // a study warns as a training does; one rate for each method is no search
    const high = await json(...asked, ...tiny, join(place, "study-high"), "--learning-rate", "3");
    expect(high.stderr).toMatch(/learning rate 3 lets each step move/);
    const methods = await json(
      ...asked,
      "--methods",
      "prompt",
      "--rate-factors",
      "1",
      ...tiny,
      join(place, "study-own"),
    );
    expect(JSON.stringify(methods)).toMatch(/none was searched for/);
    expect(JSON.stringify(methods)).not.toMatch(/chosen (per method and task )?on held out/);
  });
  test("says by how much prompt and target must be shorter where a window has no room for an input", async () => {
    const narrow = tinyCausal({ config: { max_position_embeddings: 64 } });
    const asked = ["train", "--model", narrow, "--threads", "1", ...data, "--steps", "1", "--virtual-tokens", "80"];
    const { code, stderr } = await softprompt(...asked, "--output", join(place, "narrow"));
    expect(code).toBe(2);
    expect(stderr).toMatch(/no room for an input[\s\S]*at least \d+ tokens fewer/);
  });
  test("leaves a run whose adapter evaluates, predicts and is told", async () => {
    const result = await json("train", ...tuning, "--output", tuned);
    expect(result.run).toMatchObject({ method: "prompt-tuning", steps: 4, reason: "steps" });
    expect(result.stderr).toMatch(/has a chat template: with --chat/);
    const adapter = JSON.parse(readFileSync(join(tuned, "adapter", "adapter_config.json"), "utf8"));
    expect(adapter).toMatchObject({ task_type: "CAUSAL_LM", num_virtual_tokens: 4, num_transformer_submodules: 1 });
    const scored = await json("eval", "--adapter", tuned, ...model, "--task", "quickstart", "--max-eval-rows", "4");
    expect(scored.rows).toBe(4);
    const { code, stdout } = await softprompt("predict", "a fine film", "--adapter", tuned, ...model);
    expect(code).toBe(0);
    expect(
      Object.values(JSON.parse(stdout).probabilities as Record<string, number>).reduce((a, b) => a + b),
    ).toBeCloseTo(1);
    const written = await softprompt(
      "predict",
      "a fine film",
      "--adapter",
      tuned,
      ...model,
      "--evaluate-by",
      "generation",
    );
    expect(JSON.parse(written.stdout).probabilities).toBeNull();
    const told = await json("inspect", join(tuned, "adapter"), "--model", folder);
    expect(JSON.stringify(told)).toContain(folder);
  });
  test.each(["fpt-ld", "fpt-fr", "fpt-cr", "fpt-ld-xl-a", "fpt-cr-xl-c"])("in the stages of %s", async (schedule) => {
    const output = join(place, schedule);
    const result = await json("train", ...tuning, "--steps", "10", "--schedule", schedule, "--output", output);
    expect(result.run.method).toBe(`prompt-tuning+${schedule}`);
    expect(result.cost.perStage.length).toBeGreaterThan(1);
    expect(result.cost.perStage.at(-1).partial).toBe("full");
  });
  test("goes on to more steps, as if it had never stopped", async () => {
    const [one, two] = ["short", "long"].map((name) => join(place, name)) as [string, string];
    // both are evaluated after step 4, and so choose among equal prompts
    const often = [...tuning, "--eval-every", "2"];
    await json("train", ...often, "--output", one);
    await json("train", "--resume", one, "--steps", "6");
    await json("train", ...often, "--steps", "6", "--output", two);
    const prompt = (of: string) => readFileSync(join(of, "adapter", "adapter_model.safetensors"));
    expect(prompt(one).equals(prompt(two))).toBe(true);
  });
  test("in the model's chat: recorded, and used by predict, eval and generate without being told", async () => {
    const output = join(place, "chat");
    const result = await json("train", ...tuning, "--chat", "--output", output);
    expect(result.stderr).not.toMatch(/has a chat template/);
    expect(JSON.parse(readFileSync(join(output, "adapter", "softprompt.json"), "utf8")).chat).toBe(true);
    expect(readFileSync(join(output, "config.yaml"), "utf8")).toMatch(/chat: true/);
    const ask = async (...more: string[]) =>
      JSON.parse((await softprompt("predict", "a fine film", "--adapter", output, ...model, ...more)).stdout);
    expect(await ask()).toEqual(await ask("--chat"));
    // what the training scored, scored again
    const scored = await json(
      "eval",
      "--adapter",
      output,
      ...model,
      "--task",
      "quickstart",
      "--few-shot",
      "8",
      "--max-eval-rows",
      "4",
    );
    expect(scored.scores).toEqual(result.scores);
    const said = await json("generate", "a fine film", "--adapter", output, ...model, "--max-tokens", "6");
    expect(said.tokens).toBeLessThanOrEqual(6);
    expect(await softprompt("train", ...tuning, "--chat", "--model", "t5-nano")).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/no chat template/),
    });
  });
});

describe("generate", { timeout: 60_000 }, () => {
  test("streams what it gives whole, and the terminal gets no raw control character", async () => {
    const asked = ["generate", "some words", ...model, "--max-tokens", "20", "--temperature", "1.2", "--seed", "1"];
    const whole = await json(...asked);
    const streamed = await softprompt(...asked, "--stream");
    expect(streamed.stdout).toBe(`${whole.text}\n`);
    const lines = (await softprompt(...asked, "--stream", "--json")).stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(
      lines
        .slice(0, -1)
        .map(({ text }) => text)
        .join(""),
    ).toBe(whole.text);
    expect(lines.at(-1)).toMatchObject({ text: whole.text, tokens: whole.tokens, end: whole.end });
    const stop = (whole.text as string).slice(2, 5);
    expect((await json(...asked, "--stop", stop)).text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
  });
  test("stops may hold commas; bad ones are refused", async () => {
    expect(await json("generate", "x", ...model, "--max-tokens", "2", "--stop", "a,b", "--stop", ",")).toMatchObject(
      {},
    );
    expect((await softprompt("generate", "x", ...model, "--stop", "")).code).toBe(2);
    expect((await softprompt("generate", "x", ...model, "--temperature", "-1")).code).toBe(2);
  });
});

describe("searches and studies", { timeout: 240_000 }, () => {
  test("prune ends with a compact adapter that answers", async () => {
    const output = join(place, "pruned");
    const search = [
      "--pieces",
      "4",
      "--tokens-pruned",
      "1",
      "--pieces-pruned",
      "2",
      "--retrain-steps",
      "2",
      "--holdout",
      "0",
    ];
    const result = await json("prune", ...tuning, ...search, "--workers", "1", "--output", output);
    expect(result.run.method).toBe("xprompt");
    expect(existsSync(join(output, "report.html"))).toBe(true);
    expect((await softprompt("predict", "a fine film", "--adapter", output, ...model)).code).toBe(0);
    const prefix = join(place, "pruned-prefix");
    const pruned = await json("prune", "--method", "prefix", ...tuning, ...search, "--output", prefix);
    expect(pruned.run.method).toBe("xprompt-prefix");
    expect((await softprompt("predict", "a fine film", "--adapter", prefix, ...model)).code).toBe(0);
    const shown = await softprompt("inspect", join(prefix, "adapter"));
    expect(shown.stdout).toMatch(/alive .* of these 4 tokens/);
  });
  const study = [...model, "--tasks", "quickstart=", "--few-shot", "8", "--max-eval-rows", "4", ...few, "--seeds", "0"];
  test("compare", async () => {
    const { code, stderr } = await softprompt(
      "compare",
      ...study,
      "--steps",
      "10",
      "--output",
      join(place, "compare"),
      "--json",
    );
    expect(code, stderr).toBe(0);
  });
  test("study partial-alone", async () => {
    const { code, stderr } = await softprompt(
      "study",
      "partial-alone",
      ...study,
      "--output",
      join(place, "alone"),
      "--json",
    );
    expect(code, stderr).toBe(0);
  });
});

describe("the rest", { timeout: 120_000 }, () => {
  test("inspect tells a partial model", async () => {
    const told = await json("inspect", folder, "--partial", "depth=0.5,width=0.5");
    expect(told.partial.parameters).toBeLessThan(told.parameters);
    expect((await softprompt("inspect", folder)).stdout).toMatch(/architecture\s+Llama/);
  });
  test("doctor", async () => {
    expect((await softprompt("doctor", "--json")).code).toBe(0);
  });
  test("the quickstart, with memory and time said before", async () => {
    const output = join(place, "quickstart");
    const { code, stderr, stdout } = await softprompt("quickstart", ...model, "--output", output);
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(/needs about .* of memory/);
    expect(stderr).toMatch(/takes about .* by one step of its own/);
    expect(stdout).toContain(`--model ${folder}`);
    const config = readFileSync(join(output, "config.yaml"), "utf8");
    expect(config).toMatch(/template: [^:]*sentence: {text}\s+sentiment:/);
  });
  test("help names what --model takes", async () => {
    expect((await softprompt("train", "--help")).stdout).toMatch(/Llama[\s\S]*GGUF/);
  });
});
