/**
 * @file Mutators of bytes and of JSON: sound files become hostile ones. In: bytes, a random stream. Out: other bytes.
 *
 * A mutator is a pure function of its stream, so an input is known by format, seed and number alone. Half of the art is to stay
 * near a sound file: what is wrong everywhere is refused at the first byte and tries nothing behind it.
 */
import type { Random } from "../../src/base/random.js";

/** @param others sound files of the same kind, to splice with. */
export type Mutator = (bytes: Uint8Array, draw: Random, others: readonly Uint8Array[]) => Uint8Array;

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");
export const pick = <T>(draw: Random, from: readonly T[]): T => from[draw.integer(from.length)]!;
export const chance = (draw: Random, share: number): boolean => draw.next() < share;

/** Integers at which lengths, offsets and shapes go wrong. */
export const extremes = [
  ...[0n, 1n, -1n, 2n, 7n, 8n, 127n, 128n, 255n, 256n, 32767n, 65535n, 65536n],
  ...[2n ** 24n, 2n ** 31n - 1n, 2n ** 31n, -(2n ** 31n), 2n ** 32n - 1n, 2n ** 32n, 2n ** 33n],
  ...[2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n],
];

/** Byte strings that mean something to one format or another. */
const tokens = [
  ...["{", "}", "[", "]", '"', "\\", ",", ":", "\n", "\r\n", "\r", "\t", "\0", " ", "\ufeff", "null", "true", "-", "."],
  ...["9".repeat(30), "-1", "1e999", "-0", "NaN", "Infinity", "9007199254740993", "[[[[[[[[", "\\u0000", "\\ud800"],
  ...["__proto__", '"__proto__":', '{"__proto__":{"polluted":1}}', "constructor", "prototype", "toString"],
  ...[
    "../../x",
    "..\\x",
    "/etc/passwd",
    "file:///etc/passwd",
    "C:\\x",
    "%2e%2e/",
    "<script>",
    "${",
    "&a *a",
    "!!js/function",
  ],
  ...["PAR1", "PK\u0003\u0004", "\u0080\u0004", "F32", "BF16", "F64", "<extra_id_0>", "▁", "\u0301", "日本", "ｓｉ"],
].map(bytesOf);

/** An integer as little- or big-endian bytes of 1, 2, 4 or 8, or as a varint. */
export function integerBytes(value: bigint, draw: Random): Uint8Array {
  if (chance(draw, 0.3)) return varint(value);
  const width = pick(draw, [1, 2, 4, 8]);
  const bytes = Uint8Array.from({ length: width }, (_, i) =>
    Number((BigInt.asUintN(64, value) >> BigInt(8 * i)) & 255n),
  );
  return chance(draw, 0.2) ? bytes.reverse() : bytes;
}

export function varint(value: bigint): Uint8Array {
  const out: number[] = [];
  let left = BigInt.asUintN(64, value);
  do {
    const low = Number(left & 127n);
    left >>= 7n;
    out.push(left > 0n ? low | 128 : low);
  } while (left > 0n);
  return Uint8Array.from(out);
}

/** Replaces `cut` bytes at `at`. */
function put(bytes: Uint8Array, at: number, cut: number, by: Uint8Array): Uint8Array {
  return Buffer.concat([bytes.subarray(0, at), by, bytes.subarray(at + cut)]);
}

/** Each is one edit of a file at a place. */
const edits: readonly ((bytes: Uint8Array, at: number, draw: Random, others: readonly Uint8Array[]) => Uint8Array)[] = [
  (b, at, draw) => put(b, at, 1, Uint8Array.of((b[at] ?? 0) ^ (1 << draw.integer(8)))),
  (b, at, draw) => put(b, at, 1, Uint8Array.of(draw.integer(256))),
  (b, at, draw) => {
    const by = integerBytes(pick(draw, extremes), draw);
    return put(b, at, by.length, by);
  },
  (b, at, draw) => put(b, at, 0, integerBytes(pick(draw, extremes), draw)),
  (b, at, draw) => put(b, at, 0, pick(draw, tokens)),
  (b, at, draw) => {
    const by = pick(draw, tokens);
    return put(b, at, by.length, by);
  },
  (b, at, draw) => put(b, at, 1 + draw.integer(chance(draw, 0.2) ? b.length : 32), new Uint8Array(0)),
  (b, at, draw) => put(b, at, 0, b.subarray(at, at + 1 + draw.integer(64))),
  (b, at, draw) => {
    const length = 1 + draw.integer(16);
    return put(b, at, length, new Uint8Array(length).fill(pick(draw, [0, 0xff, 0x80, 0x7f])));
  },
  (b, at, draw) => (chance(draw, 0.3) ? b.subarray(0, at) : put(b, at, 0, b.subarray(draw.integer(b.length + 1)))),
  (b, at, draw, others) => {
    const other = pick(draw, others);
    const from = draw.integer(other.length + 1);
    return put(b, at, chance(draw, 0.5) ? b.length : 32, other.subarray(from, from + 1 + draw.integer(256)));
  },
  (b, at, draw) => {
    const chunk = b.subarray(at, at + 1 + draw.integer(24));
    return put(b, at, 0, Buffer.concat(Array.from({ length: 1 + draw.integer(60) }, () => chunk)));
  },
];

