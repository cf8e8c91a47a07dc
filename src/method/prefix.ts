/**
 * @file Prefix tuning: N trained keys and values before those of every attention.
 *
 * In: N, which attentions, and whether a small network computes the prefix during training. Out: a Method. Per kind of attention one matrix
 * [N, L·2·G·K]: layer by layer the keys, then the values, as PEFT lays them out. With the network (PEFT's prefix_projection) the trained
 * parameters are N vectors of the model's width and two linear layers with tanh between them; at the end plain keys and values are left.
 * A prefix stands at positions 0 … N−1, before the text. Source: Li & Liang 2021, arXiv:2101.00190; PEFT's PrefixEncoder.
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
import type { Method, Values } from "./method.js";
import type { prefixOptions } from "./options.js";

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

function plainPrefix({ virtualTokens: N, prefixAttentions }: PrefixSettings): Method {
  const groups = (config: ModelConfig) => prefixGroups(config, prefixAttentions);
  return {
    ...common(N, (_, values, group) => values[`${group.name}.prefix`]!, prefixAttentions),
    key: `prefix ${JSON.stringify([N, prefixAttentions, 0])}`,
    parameters: (config) =>
      groups(config).map(({ name, width }) => ({ name: `${name}.prefix`, shape: [N, width], perRow: false })),
    start: async ({ checkpoint, random }) =>
      Object.fromEntries(
        groups(checkpoint.config).map(({ name, width }) => [`${name}.prefix`, uniform(random, [N, width], 0.5)]),
      ),
  };
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

/** The common part of both forms, given the prefix [N, L·2·G·K] of a group. */
function common(
  N: number,
  prefixOf: (b: Builder, values: Values, group: PrefixGroup) => Value,
  only: readonly string[] | undefined,
): Pick<Method, "name" | "prunable" | "perRow" | "attach" | "adds"> {
  return {
    name: "prefix",
    prunable: false,
    perRow: false,
    attach: (b, values, config) => {
      const { heads } = architectureOf(config).keys(config);
      const groups = new Map(prefixGroups(config, only).map((group) => [group.name, group]));
      // computed once for a graph, however many layers read it
      const parts = new Map<string, readonly Value[]>();
      const partsOf = (group: PrefixGroup) => {
        const known = parts.get(group.name);
        const made = known ?? ops.split(b.graph, prefixOf(b, values, group), 1, 2 * group.layers);
        parts.set(group.name, made);
        return made;
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

/** [G, N, K] once for each row (and choice) of [B, (C,) G, S, K]. */
function perRow({ graph: g }: Builder, x: Value, like: Value): Value {
  let y = x;
  for (let axis = like.shape.length - 4; axis >= 0; axis--) y = ops.unsqueeze(g, y, 0);
  for (let axis = 0; axis < like.shape.length - 3; axis++) y = ops.broadcastLike(g, y, like, axis);
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
