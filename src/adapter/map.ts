/**
 * @file The m × k map of a mask as text: one line per token, one character per piece.
 */
import type { PromptMask } from "../method/mask.js";

/** `#` lives, `·` pruned piece of a live token, a line of `-` for a pruned token. */
export function maskMap(mask: PromptMask): string {
  const digits = String(mask.tokens.length - 1).length;
  return Array.from(mask.tokens, (alive, i) => {
    const row = Array.from(mask.piecesKept.subarray(i * mask.pieces, (i + 1) * mask.pieces));
    const cells = row.map((kept) => (!alive ? "-" : kept ? "#" : "·")).join("");
    return `${String(i).padStart(digits)} ${cells}`;
  }).join("\n");
}
