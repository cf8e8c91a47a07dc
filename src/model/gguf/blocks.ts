/**
 * @file The block types of GGUF: how many numbers a block holds, in how many bytes, and what they are.
 *
 * In: stored blocks, one after another. Out: integers with a scale (and perhaps an offset) for each run of 16 or 32 numbers; or float32,
 * exactly what ggml's reference gives (products and sums rounded to float32 in its order).
 * Source: ggml `src/ggml-quants.c` (dequantize_row_*) and the Python package gguf (`quants.py`), with whose values the tests agree bit for bit.
 * The 32-number types keep the low nibbles as numbers 0 … 15 and the high ones as 16 … 31; the K types keep eight scales of 6 bits in 12 bytes.
 */
import { type FloatDType, widen } from "../floats.js";

/** Blocks as what they consist of: number i is integers[i]·scale[i/run] + offset[i/run]. */
export interface Unpacked {
  readonly integers: Int8Array<ArrayBuffer>;
  /** One for each run. */
  readonly scale: Float32Array<ArrayBuffer>;
  /** One for each run; null where the type has none. */
  readonly offset: Float32Array<ArrayBuffer> | null;
}

/** How a quantised type's numbers are kept. */
export interface Runs {
  /** Bits that hold each integer: 0 … 15 where there is an offset, −8 … 7 where there is none, or −128 … 127. */
  readonly bits: 4 | 8;
  /** Numbers that share a scale. */
  readonly run: 16 | 32;
  readonly hasOffset: boolean;
  /** One block at `at`; its first number is number `to`. */
  readonly unpack: (from: DataView, at: number, out: Unpacked, to: number) => void;
}

interface BlockLayout {
  /** Its number in the format. */
  readonly id: number;
  /** Numbers of one block. */
  readonly elements: number;
  /** Bytes of one block. */
  readonly bytes: number;
  /** The float type that the numbers are stored in as they are, or what they consist of. */
  readonly block: FloatDType | Runs;
}

const f = Math.fround;

/** One run of 32 with one scale. */
const plain = (bits: 4 | 8, unpack: Runs["unpack"]): Runs => ({ bits, run: 32, hasOffset: false, unpack });
/** The same with an offset. */
const moved = (bits: 4 | 8, unpack: Runs["unpack"]): Runs => ({ bits, run: 32, hasOffset: true, unpack });

