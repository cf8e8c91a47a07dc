/** Generation on a tiny decoder-only model: streams equal wholes, ends are told, prompts and caches count, windows hold. */
import { afterAll, describe, expect, test } from "vitest";
import { tinyCausal, tinyChat } from "../../test/helpers/tiny-causal.js";
import type { Adapter } from "../adapter/types.js";
import { random } from "../base/random.js";
import { openCheckpoint } from "../model/checkpoint.js";
import { textIds } from "../text/batch.js";
import { encodeRows, rowNotices } from "../text/rows.js";
import { type GeneratedPiece, type GenerateInput, generate, generateStream } from "./generate.js";
import { type Model, openModel } from "./model.js";
import { forPrompt } from "./readied.js";

const models: Model[] = [];
afterAll(() => Promise.all(models.map((model) => model.dispose())));

async function open(options: Parameters<typeof tinyCausal>[0] = {}, chat = false) {
  const model = await openModel(tinyCausal(options), { threads: 1, chat });
  models.push(model);
  return model;
}
const model = await open();
const { width } = model.checkpoint.config;

/** A prompt of large numbers: it changes what is said. */
function adapter(tokens: number, rest: Partial<Adapter> = {}): Adapter {
  const draw = random(5, "prompt");
  const data = Float32Array.from({ length: tokens * width }, () => draw.uniform(-4, 4));
  return {
    prompt: { shape: [tokens, width], data },
    mask: null,
    base: { name: "", revision: null, sha256: null, family: null, width, layers: null, heads: null },
    tokenizer: null,
    task: null,
    training: null,
    scores: null,
    kept: { config: {}, extras: {} },
    ...rest,
  };
}
async function pieces(input: Omit<GenerateInput<string>, "prompt"> & { prompt?: string } = {}, of = model) {
  const all: GeneratedPiece[] = [];
  for await (const piece of generateStream(of, { prompt: "a text of words", maxTokens: 24, ...input })) all.push(piece);
  return { all, text: all.map(({ text }) => text).join(""), end: all.at(-1)!.end };
}
const sampled = { temperature: 1.5, seed: 3 };

describe("a stream", () => {
  test("joined is what generate gives, greedy and drawn, alone and beside others", async () => {
    for (const how of [{}, sampled]) {
      const { text, all, end } = await pieces(how);
      const asked = { ...how, maxTokens: 24 };
      expect(await generate(model, { prompt: "a text of words", ...asked })).toBe(text);
      expect(await generate(model, { prompt: ["a text of words", "b"], ...asked })).toHaveLength(2);
      expect((await generate(model, { prompt: ["a text of words", "b"], ...asked }))[0]).toBe(text);
      expect(end).toMatch(/^(end|length)$/);
      expect(all.filter(({ id }) => id !== undefined).length).toBeLessThanOrEqual(24);
      expect(text).toBe(model.tokenizer.decode(all.flatMap(({ id }) => (id === undefined ? [] : [id]))));
    }
  });
  test("equal seeds give equal texts, other seeds others", async () => {
    const one = await pieces(sampled);
    expect((await pieces(sampled)).text).toBe(one.text);
    expect((await pieces({ ...sampled, seed: 4 })).text).not.toBe(one.text);
  });
  test("equal texts of one call are drawn apart, whatever a pass holds", async () => {
    const prompt = Array.from({ length: 5 }, () => "a text of words");
    const [all, two] = [
      await generate(model, { prompt, ...sampled }),
      await generate(model, { prompt, ...sampled, batchSize: 2 }),
    ];
    expect(new Set(all).size).toBe(5);
    expect(two).toEqual(all);
  });
  test.each([0, -1, 1.5, Number.NaN])("a pass of %d texts is refused", async (batchSize) => {
    await expect(generate(model, { prompt: "a", batchSize })).rejects.toThrow(/batchSize[\s\S]*at least 1/);
  });
  test("top-k 1 is greedy at any temperature", async () => {
    expect((await pieces({ temperature: 2, topK: 1 })).text).toBe((await pieces()).text);
  });
  test("a stop string ends it and is not shown", async () => {
    const { text } = await pieces(sampled);
    const stop = text.slice(3, 6);
    const stopped = await pieces({ ...sampled, stop: [stop] });
    expect(stopped.end).toBe("stop");
    expect(stopped.text).toBe(text.slice(0, text.indexOf(stop)));
    expect(await generate(model, { prompt: "a text of words", maxTokens: 24, ...sampled, stop: [stop] })).toBe(
      stopped.text,
    );
  });
  test("leaving it early frees nothing that others use", async () => {
    for await (const _ of generateStream(model, { prompt: "x" })) break;
    expect((await pieces()).text).toBe((await pieces()).text);
  });
  test("a signal stops it", async () => {
    const stop = new AbortController();
    const run = async () => {
      for await (const { id } of generateStream(model, { prompt: "x", signal: stop.signal })) if (id) stop.abort();
    };
    await expect(run()).rejects.toMatchObject({ kind: "interrupted" });
  });
  test.each([
    [{ stop: [""] }, /would stop at once/],
    [{ temperature: -1 }, /temperature/],
    [{ topP: 2 }, /topP|top-p/],
    // without a temperature nothing is drawn
    [{ topP: 0.9, seed: 3 }, /topP has no effect.*temperature above 0/s],
    [{ topK: 5 }, /topK has no effect/],
    [{ temprature: 1 }, /temperature/],
    [{ prompt: 7 }, /nothing to write on from/],
  ])("%j is refused", async (wrong, problem) => {
    await expect(generate(model, { prompt: "x", ...(wrong as object) } as GenerateInput<string>)).rejects.toThrow(
      problem,
    );
  });
});

