/** @file The engine by hand: loss and gradient of one prompt on some rows, checked by central differences. */
import { loadRows, openModel } from "softprompt";
import { encodeRows, makeBatch } from "softprompt/engine";
import { check } from "./check.mjs";

const rows = [
  { text: "A moving, funny film.", label: "positive" },
  { text: "The soup was cold.", label: "negative" },
];
const model = await openModel("t5-nano");
try {
  const { task, train } = await loadRows(rows, { template: "sentence: {text}", validationShare: 0 });
  const batch = makeBatch(encodeRows(task, train, model.tokenizer, 128));
  const program = await model.engine.train();

  // P = 3 virtual tokens of the model's width D, all alike
  const [P, D] = [3, model.checkpoint.config.width];
  const prompt = { shape: [P, D], data: Float32Array.from({ length: P * D }, (_, i) => Math.sin(i)) };
  // a factor for each row's summed loss; 1/tokens gives the mean over target tokens
  const once = await program.run({ prompt }, batch, Float32Array.of(1, 1));
  const weights = new Float32Array(rows.length).fill(1 / once.tokens.reduce((sum, n) => sum + n, 0));
  const { gradients } = await program.run({ prompt }, batch, weights);

  // a prompt is fed per row: its gradient is [B, P, D], and that of the shared prompt is the sum over B
  const [B] = gradients.prompt.shape;
  const gradient = new Float64Array(P * D);
  for (let b = 0; b < B; b++) for (let i = 0; i < P * D; i++) gradient[i] += gradients.prompt.data[b * P * D + i];

  const lossAt = async (i, step) => {
    const moved = Float32Array.from(prompt.data);
    moved[i] += step;
    const { loss } = await program.run({ prompt: { shape: [P, D], data: moved } }, batch, weights);
    return loss.reduce((sum, one, b) => sum + one * weights[b], 0);
  };
  const largest = gradient.reduce((top, g, i) => (Math.abs(g) > Math.abs(gradient[top]) ? i : top), 0);
  const step = 0.01;
  const difference = ((await lossAt(largest, step)) - (await lossAt(largest, -step))) / (2 * step);
  console.log(`entry ${largest}: gradient ${gradient[largest].toFixed(5)}, central difference ${difference.toFixed(5)}`);
  check(gradients.prompt.shape.join() === [rows.length, P, D].join(), "the gradient has a row for each input");
  check(Math.abs(difference - gradient[largest]) < 0.02 * Math.abs(gradient[largest]), "it is the slope of the loss");
} finally {
  await model.dispose();
}
