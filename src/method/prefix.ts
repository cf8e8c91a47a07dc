/**
 * @file Prefix tuning: N trained keys and values before those of every attention.
 *
 * In: N, which attentions, and whether a small network computes the prefix during training. Out: a Method. Per kind of attention one matrix
 * [N, L·2·G·K]: layer by layer the keys, then the values, as PEFT lays them out. With the network (PEFT's prefix_projection) the trained
 * parameters are N vectors of the model's width and two linear layers with tanh between them; at the end plain keys and values are left.
 * A prefix stands at positions 0 … N−1, before the text. Source: Li & Liang 2021, arXiv:2101.00190; PEFT's PrefixEncoder.
 *
 * XPrompt sees it as one matrix [N, width]: row n holds the keys and values of position n over all attentions and layers. A pruned position
 * stays: its keys and values are zeros, which is what a mask over vectors says. It still takes a share of the attention (its product with
 * every query is 0) and adds nothing to what is read.
 */
import { SoftpromptError } from "../base/errors.js";
import type { OptionValues } from "../base/options.js";
import type { Tensor } from "../base/tensor.js";
import type { Value } from "../graph/graph.js";
import * as ops from "../graph/ops.js";
import type { AttentionSite, ModelConfig } from "../model/architecture.js";
import { architectureOf } from "../model/architectures.js";
import type { Builder } from "../model/builder.js";
import { linearBias, linearWeight, uniform } from "./draws.js";
import type { Method, Values, VectorRows } from "./method.js";
import type { prefixOptions } from "./options.js";
import { inRow, joinRows, partRows } from "./rows.js";

export type PrefixSettings = OptionValues<typeof prefixOptions> & { readonly virtualTokens: number };

/** The attentions of one kind in one stack: "decoder.cross". */
export interface PrefixGroup {
  readonly name: string;
  readonly stack: string;
  readonly attention: AttentionSite["attention"];
  readonly layers: number;
  /** L·2·G·K */
  readonly width: number;
}

export function prefix(settings: PrefixSettings): Method {
  return settings.prefixHidden === 0 ? plainPrefix(settings) : projectedPrefix(settings);
}

function plainPrefix(settings: PrefixSettings): Method {
  const { virtualTokens: N, prefixAttentions } = settings;
  const groups = (config: ModelConfig) => prefixGroups(config, prefixAttentions);
  return {
    ...common(N, (_, values, group) => values[`${group.name}.prefix`]!, prefixAttentions),
    rows: (config) => prefixRows(settings, config),
    key: `prefix ${JSON.stringify([N, prefixAttentions, 0])}`,
    parameters: (config) =>
      groups(config).map(({ name, width }) => ({ name: `${name}.prefix`, shape: [N, width], perRow: false })),
    start: async ({ checkpoint, random }) =>
      Object.fromEntries(
        groups(checkpoint.config).map(({ name, width }) => [`${name}.prefix`, uniform(random, [N, width], 0.5)]),
      ),
  };
}

/** The same numbers as one matrix, [N, Σ L·2·G·K] over the groups. Each row of a batch may have its own. */
function prefixRows(settings: PrefixSettings, config: ModelConfig): VectorRows {
  const { virtualTokens: N, prefixAttentions } = settings;
  const groups = inRow(prefixGroups(config, prefixAttentions));
  const width = groups.reduce((sum, group) => sum + group.width, 0);
  const widths = Object.fromEntries(groups.map((group) => [`${group.name}.prefix`, group.width]));
  const method: Method = {
    ...common(N, (_, { prompt }) => prompt!, prefixAttentions, groups),
    key: `prefix rows ${JSON.stringify([N, prefixAttentions])}`,
    prunable: true,
    perRow: true,
    parameters: () => [{ name: "prompt", shape: [N, width], perRow: true }],
    adds: () => ({ tokens: 0, keys: Object.fromEntries(groups.map(({ name }) => [name, N])) }),
    start: async (from) => ({ prompt: joinRows(await plainPrefix(settings).start(from)) }),
  };
  return { method, width, join: joinRows, part: (prompt) => partRows(prompt, widths) };
}

function projectedPrefix(settings: PrefixSettings): Method {
  const { virtualTokens: N, prefixAttentions, prefixHidden: h } = settings;
  const groups = (config: ModelConfig) => prefixGroups(config, prefixAttentions);
  const made = ({ graph: g }: Builder, values: Values, { name }: PrefixGroup) => {
    const of = (part: string) => values[`${name}.${part}`]!;
    const inner = ops.tanh(g, ops.linear(g, of("vectors"), of("down.weight"), { bias: of("down.bias") }));
    return ops.linear(g, inner, of("up.weight"), { bias: of("up.bias") });
  };
  return {
    ...common(N, made, prefixAttentions),
    key: `prefix ${JSON.stringify([N, prefixAttentions, h])}`,
    parameters: (config) =>
      groups(config).flatMap(({ name, width }) =>
        Object.entries(shapes(N, config.width, h, width)).map(([part, shape]) => ({
          name: `${name}.${part}`,
          shape,
          perRow: false,
        })),
      ),
    start: async ({ checkpoint, random }) => {
      const D = checkpoint.config.width;
      return Object.fromEntries(
        groups(checkpoint.config).flatMap(({ name, width }): [string, Tensor][] => [
          [`${name}.vectors`, uniform(random, [N, D], Math.sqrt(3))],
          [`${name}.down.weight`, linearWeight(random, h, D)],
          [`${name}.down.bias`, linearBias(random, h, D)],
          [`${name}.up.weight`, linearWeight(random, width, h)],
          [`${name}.up.bias`, linearBias(random, width, h)],
        ]),
      );
    },
    leaves: {
      method: plainPrefix({ ...settings, prefixHidden: 0 }),
      settings: { prefixHidden: 0 },
      values: (b, values, config) =>
        Object.fromEntries(groups(config).map((group) => [`${group.name}.prefix`, made(b, values, group)])),
    },
  };
}