test("blanks at the end of a text are read, as the tokenizer gives them", async () => {
  const prompt = "a text of words   ";
  const { tokenizer } = model;
  const ids = [...tokenizer.rules!.before, ...tokenizer.encode(prompt)];
  expect(ids.length).toBeGreaterThan(tokenizer.rules!.before.length + tokenizer.encode(prompt.trimEnd()).length);
  const row = { id: "r", target: Int32Array.of(2), choices: null, gold: -1, truncated: false };
  const read = { ...row, input: Int32Array.from(ids.slice(0, -1)), first: ids.at(-1)! };
  const none = { prompt: { shape: [0, width], data: new Float32Array(0) } };
  const said = (await (await model.engine.generate()).run(none, [read], 8, { ends: [] }))[0]!;
  const { all } = await pieces({ prompt, maxTokens: 8 });
  const written = all.flatMap(({ id }) => (id === undefined ? [] : [id]));
  expect(written.length).toBeGreaterThan(0);
  expect(written).toEqual([...said].slice(0, written.length));
});

describe("a prompt", () => {
  test("with the cache its greedy ids are those of reading everything again, 32 tokens long, and not the bare model's", async () => {
    const tuned = adapter(5);
    const [row] = encodeRows(
      { name: "t", template: "{t}", verbalizer: null, metrics: ["exactMatch"], maxTargetTokens: 32, targetPrefix: "" },
      [{ id: "r", input: "some words", target: "", label: null, references: [""] }],
      model.tokenizer,
      100,
    );
    const program = await model.engine.generate();
    const parameters = { prompt: tuned.prompt };
    const cached = (await program.run(parameters, [row!], 32, { ends: [] }))[0]!;
    const again: number[] = [];
    for (let n = 0; n < cached.length; n++) {
      const all = [...textIds(row!), ...again];
      const longer = { ...row!, input: Int32Array.from(all.slice(0, -1)), first: all.at(-1)! };
      again.push((await program.run(parameters, [longer], 1))[0]![0]!);
    }
    expect(cached.length).toBeGreaterThan(8);
    expect(again).toEqual(cached);
    const none = { prompt: { shape: [0, width], data: new Float32Array(0) } };
    expect((await program.run(none, [row!], 32))[0]).not.toEqual(cached);
  });
  test("that was tuned in a chat is used in it, though the model was opened without", async () => {
    const folder = { chat: tinyChat };
    const [plain, chat] = [await open(folder), await open(folder, true)];
    const recorded = { training: { method: "m", schedule: [], seed: 0, settings: {} } };
    const said = (of: Model, tuned: Adapter) => generate(of, { prompt: "words", adapter: tuned, maxTokens: 12 });
    const inChat = await said(chat, adapter(3, { ...recorded, chat: true }));
    expect(await said(plain, adapter(3, { ...recorded, chat: true }))).toBe(inChat);
    const without = await said(plain, adapter(3, recorded));
    expect(without).not.toBe(inChat);
    expect(await said(chat, adapter(3, recorded))).toBe(without);
    // one that records nothing goes by the model
    expect(await said(chat, adapter(3))).toBe(inChat);
  });
});

