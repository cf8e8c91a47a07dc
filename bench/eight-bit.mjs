/**
 * @file How near linear layers in 8 bits come to float32: loss and gradient of the prompt on real rows.
 *
 * node bench/eight-bit.mjs MODEL --train FILE --template TEXT --label-column COLUMN --verbalizer A=TEXT,B=TEXT [--rows 24] [--seeds 0,1,2]
 * Prints JSON: cosine and ratio of norms of the prompt's gradient (8 bits ÷ float32) at the start prompt of each seed, and the losses.
 * Not a speed: `npm run bench` has that.
 */
import { parseArgs } from "node:util";
import { loadData, openModel } from "softprompt";
import { encodeRows, makeBatch } from "softprompt/engine";
import { initPrompt } from "softprompt/train";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    train: { type: "string" },
    template: { type: "string" },
    "label-column": { type: "string" },
    verbalizer: { type: "string" },
    rows: { type: "string", default: "24" },
    seeds: { type: "string", default: "0,1,2" },
    batch: { type: "string", default: "8" },
  },
});
const [name] = positionals;
const data = await loadData({
  train: options.train,
  template: options.template,
  labelColumn: options["label-column"],
  verbalizer: Object.fromEntries(options.verbalizer.split(",").map((pair) => pair.split("="))),
});
const rows = data.train.slice(0, Number(options.rows));

/** Loss of all rows and the gradient of the prompt, for each seed's start. */
async function measure(precision) {
  const model = await openModel(name, { precision });
  const encoded = encodeRows(data.task, rows, model.tokenizer, 492);
  const program = await model.engine.train();
  const found = [];
  for (const seed of options.seeds.split(",").map(Number)) {
    const prompt = await initPrompt({ kind: "sampledVocab" }, { ...model, virtualTokens: 20, seed });
    const gradient = new Float64Array(prompt.data.length);
    let loss = 0;
    for (let at = 0; at < encoded.length; at += Number(options.batch)) {
      const part = encoded.slice(at, at + Number(options.batch));
      const step = await program.run(
        { prompt },
        makeBatch(part),
        new Float32Array(part.length).fill(1 / encoded.length),
      );
      for (const v of step.loss) loss += v / encoded.length;
      const { data: values } = step.gradients.prompt;
      for (let i = 0; i < values.length; i++) gradient[i % gradient.length] += values[i];
    }
    found.push({ seed, loss, gradient });
  }
  await model.dispose();
  return found;
}

const [exact, rounded] = [await measure("float32"), await measure("int8")];
const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
console.log(
  JSON.stringify(
    exact.map(({ seed, loss, gradient: a }, i) => {
      const b = rounded[i].gradient;
      return {
        seed,
        cosine: dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)),
        norms: Math.sqrt(dot(b, b) / dot(a, a)),
        loss,
        lossInt8: rounded[i].loss,
      };
    }),
    null,
    2,
  ),
);
