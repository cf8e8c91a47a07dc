/**
 * @file Post-processors of a `tokenizer.json`: which special tokens stand round one text.
 *
 * In: the file's `post_processor`. Out: ids before and after the text. The rules for pairs of texts are not read.
 * Source: tokenizers 0.23, src/processors.
 */
import { SoftpromptError } from "../base/errors.js";
import { isObject, own } from "../base/json.js";
import { array, isIndex, object, type StepTable, step, string } from "./parts.js";

export interface Frame {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const nothing: Frame = { before: [], after: [] };
const maxFrame = 64;

const processors: StepTable<Frame> = {
  // Later ones stand further outside.
  Sequence: (c, where) =>
    array(own(c, "processors"), where)
      .map((p, i) => step(processors, p, `${where}.processors[${i}]`))
      .reduce(
        (inner, outer) => ({
          before: [...outer.before, ...inner.before],
          after: [...inner.after, ...outer.after],
        }),
        nothing,
      ),
  // It moves offsets only.
  ByteLevel: () => nothing,
  TemplateProcessing: (c, where) => {
    const special = object(own(c, "special_tokens") ?? {}, where);
    const before: number[] = [];
    const after: number[] = [];
    let side = before;
    let texts = 0;
    const parts = array(own(c, "single"), `${where}.single`);
    if (parts.length > maxFrame) refuse(where, "too many tokens round a text", `at most ${maxFrame}`, parts.length);
    for (const [i, part] of parts.entries()) {
      const at = `${where}.single[${i}]`;
      const piece = object(part, at);
      const token = own(piece, "SpecialToken");
      if (token !== undefined) side.push(...idsOf(special, string(own(object(token, at), "id"), at), at));
      else if (isObject(own(piece, "Sequence"))) {
        texts++;
        side = after;
      } else refuse(at, "this is no part of a template", "SpecialToken or Sequence", JSON.stringify(part));
    }
    if (texts !== 1) refuse(where, "a template needs its text once", "one Sequence", texts);
    return { before, after };
  },
  BertProcessing: (c, where) => ({ before: [pairId(own(c, "cls"), where)], after: [pairId(own(c, "sep"), where)] }),
  RobertaProcessing: (c, where) => ({ before: [pairId(own(c, "cls"), where)], after: [pairId(own(c, "sep"), where)] }),
};

/** The frame that a file describes; none is no tokens. */
export function readPostProcessor(config: unknown, where: string): Frame {
  if (config === null || config === undefined) return nothing;
  return step(processors, config, where);
}

function idsOf(special: Readonly<Record<string, unknown>>, name: string, where: string): number[] {
  const ids = array(own(object(own(special, name), `${where}, special token`), "ids"), where);
  if (ids.length > maxFrame || !ids.every(isIndex))
    refuse(where, "a special token has no usable ids", "a few ids", ids);
  return ids as number[];
}

/** `["</s>", 2]`. */
function pairId(value: unknown, where: string): number {
  const id = Array.isArray(value) && value.length === 2 ? (value as unknown[])[1] : undefined;
  return isIndex(id) ? id : refuse(where, "a special token has no usable id", '["<s>", 1]', value);
}

function refuse(where: string, problem: string, expected: string, got: unknown): never {
  throw new SoftpromptError("checkpoint", problem, { where, expected, got });
}
