/**
 * @file Contents of an adapter: tokens, pieces, parameters, norms, the map, and the vocabulary words nearest to each token.
 *
 * In: an Adapter; with a Checkpoint and Tokenizer the words too. Out: plain data, and the same as text.
 * Nearest words (Lester et al. 2021, §"Qualitative analysis"): cosine between a prompt vector and every row of the embedding.
 */
import { size } from "../base/tensor.js";
import { isFull, livePieces, maskCounts } from "../method/mask.js";
import { architectureOf } from "../model/architectures.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { checkAdapterValue } from "./given.js";
import { maskMap } from "./map.js";
import type { Adapter } from "./types.js";

/** One virtual token of an adapter. */
export interface TokenReport {
  /** Live pieces; all of them where nothing is masked. */
  readonly pieces: number;
  /** Euclidean norm. */
  readonly norm: number;
  /** Best first; empty for a pruned (zero) token or without a base model. */
  readonly nearest: readonly { readonly piece: string; readonly id: number; readonly cosine: number }[];
}

/** What is in an adapter: its size, its origin, its norms, and the words nearest to its tokens. */
export interface AdapterReport {
  readonly base: Adapter["base"];
  readonly task: string | null;
  readonly method: string | null;
  readonly tokens: number;
  readonly width: number;
  /** Live tokens, pieces (null where there is no mask) and parameters. */
  readonly live: {
    readonly tokens: number;
    readonly pieces: number | null;
    readonly parameters: number;
    readonly fraction: number;
  };
  readonly scores: Adapter["scores"];
  readonly perToken: readonly TokenReport[];
  /** The tensors of a method that leaves no prompt, each with its root mean square. */
  readonly tensors: readonly { readonly name: string; readonly shape: readonly number[]; readonly rms: number }[];
  /** The m × k map as text; null where nothing is pruned. */
  readonly map: string | null;
}

/** Rows of the embedding that are compared at a time: bounds memory at 4096 × D floats. */
const rowsAtOnce = 4096;

/** @param count nearest words per token. Default 5. */
export async function inspectAdapter(
  adapter: Adapter,
  base?: { readonly checkpoint: Checkpoint; readonly tokenizer: Tokenizer },
  count = 5,
): Promise<AdapterReport> {
  checkAdapterValue(adapter, "inspectAdapter()");
  const { prompt, mask } = adapter;
  const [tokens, width] = prompt.shape as [number, number];
  const row = (i: number) => prompt.data.subarray(i * width, (i + 1) * width);
  const norms = Array.from({ length: tokens }, (_, i) => Math.hypot(...row(i)));
  const nearest =
    base && tokens > 0
      ? await nearestWords(prompt.data, norms, base.checkpoint, base.tokenizer, count)
      : norms.map(() => []);
  const tensors = Object.entries(adapter.applied?.parameters ?? {}).map(([name, { shape, data }]) => ({
    name,
    shape,
    rms: Math.sqrt(data.reduce((sum, v) => sum + v * v, 0) / Math.max(1, data.length)),
  }));
  const numbers = tensors.reduce((sum, { shape }) => sum + size(shape), 0);
  const pieces = mask ? livePieces(mask) : null;
  // a mask of a method's parameters is over their rows
  const masked = adapter.applied ? tensors.reduce((sum, { shape }) => sum + shape[1]!, 0) : width;
  return {
    base: adapter.base,
    task: adapter.task?.name ?? null,
    method: adapter.training?.method ?? null,
    tokens,
    width,
    live: mask ? maskCounts(mask, masked) : { tokens, pieces: null, parameters: tokens * width + numbers, fraction: 1 },
    scores: adapter.scores,
    perToken: norms.map((norm, i) => ({ pieces: pieces?.[i] ?? mask?.pieces ?? 1, norm, nearest: nearest[i]! })),
    tensors,
    map: mask && !isFull(mask) ? maskMap(mask) : null,
  };
}