/** One to four edits anywhere. */
export const editBytes: Mutator = (bytes, draw, others) => {
  let out = bytes;
  for (let n = 1 + draw.integer(4); n > 0; n--)
    out = pick(draw, edits)(out, draw.integer(out.length + 1), draw, others);
  return out;
};

/** Edits one part of a file and leaves the rest. @param part where it lies: from, to */
export function editWithin(
  bytes: Uint8Array,
  from: number,
  to: number,
  edit: (part: Uint8Array) => Uint8Array,
): Uint8Array {
  return Buffer.concat([bytes.subarray(0, from), edit(bytes.subarray(from, to)), bytes.subarray(to)]);
}

/** JSON that can hold what JSON.parse would lose: equal keys, numbers of any length. */
type Node =
  | { readonly raw: string }
  | { readonly items: readonly Node[] }
  | { readonly pairs: readonly (readonly [string, Node])[] };

const leaves = [
  ...[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "1.5",
    "-1e-7",
    "1e400",
    "-1e400",
    "1e21",
    "NaN",
    "Infinity",
    "01",
    "+1",
  ],
  ...extremes.map(String),
  ...[
    '""',
    '"../../x"',
    '"/etc/passwd"',
    '"__proto__"',
    '"constructor"',
    '"\\u0000"',
    '"\\ud800"',
    '"1"',
    '"true"',
    '"AAAA"',
  ],
  ...['"a\\nb"', '"<script>alert(1)</script>"', '"="', `"${"x".repeat(5000)}"`, "[]", "{}", "[null]", "[[]]", '[""]'],
  ...[
    '{"__proto__":{"polluted":1}}',
    '{"toString":1,"valueOf":1}',
    '{"then":{}}',
    '{"length":1e9}',
    '{"shape":[1e9,1e9],"data":""}',
  ],
  ...[
    `${"[".repeat(40)}${"]".repeat(40)}`,
    `${'{"a":'.repeat(200)}1${"}".repeat(200)}`,
    `[${"0,".repeat(2000)}0]`,
    "[".repeat(3000),
  ],
].map((raw): Node => ({ raw }));
const keys = [
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "length",
  "valueOf",
  "then",
  "toJSON",
  "",
  "a",
  "\u0000",
  "x".repeat(3000),
];

const parsed = new WeakMap<Uint8Array, Node>();

function treeOf(value: unknown): Node {
  if (Array.isArray(value)) return { items: value.map(treeOf) };
  if (typeof value === "object" && value !== null)
    return { pairs: Object.entries(value).map(([k, v]) => [k, treeOf(v)]) };
  return { raw: JSON.stringify(value) };
}

function jsonText(node: Node): string {
  if ("raw" in node) return node.raw;
  if ("items" in node) return `[${node.items.map(jsonText).join(",")}]`;
  return `{${node.pairs.map(([key, value]) => `${JSON.stringify(key)}:${jsonText(value)}`).join(",")}}`;
}

const lengths = new WeakMap<Node, number>();

/** Characters of its text, about. Parts are shared between trees, and so counted once each. */
function lengthOf(node: Node): number {
  let length = lengths.get(node);
  if (length === undefined) {
    if ("raw" in node) length = node.raw.length;
    else if ("items" in node) length = node.items.reduce((sum, item) => sum + 1 + lengthOf(item), 2);
    else length = node.pairs.reduce((sum, [key, value]) => sum + key.length + 4 + lengthOf(value), 2);
    lengths.set(node, length);
  }
  return length;
}