describe("ends", () => {
  test("are those of config, generation config and tokenizer together", async () => {
    const { text, all } = await pieces();
    const id = all[4]!.id!;
    const first = all.findIndex((piece) => piece.id === id);
    const other = await open({ ends: [2, id] });
    expect(other.checkpoint.config).toMatchObject({ eosIds: [2, id] });
    const found = await pieces({}, other);
    expect(found.end).toBe("end");
    expect(found.text).toBe(text.slice(0, first)); // one character per token
    expect((await openCheckpoint(tinyCausal({ config: { eos_token_id: [7, 8] }, ends: 9 }))).config).toMatchObject({
      eosIds: [7, 8, 9],
      eosId: 7,
    });
    const ownEnd = await open({ config: { eos_token_id: 0 } });
    expect(ownEnd.checkpoint.config).toMatchObject({ eosIds: [0] });
    expect(ownEnd.tokenizer.eosIds).toEqual([2]);
  });
  test.each([[["a"]], [-1], [Array.from({ length: 65 }, (_, i) => i)]])("%j is no end", async (ends) => {
    await expect(openCheckpoint(tinyCausal({ ends }))).rejects.toThrow(/eos_token_id/);
  });
  test("the last position ends a text, and is told", async () => {
    const small = await open({ family: "gpt2", config: { eos_token_id: 0 } });
    const most = small.checkpoint.config.maxPositions!;
    const { end, all } = await pieces({ maxTokens: most + 50, prompt: "x", stop: [] }, small);
    expect(["end", "window"]).toContain(end);
    expect(all.length).toBeLessThanOrEqual(most + 1);
  });
});

describe("the context window", () => {
  const task = {
    name: "t",
    template: "q: {text} a:",
    verbalizer: { no: "bad", yes: "good" },
    metrics: ["accuracy"] as const,
    maxTargetTokens: 6,
    targetPrefix: "",
  };
  const row = (text: string) => ({
    id: "row",
    input: `q: ${text} a:`,
    fields: [{ name: "text", from: 3, to: 3 + text.length }],
    target: "good",
    label: "yes",
    references: ["good"],
  });
  test("counts virtual tokens and the target: the field is cut, never the template, and it is said", async () => {
    const small = await open({ config: { max_position_embeddings: 64 } });
    const rows = [row("word ".repeat(40)), row("short")];
    for (const P of [0, 20]) {
      const { tokenizer } = forPrompt(small, P);
      const encoded = encodeRows(task, rows, tokenizer, 492);
      const [long, short] = encoded;
      expect(tokenizer.decode([...textIds(long!)])).toMatch(/^q: word .* a:$/);
      // room is left for the longest target, and no more than a word and a blank is lost for it
      expect(P + textIds(long!).length + 6).toBeLessThanOrEqual(64);
      expect(P + textIds(long!).length + 6).toBeGreaterThan(64 - 9);
      expect(short!.truncated).toBe(false);
      const [notice] = rowNotices(rows, encoded, tokenizer, 492);
      expect(notice).toMatch(`1 of 2 inputs do not fit into the model's 64 positions beside ${P} virtual tokens`);
      expect(notice).toMatch("{text} in 1");
      // and they run
      const prompt = { shape: [P, width], data: new Float32Array(P * width) };
      expect(await (await small.engine.score()).run({ prompt }, encoded)).toHaveLength(2);
    }
    const few = forPrompt(small, 60).tokenizer;
    expect(() => encodeRows(task, rows, few, 492)).toThrow(/context window holds no more/);
  });
  test("a text to go on from leaves room for what is written", async () => {
    const small = await open({ config: { max_position_embeddings: 64 } });
    const notices: string[] = [];
    const onEvent = ({ message }: { message: string }) => notices.push(message);
    const { end, all } = await pieces({ prompt: "word ".repeat(40), maxTokens: 10, onEvent }, small);
    expect(end).toMatch(/^(length|end)$/);
    expect(all.length).toBeGreaterThan(0);
    expect(notices[0]).toMatch(/do not fit into the model's 64 positions/);
  });
  test("a sliding window that is shorter than prompt and row is told", async () => {
    const sliding = await open({ family: "mistral" });
    const { size } = sliding.checkpoint.config.window!;
    const { tokenizer } = forPrompt(sliding, 4);
    const rows = [row("x".repeat(size)), row("")];
    const notices = (from: number) =>
      rowNotices(rows.slice(from), encodeRows(task, rows.slice(from), tokenizer, 492), tokenizer, 492).join("\n");
    expect(notices(0)).toMatch(`longer than the model's sliding window of ${size} positions`);
    expect(rowNotices(rows, encodeRows(task, rows, sliding.tokenizer, 492), sliding.tokenizer, 492)).toEqual([]);
  });
});