/** The report for a terminal. */
export function adapterReportText(report: AdapterReport): string {
  const { base, live, scores } = report;
  const lines = [
    `base model   ${base.name || "not recorded"}${base.revision ? ` @ ${base.revision}` : ""}`,
    `weights      ${base.sha256 ? `sha256 ${base.sha256}` : "sha256 not recorded"}`,
    `task         ${report.task ?? "not recorded"}${report.method ? `, tuned by ${report.method}` : ""}`,
    ...(report.tensors.length > 0
      ? [
          `trained      ${report.tensors.reduce((sum, { shape }) => sum + size(shape), 0)} numbers in ${report.tensors.length} tensors`,
          ...(live.pieces === null ? [] : [aliveText(live, report.tensors[0]!.shape[0]!)]),
        ]
      : [`prompt       ${report.tokens} tokens of width ${report.width}`, aliveText(live, report.tokens)]),
  ];
  if (scores)
    for (const [name, value] of Object.entries(scores.values))
      lines.push(`${name.padEnd(12)} ${value?.toFixed(4)} on ${scores.rows} rows of ${scores.split}`);
  if (report.map) lines.push("", "map (# alive, · pruned piece, - pruned token)", report.map);
  if (report.tensors.length > 0) {
    const shapes = report.tensors.map(({ shape }) => `[${shape.join(", ")}]`);
    const widest = Math.max(...shapes.map((text) => text.length));
    lines.push("", `${"shape".padEnd(widest)}  rms         tensor`);
    for (const [i, { name, rms }] of report.tensors.entries())
      lines.push(`${shapes[i]!.padEnd(widest)}  ${rms.toExponential(3).padEnd(10)}  ${name}`);
    return lines.join("\n");
  }
  lines.push("", "token  norm      nearest words (cosine)");
  for (const [i, { norm, nearest }] of report.perToken.entries())
    lines.push(
      `${String(i).padStart(5)}  ${norm.toFixed(3).padStart(8)}  ${nearest.map(({ piece, cosine }) => `${piece} ${cosine.toFixed(2)}`).join("  ")}`.trimEnd(),
    );
  return lines.join("\n");
}

function aliveText({ tokens, pieces, parameters, fraction }: AdapterReport["live"], all: number): string {
  return `alive        ${tokens} tokens${pieces === null ? "" : `, ${pieces} pieces`}, ${parameters} parameters (${(100 * fraction).toFixed(2)} % of these ${all} tokens)`;
}

async function nearestWords(
  prompt: Float32Array,
  norms: readonly number[],
  checkpoint: Checkpoint,
  tokenizer: Tokenizer,
  count: number,
): Promise<TokenReport["nearest"][]> {
  const width = checkpoint.config.width;
  const words = Math.min(tokenizer.size, checkpoint.config.vocabulary);
  const best = norms.map(() => [] as { id: number; cosine: number }[]);
  for (let first = 0; first < words; first += rowsAtOnce) {
    const ids = Array.from({ length: Math.min(rowsAtOnce, words - first) }, (_, n) => first + n);
    const { data } = await checkpoint.readRows(architectureOf(checkpoint.config).embedding, ids);
    for (const [n, id] of ids.entries()) {
      const word = data.subarray(n * width, (n + 1) * width);
      let square = 0;
      for (const v of word) square += v * v;
      if (square === 0) continue;
      for (const [i, list] of best.entries()) {
        if (norms[i] === 0) continue;
        let dot = 0;
        for (let c = 0; c < width; c++) dot += word[c]! * prompt[i * width + c]!;
        const cosine = dot / (Math.sqrt(square) * norms[i]!);
        if (list.length === count && cosine <= list[count - 1]!.cosine) continue;
        list.push({ id, cosine });
        list.sort((a, b) => b.cosine - a.cosine || a.id - b.id);
        if (list.length > count) list.pop();
      }
    }
  }
  return best.map((list) => list.map(({ id, cosine }) => ({ piece: tokenizer.piece(id), id, cosine })));
}
