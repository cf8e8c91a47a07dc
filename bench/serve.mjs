/**
 * @file How a server holds under load: many clients for a time, then one at a time. In: dist/ (npm run build). Out: a table, and JSON with
 * --out FILE.
 *
 *   node bench/serve.mjs --clients 200 --seconds 300 --out bench/results/serve.json
 *   node bench/serve.mjs --clients 200 --seconds 300 --what write --out bench/results/serve-write.json
 *
 * `--what predict` ranks labels; `--what write` completes texts of up to 32 tokens, greedily. "One at a time" is one client on the same
 * server, which waits for nothing: a row that comes alone is computed at once. `--threads`, `--batch-size` are the server's.
 * Each client asks, waits for the answer, and asks again, of one of several adapters whose prompts differ in length, so batches are mixed.
 * Every answer is compared with the one that its adapter and input got alone before the load. Memory is the server's resident set; clients are
 * a process of their own, so that their memory and time do not count as the server's. Refused requests (429) are counted and asked again
 * after Retry-After.
 */
import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { saveFigures } from "./processor.mjs";

const here = fileURLToPath(import.meta.url);
const words = [
  "funny",
  "moving",
  "dull",
  "warm",
  "cold",
  "clever",
  "the",
  "film",
  "soup",
  "waiter",
  "a",
  "story",
  "and",
  "never",
];

/** Inputs of 3 to 40 words, always the same. */
const inputs = Array.from({ length: 64 }, (_, i) =>
  Array.from({ length: 3 + ((i * 7) % 38) }, (_, n) => words[(i * 31 + n * n * 7 + n) % words.length]).join(" "),
);

/** What is asked, and what is compared of an answer. */
const kinds = {
  predict: {
    path: "/v1/predict",
    body: (model, input) => ({ model, input }),
    // sums of float32 in another order
    same: (text, right) => Math.abs(positive(text) - positive(right)) <= 1e-4,
    tokens: () => 0,
  },
  write: {
    path: "/v1/completions",
    body: (model, prompt) => ({ model, prompt, temperature: 0, max_tokens: 32 }),
    same: (text, right) => JSON.parse(text).choices[0].text === JSON.parse(right).choices[0].text,
    tokens: (text) => JSON.parse(text).usage.completion_tokens,
  },
};
const positive = (text) => JSON.parse(text).data[0].probabilities.positive;

if (process.send) await clients();
else await main();