const shapes = (N: number, D: number, h: number, width: number) => ({
  vectors: [N, D],
  "down.weight": [h, D],
  "down.bias": [h],
  "up.weight": [width, h],
  "up.bias": [width],
});

/**
 * The common part of all forms, given the prefix […, N, L·2·G·K] of a group.
 * @param joined the groups that lie side by side in one prefix; by default each has a prefix of its own
 */
function common(
  N: number,
  prefixOf: (b: Builder, values: Values, group: PrefixGroup) => Value,
  only: readonly string[] | undefined,
  joined?: readonly PrefixGroup[],
): Pick<Method, "name" | "prunable" | "perRow" | "before" | "attach" | "adds"> {
  return {
    name: "prefix",
    prunable: false,
    perRow: false,
    // it stands before the keys of a whole text
    before: true,
    attach: (b, values, config) => {
      const { heads } = architectureOf(config).keys(config);
      const groups = new Map(prefixGroups(config, only).map((group) => [group.name, group]));
      // computed once for a graph, however many layers read it
      const parts = new Map<string, readonly Value[]>();
      const partsOf = (group: PrefixGroup) => {
        // keys and values of a layer are equally wide in every group
        const together = joined ?? [group];
        const name = together[0]!.name;
        const known = parts.get(name) ?? splitPairs(b, prefixOf(b, values, group), together);
        parts.set(name, known);
        const from = together.slice(
          0,
          together.findIndex((other) => other.name === group.name),
        );
        const at = pairs(from);
        return known.slice(at, at + pairs([group]));
      };
      return {
        ...b,
        before: (site) => b.before(site) + (groups.has(`${site.stack}.${site.attention}`) ? N : 0),
        keyValues: (computed, site) => {
          const own = b.keyValues(computed, site);
          const group = groups.get(`${site.stack}.${site.attention}`);
          if (group === undefined) return own;
          const [key, value] = partsOf(group).slice(2 * site.layer, 2 * site.layer + 2);
          const join = (part: Value, to: Value) =>
            ops.concat(b.graph, [perRow(b, ops.splitHeads(b.graph, part, heads), to), to], to.shape.length - 2);
          return { key: join(key!, own.key), value: join(value!, own.value) };
        },
      };
    },
    adds: (parameters) => ({
      tokens: 0,
      keys: Object.fromEntries(
        Object.keys(parameters)
          .map((name) => /^(\w+\.(?:self|cross))\./.exec(name)?.[1])
          .flatMap((name) => (name === undefined ? [] : [[name, N]])),
      ),
    }),
  };
}

/** Keys and values of a layer are two parts. */
const pairs = (groups: readonly PrefixGroup[]) => groups.reduce((sum, { layers }) => sum + 2 * layers, 0);

function splitPairs({ graph: g }: Builder, prefix: Value, groups: readonly PrefixGroup[]): readonly Value[] {
  return ops.split(g, prefix, prefix.shape.length - 1, pairs(groups));
}

/** [G, N, K], or [B, G, N, K] of rows that have their own, once for each row (and choice) of [B, (C,) G, S, K]. */
function perRow({ graph: g }: Builder, x: Value, like: Value): Value {
  const own = x.shape.length - 3;
  let y = x;
  for (let axis = own; axis < like.shape.length - 3; axis++) y = ops.unsqueeze(g, y, own);
  for (let axis = own; axis < like.shape.length - 3; axis++) y = ops.broadcastLike(g, y, like, axis);
  return y;
}

/** The kinds of attention that get a prefix. @throws SoftpromptError "usage" for one that the model does not have. */
export function prefixGroups(config: ModelConfig, only: readonly string[] | undefined): readonly PrefixGroup[] {
  const architecture = architectureOf(config);
  const { heads, headWidth } = architecture.keys(config);
  const stacks = architecture.stacks(config);
  const all = stacks.flatMap(({ name: stack, layers }, i): PrefixGroup[] => {
    const width = layers * 2 * heads * headWidth;
    const self = { name: `${stack}.self`, stack, attention: "self" as const, layers, width };
    const cross = { name: `${stack}.cross`, stack, attention: "cross" as const, layers, width };
    return i > 0 ? [self, cross] : [self];
  });
  const unknown = only?.find((name) => !all.some((group) => group.name === name));
  if (unknown !== undefined || only?.length === 0)
    throw new SoftpromptError("usage", "the model has no such attention", {
      where: "prefixAttentions",
      expected: `one or more of ${all.map(({ name }) => name).join(", ")}`,
      got: unknown ?? "none",
    });
  return only === undefined ? all : all.filter(({ name }) => only.includes(name));
}
