/**
 * @file `.npy`, numpy's own file of one array: prompts of google-research/prompt-tuning, and ours for programs that know nothing of PEFT.
 *
 * In: bytes, or a tensor. Out: a float32 tensor, or bytes. It reads versions 1 to 3, little and big endian floats of 2, 4 and 8 bytes in C
 * order. The header is a Python literal; a small parser accepts only the three keys, in any order. An array of objects is a pickle
 * and is refused unread. Source: numpy.lib.format.
 */
import { SoftpromptError } from "../base/errors.js";
import { floatBytes } from "../base/floats.js";
import { size, type Tensor } from "../base/tensor.js";

const magic = "\x93NUMPY";
/** Longest header that is read; numpy's own limit is 10,000. */
const mostHeader = 10_000;
/** The offset of the data is a multiple of this, so that the file can be mapped into memory. */
const aligned = 64;

const readers = {
  f2: (view, at, little) => half(view.getUint16(at, little)),
  f4: (view, at, little) => view.getFloat32(at, little),
  f8: (view, at, little) => view.getFloat64(at, little),
} satisfies Record<string, (view: DataView, at: number, little: boolean) => number>;

/** @param where the file's name, for errors. @throws SoftpromptError "adapter" naming what is wrong with the file. */
export function readNpy(bytes: Uint8Array, where: string): Tensor {
  const wrong = (problem: string, expected: string, got?: unknown, hint?: string) =>
    new SoftpromptError("adapter", problem, { where, expected, got, hint });
  const text = (from: number, to: number) => Buffer.from(bytes.subarray(from, to)).toString("latin1");
  if (text(0, 6) !== magic) throw wrong("this is not a .npy file", "the bytes \\x93NUMPY first", text(0, 6));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const version = bytes[6];
  if (version === undefined || version < 1 || version > 3)
    throw wrong("this version of .npy is not known", "version 1, 2 or 3", version);
  const start = version === 1 ? 10 : 12;
  if (bytes.length < start) throw wrong("the file ends within its header", `${start} bytes or more`, bytes.length);
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > mostHeader || start + length > bytes.length)
    throw wrong(
      "the header does not fit into the file",
      `at most ${Math.min(mostHeader, bytes.length - start)} bytes`,
      length,
    );
  const encoded = bytes.subarray(start, start + length);
  const header = new TextDecoder(version === 3 ? "utf-8" : "latin1").decode(encoded);
  const { descr, fortran, shape } = parseHeader(header, wrong);
  if (descr.includes("O"))
    throw wrong(
      "this array holds Python objects, that is a pickle, which can run code and is never opened",
      "an array of floats",
      descr,
      "load it with numpy there where you trust it, and save np.asarray(x, dtype=np.float32)",
    );
  const [, order, type] = /^([<>=|])(f[248])$/.exec(descr) ?? [];
  if (type === undefined) throw wrong("an array of this type is not read", "<f4, <f2, <f8 or the same with >", descr);
  if (fortran)
    throw wrong(
      "the array is stored column by column",
      "C order",
      "fortran_order: True",
      "save np.ascontiguousarray(x)",
    );
  const width = Number(type[1]);
  const count = size(shape);
  const data = bytes.length - start - length;
  if (!Number.isSafeInteger(count) || count * width !== data)
    throw wrong(
      "the array's shape does not fit the file's length",
      `${count * width} bytes of data for [${shape.join(", ")}]`,
      data,
    );
  const read = readers[type as keyof typeof readers];
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = read(view, start + length + i * width, order !== ">");
  return { shape, data: out };
}

/** A prompt [P, D] out of a `.npy`; [1, P, D] is one too. */
export function npyPrompt(bytes: Uint8Array, where: string): Tensor {
  const { shape, data } = readNpy(bytes, where);
  const own = shape.length === 3 && shape[0] === 1 ? shape.slice(1) : shape;
  if (own.length === 2 && own.every((n) => n > 0)) return { shape: own, data };
  throw new SoftpromptError("adapter", "this array is no prompt", {
    where,
    expected: "shape [tokens, width], or [1, tokens, width]",
    got: `[${shape.join(", ")}]`,
  });
}

/** Version 1, `<f4`, C order. */
export function writeNpy({ shape, data }: Tensor): Uint8Array {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const literal = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  const length = Math.ceil((10 + literal.length + 1) / aligned) * aligned - 10;
  const header = Buffer.alloc(10 + length, " ");
  header.write(magic, 0, "latin1");
  header.set([1, 0], 6);
  header.writeUInt16LE(length, 8);
  header.write(literal, 10, "latin1");
  header.write("\n", 10 + length - 1, "latin1");
  return Buffer.concat([header, floatBytes(data)]);
}

type Wrong = (problem: string, expected: string, got?: unknown, hint?: string) => SoftpromptError;

/** The three keys of the Python dictionary, in any order. */
function parseHeader(header: string, wrong: Wrong): { descr: string; fortran: boolean; shape: number[] } {
  const found = new Map<string, string>();
  const entry =
    /\s*(['"])(descr|fortran_order|shape)\1\s*:\s*('[^'\\]*'|"[^"\\]*"|True|False|\([\d\sL,]*\)|\[[^\]]*\])\s*(,|(?=\}))/y;
  let at = /^\s*\{/.exec(header)?.[0].length ?? 0;
  for (;;) {
    entry.lastIndex = at;
    const match = at > 0 ? entry.exec(header) : null;
    if (match === null) break;
    if (found.has(match[2]!)) throw wrong("the header says a thing twice", "each key once", match[2]);
    found.set(match[2]!, match[3]!);
    at = entry.lastIndex;
  }
  const [descr, fortran, shape] = ["descr", "fortran_order", "shape"].map((key) => found.get(key));
  if (descr === undefined || fortran === undefined || shape === undefined || !/^\s*\}\s*$/.test(header.slice(at)))
    throw wrong("the header cannot be read", "{'descr': …, 'fortran_order': …, 'shape': …}", header.slice(0, 200));
  if (!/^['"]/.test(descr)) throw wrong("an array of records is not read", "an array of floats", descr.slice(0, 100));
  if (!/^(True|False)$/.test(fortran)) throw wrong("fortran_order is neither True nor False", "True or False", fortran);
  const dims = shape
    .slice(1, -1)
    .split(",")
    .map((n) => n.trim().replace(/L$/, ""));
  if (dims.at(-1) === "") dims.pop();
  if (!shape.startsWith("(") || !dims.every((n) => /^\d{1,12}$/.test(n)))
    throw wrong("the header's shape cannot be read", "numbers in parentheses", shape);
  return { descr: descr.slice(1, -1), fortran: fortran === "True", shape: dims.map(Number) };
}

/** A float of 16 bits. */
function half(bits: number): number {
  const [sign, power, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (power === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (power === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (power - 15));
}