async function main() {
  const { values } = parseArgs({
    options: {
      clients: { type: "string", default: "200" },
      seconds: { type: "string", default: "300" },
      model: { type: "string", default: "t5-nano" },
      adapters: { type: "string", default: "8" },
      alone: { type: "string", default: "20" },
      what: { type: "string", default: "predict" },
      threads: { type: "string", default: "0" },
      "batch-size": { type: "string", default: "32" },
      out: { type: "string" },
    },
  });
  const [count, seconds, adapters, alone] = [values.clients, values.seconds, values.adapters, values.alone].map(Number);
  const { what } = values;
  const [threads, batchSize] = [Number(values.threads), Number(values["batch-size"])];
  const [{ openModel, saveAdapter }, { openServer }] = await Promise.all([
    import("../dist/index.js"),
    import("../dist/index-serve.js"),
  ]);
  const folder = mkdtempSync(join(tmpdir(), "softprompt-bench-"));
  const places = {};
  const model = await openModel(values.model);
  const { width } = model.checkpoint.config;
  for (let i = 0; i < adapters; i++) {
    const tokens = 1 + Math.round((i * 39) / Math.max(1, adapters - 1));
    places[`a${i}`] = join(folder, `a${i}`);
    saveAdapter(places[`a${i}`], adapterOf(tokens, width, i, model.checkpoint.config.family));
  }
  await model.dispose();
  const server = await openServer({ model: values.model, adapters: places, port: 0, threads, batchSize });
  const at = { url: server.url, token: server.token, models: server.models.filter((id) => id.includes(":")) };
  const ask = async (job) => {
    const before = process.cpuUsage();
    const found = await run({ ...at, what, clients: 1, ...job });
    const { user, system } = process.cpuUsage(before);
    return { ...found, serverSeconds: (user + system) / 1e6 };
  };

  const memory = [];
  const started = performance.now();
  const sample = () =>
    memory.push({
      second: Math.round((performance.now() - started) / 1000),
      mib: Math.round(process.memoryUsage.rss() / 2 ** 20),
    });
  const timer = setInterval(sample, Math.max(200, (seconds * 1000) / 60));
  const right = await ask({ kind: "right" });
  const one = await ask({ kind: "load", clients: 1, seconds: alone, right: right.answers });
  sample();
  const many = await ask({ kind: "load", clients: count, seconds, right: right.answers });
  sample();
  const again = await ask({ kind: "load", clients: 1, seconds: alone, right: right.answers });
  clearInterval(timer);
  sample();
  await server.close();
  rmSync(folder, { recursive: true });

  // the model and the largest batch are in memory after the first tenth
  const loaded = memory.filter(({ second }) => second > alone + seconds / 10 && second < alone + seconds);
  const half = loaded.length >> 1;
  const mean = (list) => Math.round(list.reduce((sum, { mib }) => sum + mib, 0) / Math.max(1, list.length));
  const result = {
    model: values.model,
    what,
    threads,
    batchSize,
    clients: count,
    seconds,
    adapters,
    one: summary(one),
    many: summary(many),
    oneAgain: summary(again),
    // the first measurement may be of a cold process
    ratio: Number(
      (many.answered / many.seconds / Math.max(one.answered / one.seconds, again.answered / again.seconds)).toFixed(2),
    ),
    memoryMiB: { firstHalf: mean(loaded.slice(0, half)), secondHalf: mean(loaded.slice(half)), curve: memory },
  };
  const row = (name, r) =>
    `| ${name} | ${r.perSecond} | ${r.p50} | ${r.p99} | ${r.serverMs} | ${r.clientMs} | ${r.answered} | ${r.refused} | ${r.wrong} | ${r.failed} |`;
  console.log(
    [
      "| clients | answers a second | p50 ms | p99 ms | server's CPU ms each | clients' CPU ms each | answered | refused (429) | wrong | failed |",
      "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
      row("1", result.one),
      row(String(count), result.many),
      row("1 again", result.oneAgain),
      "",
      `${count} clients ÷ one at a time: ${result.ratio}`,
      `memory under load, MiB: ${result.memoryMiB.firstHalf} in the first half, ${result.memoryMiB.secondHalf} in the second`,
    ].join("\n"),
  );
  if (values.out) saveFigures(values.out, result);
  if (many.wrong + many.failed + one.wrong + one.failed > 0) process.exitCode = 1;
}

function summary({ latencies, answered, tokens, refused, wrong, failed, seconds, failures, ...cpu }) {
  const sorted = latencies.sort((a, b) => a - b);
  const at = (share) =>
    Number((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(1));
  const perSecond = Number((answered / seconds).toFixed(1));
  return {
    perSecond,
    ...(tokens > 0 ? { tokensPerSecond: Number((tokens / seconds).toFixed(1)) } : {}),
    // processor time, whatever else the machine does
    serverMs: Number(((cpu.serverSeconds * 1000) / answered).toFixed(3)),
    clientMs: Number(((cpu.clientSeconds * 1000) / answered).toFixed(3)),
    p50: at(0.5),
    p99: at(0.99),
    answered,
    refused,
    wrong,
    failed,
    ...(failures.length ? { failures } : {}),
  };
}

/** A prompt that shows when it is another's. */
function adapterOf(tokens, width, seed, family) {
  let state = seed + 1;
  const draw = () => {
    state = (state * 48271) % 2147483647;
    return (state / 2147483647) * 6 - 3;
  };
  return {
    prompt: { shape: [tokens, width], data: Float32Array.from({ length: tokens * width }, draw) },
    mask: null,
    base: { name: "", revision: null, sha256: null, family, width, layers: null, heads: null },
    tokenizer: null,
    task: {
      name: "bench",
      template: "sentence: {text}",
      verbalizer: { negative: "negative", positive: "positive" },
      metrics: ["accuracy"],
      maxTargetTokens: 10,
      targetPrefix: "",
    },
    training: null,
    scores: null,
    kept: { config: {}, extras: {} },
  };
}

/** Sends a message and waits until it has left: a process that ends before loses a long one. */
function told(message) {
  return new Promise((resolve, reject) => process.send(message, (error) => (error ? reject(error) : resolve())));
}

/** Clients in a process of their own. */
function run(job) {
  return new Promise((resolve, reject) => {
    const child = fork(here, [], { serialization: "advanced" });
    child.on("message", resolve);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`the clients ended with ${code} and said nothing`)));
    child.send(job);
  });
}

