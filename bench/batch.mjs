/** @file What every benchmark needs: a batch of a shape, a clock, a median. */

// as the command line has it (src/cli/main.ts)
process.env.SOFTPROMPT_DENORMALS ??= "zero";

/**
 * A batch without padding: every position works. Of a decoder-only model a text's last token is what the target follows.
 * @param {{ vocabulary: number, family: string }} config
 * @param {{ batch: number, input: number, target: number }} shape rows, tokens of text, target tokens
 */
export function batchOf({ vocabulary, family }, { batch: B, input, target: U }) {
  const causal = family !== "t5";
  const T = causal ? input - 1 : input;
  const ids = (length) => Int32Array.from({ length }, (_, i) => 3 + ((i * 7919) % (vocabulary - 3)));
  return {
    size: B,
    inputIds: ids(B * T),
    inputMask: new Int32Array(B * T).fill(1),
    inputLength: T,
    targetIds: ids(B * U),
    targetMask: new Int32Array(B * U).fill(1),
    targetLength: U,
    ...(causal && { firstIds: ids(B) }),
    ids: Array.from({ length: B }, (_, i) => `row ${i}`),
  };
}

/** Milliseconds that `work` takes. */
export async function time(work) {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

/** The middle value; of an even number, the mean of the two. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** A shape as FLOPs are counted: of a decoder-only model the text's last token is decoded with the target. */
export const flopShape = ({ family }, shape) => (family === "t5" ? shape : { ...shape, input: shape.input - 1 });

/** What tables call a shape. */
export const nameOf = (size) => (/^(small|base|large|xl|xxl)$/.test(size) ? `t5-v1.1-${size}` : size);