export const blockTypes = {
  F32: { id: 0, elements: 1, bytes: 4, block: "float32" },
  F16: { id: 1, elements: 1, bytes: 2, block: "float16" },
  BF16: { id: 30, elements: 1, bytes: 2, block: "bfloat16" },
  Q4_0: {
    ...{ id: 2, elements: 32, bytes: 18 },
    block: plain(4, (from, at, { integers, scale }, to) => {
      scale[to / 32] = half(from, at);
      for (let j = 0; j < 16; j++) {
        const q = from.getUint8(at + 2 + j);
        integers[to + j] = (q & 15) - 8;
        integers[to + j + 16] = (q >> 4) - 8;
      }
    }),
  },
  Q4_1: {
    ...{ id: 3, elements: 32, bytes: 20 },
    block: moved(4, (from, at, { integers, scale, offset }, to) => {
      scale[to / 32] = half(from, at);
      offset![to / 32] = half(from, at + 2);
      for (let j = 0; j < 16; j++) {
        const q = from.getUint8(at + 4 + j);
        integers[to + j] = q & 15;
        integers[to + j + 16] = q >> 4;
      }
    }),
  },
  Q5_0: {
    ...{ id: 6, elements: 32, bytes: 22 },
    block: plain(8, (from, at, { integers, scale }, to) => {
      scale[to / 32] = half(from, at);
      fiveBits(from, at + 2, integers, to, 16);
    }),
  },
  Q5_1: {
    ...{ id: 7, elements: 32, bytes: 24 },
    block: moved(8, (from, at, { integers, scale, offset }, to) => {
      scale[to / 32] = half(from, at);
      offset![to / 32] = half(from, at + 2);
      fiveBits(from, at + 4, integers, to, 0);
    }),
  },
  Q8_0: {
    ...{ id: 8, elements: 32, bytes: 34 },
    block: plain(8, (from, at, { integers, scale }, to) => {
      scale[to / 32] = half(from, at);
      for (let j = 0; j < 32; j++) integers[to + j] = from.getInt8(at + 2 + j);
    }),
  },
  Q2_K: {
    ...{ id: 10, elements: 256, bytes: 84 },
    block: {
      ...{ bits: 4, run: 16, hasOffset: true },
      unpack: (from, at, { integers, scale, offset }, to) => {
        const [d, dmin] = [half(from, at + 80), half(from, at + 82)];
        for (let run = 0; run < 16; run++) {
          const scales = from.getUint8(at + run);
          scale[to / 16 + run] = d * (scales & 15);
          offset![to / 16 + run] = -f(dmin * (scales >> 4));
        }
        for (let i = 0; i < 256; i++)
          integers[to + i] = (from.getUint8(at + 16 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
      },
    },
  },
  Q3_K: {
    ...{ id: 11, elements: 256, bytes: 110 },
    block: {
      ...{ bits: 4, run: 16, hasOffset: false },
      unpack: (from, at, { integers, scale }, to) => {
        const d = half(from, at + 108);
        for (let g = 0; g < 16; g++) {
          const low = (from.getUint8(at + 96 + (g & 7)) >> (4 * (g >> 3))) & 15;
          const high = (from.getUint8(at + 104 + (g & 3)) >> (2 * (g >> 2))) & 3;
          scale[to / 16 + g] = d * ((low | (high << 4)) - 32);
        }
        for (let i = 0; i < 256; i++) {
          const low = (from.getUint8(at + 32 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
          const high = (from.getUint8(at + (i & 31)) >> (i >> 5)) & 1; // set: nothing is taken away
          integers[to + i] = high ? low : low - 4;
        }
      },
    },
  },
  Q4_K: {
    ...{ id: 12, elements: 256, bytes: 144 },
    block: moved(4, (from, at, out, to) => kBlock(from, at, out, to, at + 16, null)),
  },
  Q5_K: {
    ...{ id: 13, elements: 256, bytes: 176 },
    block: moved(8, (from, at, out, to) => kBlock(from, at, out, to, at + 48, at + 16)),
  },
  Q6_K: {
    ...{ id: 14, elements: 256, bytes: 210 },
    block: {
      ...{ bits: 8, run: 16, hasOffset: false },
      unpack: (from, at, { integers, scale }, to) => {
        const d = half(from, at + 208);
        for (let run = 0; run < 16; run++) scale[to / 16 + run] = d * from.getInt8(at + 192 + run);
        for (let n = 0; n < 2; n++) {
          const [low, high, into] = [at + 64 * n, at + 128 + 32 * n, to + 128 * n];
          for (let l = 0; l < 32; l++) {
            const bits = from.getUint8(high + l);
            const [a, b] = [from.getUint8(low + l), from.getUint8(low + l + 32)];
            integers[into + l] = ((a & 15) | ((bits & 3) << 4)) - 32;
            integers[into + 32 + l] = ((b & 15) | (((bits >> 2) & 3) << 4)) - 32;
            integers[into + 64 + l] = ((a >> 4) | (((bits >> 4) & 3) << 4)) - 32;
            integers[into + 96 + l] = ((b >> 4) | ((bits >> 6) << 4)) - 32;
          }
        }
      },
    },
  },
  IQ2_XXS: {
    ...{ id: 16, elements: 256, bytes: 66 },
    block: plain(8, (from, at, { integers, scale }, to) => {
      const d = half(from, at);
      for (let run = 0; run < 8; run++) {
        // 32 numbers: four bytes name points of the grid; then four times 7 sign bits, the eighth is their parity, and a scale of 4 bits
        const place = at + 2 + 8 * run;
        const word = from.getUint32(place + 4, true);
        scale[to / 32 + run] = f(d * (0.5 + (word >>> 28))) * 0.25;
        for (let part = 0; part < 4; part++) {
          const seven = (word >>> (7 * part)) & 127;
          const signs = seven | (parity(seven) << 7);
          const point = from.getUint8(place + part);
          for (let j = 0; j < 8; j++) {
            const value = iq2Grid[8 * point + j]!;
            integers[to + 32 * run + 8 * part + j] = (signs >> j) & 1 ? -value : value;
          }
        }
      }
    }),
  },
} as const satisfies Record<string, BlockLayout>;

export type BlockType = keyof typeof blockTypes;

/** Number in the format → our name. */
export const blockTypeNames: ReadonlyMap<number, BlockType> = new Map(
  (Object.keys(blockTypes) as BlockType[]).map((name) => [blockTypes[name].id, name]),
);

/** Types that are not read, for the error that says so. */
export const unreadTypes: ReadonlyMap<number, string> = new Map([
  ...([
    [9, "Q8_1"],
    [15, "Q8_K"],
    [17, "IQ2_XS"],
    [18, "IQ3_XXS"],
  ] as const),
  ...([
    [19, "IQ1_S"],
    [20, "IQ4_NL"],
    [21, "IQ3_S"],
    [22, "IQ2_S"],
    [23, "IQ4_XS"],
    [24, "I8"],
    [25, "I16"],
  ] as const),
  ...([
    [26, "I32"],
    [27, "I64"],
    [28, "F64"],
    [29, "IQ1_M"],
    [34, "TQ1_0"],
    [35, "TQ2_0"],
    [39, "MXFP4"],
  ] as const),
]);

/** What the blocks of a quantised type consist of. The length of `bytes` is a whole number of blocks. */
export function unpack(bytes: Uint8Array, type: BlockType): Unpacked & Pick<Runs, "bits" | "run"> {
  const layout: BlockLayout = blockTypes[type];
  if (typeof layout.block === "string") throw new RangeError(`${type} has no blocks`);
  const { bits, run, hasOffset, unpack } = layout.block;
  const blocks = bytes.length / layout.bytes;
  const elements = blocks * layout.elements;
  const out: Unpacked = {
    integers: new Int8Array(elements),
    scale: new Float32Array(elements / run),
    offset: hasOffset ? new Float32Array(elements / run) : null,
  };
  const from = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < blocks; i++) unpack(from, i * layout.bytes, out, i * layout.elements);
  return { ...out, bits, run };
}

/** Stored blocks → float32. The length of `bytes` is a whole number of blocks. */
export function dequantise(bytes: Uint8Array, type: BlockType): Float32Array {
  const { block }: BlockLayout = blockTypes[type];
  if (typeof block === "string") return widen(bytes, block);
  const { integers, scale, offset, run } = unpack(bytes, type);
  const out = new Float32Array(integers.length);
  for (let at = 0, i = 0; at < out.length; at += run, i++) {
    const [s, o] = [scale[i]!, offset === null ? null : offset[i]!];
    if (o === null) for (let j = at; j < at + run; j++) out[j] = integers[j]! * s;
    else for (let j = at; j < at + run; j++) out[j] = f(integers[j]! * s) + o;
  }
  return out;
}

/** How a type's numbers are kept; null for those that are plain floats. */
export function runsOf(type: BlockType): Runs | null {
  const { block }: BlockLayout = blockTypes[type];
  return typeof block === "string" ? null : block;
}

/** 32 numbers of 5 bits: the fifth ones in four bytes at `high`, nibbles behind them. @param less is taken away */
function fiveBits(from: DataView, high: number, out: Int8Array, to: number, less: number): void {
  const fifth = from.getUint32(high, true);
  for (let j = 0; j < 16; j++) {
    const q = from.getUint8(high + 4 + j);
    out[to + j] = ((q & 15) | (((fifth >>> j) & 1) << 4)) - less;
    out[to + j + 16] = ((q >> 4) | (((fifth >>> (j + 16)) & 1) << 4)) - less;
  }
}

/** Q4_K and Q5_K: 8 runs of 32, each d·scale·q − dmin·min, with nibbles at `nibbles` and fifth bits at `fifth`. */
function kBlock(
  from: DataView,
  at: number,
  { integers, scale, offset }: Unpacked,
  to: number,
  nibbles: number,
  fifth: number | null,
): void {
  const [d, dmin] = [half(from, at), half(from, at + 2)];
  const byte = (i: number) => from.getUint8(at + 4 + i);
  for (let run = 0; run < 8; run++) {
    // scales and minima 0 … 3 have their 6 bits in bytes 0 … 7; of 4 … 7 the low 4 are in bytes 8 … 11, the high 2 on top of 0 … 7
    const six = run < 4 ? byte(run) & 63 : (byte(run + 4) & 15) | ((byte(run - 4) >> 6) << 4);
    const least = run < 4 ? byte(run + 4) & 63 : (byte(run + 4) >> 4) | ((byte(run) >> 6) << 4);
    scale[to / 32 + run] = d * six;
    offset![to / 32 + run] = -f(dmin * least);
    for (let l = 0; l < 32; l++) {
      const pair = from.getUint8(nibbles + 32 * (run >> 1) + l);
      const low = run % 2 === 0 ? pair & 15 : pair >> 4;
      integers[to + 32 * run + l] = fifth === null ? low : low | (((from.getUint8(fifth + l) >> run) & 1) << 4);
    }
  }
}

function parity(bits: number): number {
  let odd = 0;
  for (let rest = bits; rest > 0; rest >>= 1) odd ^= rest & 1;
  return odd;
}

function half(from: DataView, at: number): number {
  return halves[from.getUint16(at, true)]!;
}

/** Every float16; a table, because a block starts with one and widening them one by one costs more than the block. */
const halves = widen(new Uint8Array(Uint16Array.from({ length: 65_536 }, (_, i) => i).buffer), "float16");

/** The 256 points of IQ2_XXS, 8 numbers each; two bits name one of 8, 25, 43. */
const iq2Grid = (() => {
  const packed = Buffer.from(
    "00000200050008000a00110014002000220028002a0041004400500058006100" +
      "6400800082008a00a20001010401100115014001840198010002020222028202" +
      "010404041004210424044004420448046004810484049004a404000502050805" +
      "200546056905800591050906100640068406a406000805080808140828084108" +
      "440850085208880804094009020a140a01100410101021104010601084109010" +
      "951000110811201150115a118011241245120014081420142514491480141815" +
      "6215001616160118041810184018811800190519a019511a002002200a204420" +
      "6120802082202921482100220222012404241024402456240025412564259026" +
      "082820289428442a014004401040184021402440404048405640604081408440" +
      "9040004120416141804185410142104248425642684200440844204480449944" +
      "124524450046014804481048404845480049584961498249454a904a00500850" +
      "1150195020508050885004514251a4519152905492540a550156545600581158" +
      "195864584059085a046010604060686000615561186260620064056410651265" +
      "84654268008002800a8041808280048118814081118201840484108415844084" +
      "608400854685948509864086608602880489118a0490109024904090a1901691" +
      "8091459200942294449451958198209902a050a085a009a100a218a450a804a9",
    "hex",
  );
  const values = [8, 25, 43];
  return Uint8Array.from({ length: 2048 }, (_, i) => values[(packed[i >> 2]! >> (2 * (i & 3))) & 3]!);
})();
