/** @file What tests ask of masks. */
import type { PromptMask } from "../../src/method/mask.js";

/** True when every entry that lives in `inner` lives in `outer`. */
export function maskWithin(inner: PromptMask, outer: PromptMask): boolean {
  const lives = (m: PromptMask, n: number) => m.tokens[Math.floor(n / m.pieces)]! && m.piecesKept[n]!;
  return (
    inner.pieces === outer.pieces &&
    inner.layout === outer.layout &&
    inner.tokens.length === outer.tokens.length &&
    Array.from(inner.piecesKept.keys()).every((n) => !lives(inner, n) || lives(outer, n))
  );
}