/** A list with one element cut, doubled, many times over, moved, swapped for another's, or replaced by `change`. */
function editList<T>(list: readonly T[], draw: Random, change: (item: T) => T, fresh: () => T): readonly T[] {
  if (list.length === 0) return [fresh()];
  const at = draw.integer(list.length);
  const other = draw.integer(list.length);
  const how = draw.next();
  if (how < 0.72) return list.with(at, change(list[at]!));
  if (how < 0.78) return list.toSpliced(at, 1);
  if (how < 0.84) return list.toSpliced(other, 0, list[at]!);
  if (how < 0.87) return list.with(at, list[other]!);
  if (how < 0.92) return list.toSpliced(at, 0, fresh());
  if (how < 0.94) return list.toSpliced(at, 0, ...Array.from({ length: draw.integer(300) }, () => list[at]!));
  if (how < 0.97) return list.slice(0, at);
  return list.with(at, list[other]!).with(other, list[at]!);
}

function editTree(node: Node, draw: Random): Node {
  if ("raw" in node || chance(draw, 0.08)) {
    const how = draw.next();
    if (how < 0.06) return { items: [node] };
    if (how < 0.09) return { pairs: [["a", node]] };
    if (how < 0.12 && "raw" in node) return { raw: JSON.stringify(node.raw) };
    if (how < 0.3 && "raw" in node) return { raw: editText(node.raw, draw) };
    return pick(draw, leaves);
  }
  if ("items" in node)
    return {
      items: editList(
        node.items,
        draw,
        (item) => editTree(item, draw),
        () => pick(draw, leaves),
      ),
    };
  return {
    pairs: editList(
      node.pairs,
      draw,
      ([key, value]) => (chance(draw, 0.08) ? [pick(draw, keys), value] : [key, editTree(value, draw)]),
      () => [
        pick(draw, chance(draw, 0.5) && node.pairs.length > 0 ? node.pairs.map(([k]) => k) : keys),
        pick(draw, leaves),
      ],
    ),
  };
}

/** A number one off, or a string cut, lengthened or doubled. */
function editText(raw: string, draw: Random): string {
  const number = Number(raw);
  if (Number.isFinite(number) && raw[0] !== '"')
    return String(pick(draw, [number + 1, number - 1, -number, number * 2, number / 2, 0.1 + number]));
  if (raw[0] !== '"') return raw;
  const text = JSON.parse(raw) as string;
  const at = draw.integer(text.length + 1);
  return JSON.stringify(
    text.slice(0, at) +
      pick(draw, ["", text, "0", "-", "/", "{", "}", "é", "{x}", "|", "\n"]) +
      text.slice(at + draw.integer(3)),
  );
}

/** One to three changes of the document's tree: keys doubled or renamed, values of other types, sizes, depths, huge numbers. */
export const editJson: Mutator = (bytes, draw) => {
  let tree = parsed.get(bytes);
  if (tree === undefined) {
    tree = treeOf(JSON.parse(textOf(bytes)));
    parsed.set(bytes, tree);
  }
  for (let n = 1 + draw.integer(3); n > 0; n--) {
    const edited = editTree(tree, draw);
    // what is many times over, many times over, takes gigabytes to write down
    if (lengthOf(edited) < 4e6) tree = edited;
  }
  return bytesOf(jsonText(tree));
};

/** JSON files: mostly their tree, sometimes their bytes. */
export const json: Mutator = (bytes, draw, others) => (chance(draw, 0.7) ? editJson : editBytes)(bytes, draw, others);

/** Files of one JSON document a line: a line's tree, or the bytes. */
export const jsonLines: Mutator = (bytes, draw, others) => {
  if (chance(draw, 0.35)) return editBytes(bytes, draw, others);
  const lines = textOf(bytes)
    .split("\n")
    .filter((line) => line.trim() !== "");
  const edited = editList(
    lines,
    draw,
    (line) => textOf(editJson(cached(line), draw, others)),
    () => "{}",
  );
  return bytesOf(`${edited.join("\n")}\n`);
};

const texts = new Map<string, Uint8Array>();

/** One byte array per text, so that the tree of a sound text is parsed once. */
export function cached(text: string): Uint8Array {
  const known = texts.get(text) ?? bytesOf(text);
  if (texts.size < 1000) texts.set(text, known);
  return known;
}