/** One connection that asks one thing at a time, without an HTTP client's work: on few cores its time is taken from the server's. */
function connection({ url, token }) {
  const { hostname, port } = new URL(url);
  let [socket, left, waiting] = [null, "", null];
  const fail = (error) => {
    socket = null;
    waiting?.reject(error);
  };
  const take = (piece) => {
    left += piece;
    const head = left.indexOf("\r\n\r\n");
    if (head < 0) return;
    const length = Number(/^content-length: *(\d+)/im.exec(left)?.[1]);
    // the answers of this bench are ASCII
    if (left.length < head + 4 + length) return;
    const text = left.slice(head + 4, head + 4 + length);
    const retry = /^retry-after: *(\d+)/im.exec(left.slice(0, head))?.[1];
    const answer = { status: Number(left.slice(9, 12)), text, retry };
    left = left.slice(head + 4 + length);
    waiting.resolve(answer);
  };
  const open = () => {
    socket = connect(Number(port), hostname).setNoDelay(true).setEncoding("latin1");
    left = "";
    socket.on("data", take).on("error", fail);
    socket.on("close", () => fail(new Error("the server closed the connection")));
  };
  return {
    ask: (path, body) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        if (socket === null || socket.destroyed) open();
        const text = JSON.stringify(body);
        socket.write(
          `POST ${path} HTTP/1.1\r\nhost: ${hostname}:${port}\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
        );
      }),
    close: () => socket?.destroy(),
  };
}

async function clients() {
  const job = await new Promise((resolve) => process.once("message", resolve));
  const { path, body, same, tokens } = kinds[job.what];
  const open = Array.from({ length: job.clients }, () => connection(job));
  if (job.kind === "right") {
    const answers = {};
    for (const model of job.models)
      for (const input of inputs) answers[`${model} ${input}`] = (await open[0].ask(path, body(model, input))).text;
    await told({ answers });
  } else {
    const out = { latencies: [], answered: 0, tokens: 0, refused: 0, wrong: 0, failed: 0, failures: [], seconds: 0 };
    const started = performance.now();
    const cpu = process.cpuUsage();
    const until = started + job.seconds * 1000;
    const client = async (n) => {
      for (let turn = n; performance.now() < until; turn++) {
        const [model, input] = [job.models[(turn * 5 + n) % job.models.length], inputs[(turn * 3 + n) % inputs.length]];
        const asked = performance.now();
        try {
          const { status, text, retry } = await open[n].ask(path, body(model, input));
          if (status === 429) {
            out.refused++;
            await new Promise((go) => setTimeout(go, Number(retry) * 1000));
            continue;
          }
          if (status !== 200) throw new Error(`${status} ${text.slice(0, 200)}`);
          out.answered++;
          out.latencies.push(performance.now() - asked);
          out.tokens += tokens(text);
          if (!same(text, job.right[`${model} ${input}`])) out.wrong++;
        } catch (error) {
          out.failed++;
          if (out.failures.length < 5) out.failures.push(String(error));
        }
      }
    };
    await Promise.all(Array.from({ length: job.clients }, (_, n) => client(n)));
    out.seconds = (performance.now() - started) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    out.clientSeconds = (user + system) / 1e6;
    await told(out);
  }
  process.disconnect();
  for (const each of open) each.close();
}
