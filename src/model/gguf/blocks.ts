/**
 * @file The block types of GGUF: how many numbers a block holds, in how many bytes, and what they are as float32.
 *
 * In: stored blocks, one after another. Out: float32, exactly what ggml's reference gives (products and sums rounded to float32 in its order).
 * Source: ggml `src/ggml-quants.c` (dequantize_row_*) and the Python package gguf (`quants.py`), with whose values the tests agree bit for bit.
 * The 32-number types keep the low nibbles as numbers 0 … 15 and the high ones as 16 … 31; the K types keep eight scales of 6 bits in 12 bytes.
 */
import { type FloatDType, widen } from "../floats.js";

interface BlockLayout {
  /** Its number in the format. */
  readonly id: number;
  /** Numbers of one block. */
  readonly elements: number;
  /** Bytes of one block. */
  readonly bytes: number;
  /** One block at `at` → `elements` numbers at `to`; or the float type that the numbers are stored in as they are. */
  readonly block: FloatDType | ((from: DataView, at: number, out: Float32Array, to: number) => void);
}

const f = Math.fround;

export const blockTypes = {
  F32: { id: 0, elements: 1, bytes: 4, block: "float32" },
  F16: { id: 1, elements: 1, bytes: 2, block: "float16" },
  BF16: { id: 30, elements: 1, bytes: 2, block: "bfloat16" },
  Q4_0: {
    ...{ id: 2, elements: 32, bytes: 18 },
    block: (from, at, out, to) => {
      const d = half(from, at);
      for (let j = 0; j < 16; j++) {
        const q = from.getUint8(at + 2 + j);
        out[to + j] = ((q & 15) - 8) * d;
        out[to + j + 16] = ((q >> 4) - 8) * d;
      }
    },
  },
  Q4_1: {
    ...{ id: 3, elements: 32, bytes: 20 },
    block: (from, at, out, to) => {
      const [d, m] = [half(from, at), half(from, at + 2)];
      for (let j = 0; j < 16; j++) {
        const q = from.getUint8(at + 4 + j);
        out[to + j] = f((q & 15) * d) + m;
        out[to + j + 16] = f((q >> 4) * d) + m;
      }
    },
  },
  Q5_0: {
    ...{ id: 6, elements: 32, bytes: 22 },
    block: (from, at, out, to) => {
      const d = half(from, at);
      const high = from.getUint32(at + 2, true);
      for (let j = 0; j < 16; j++) {
        const q = from.getUint8(at + 6 + j);
        out[to + j] = (((q & 15) | (((high >>> j) & 1) << 4)) - 16) * d;
        out[to + j + 16] = (((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16) * d;
      }
    },
  },
  Q5_1: {
    ...{ id: 7, elements: 32, bytes: 24 },
    block: (from, at, out, to) => {
      const [d, m] = [half(from, at), half(from, at + 2)];
      const high = from.getUint32(at + 4, true);
      for (let j = 0; j < 16; j++) {
        const q = from.getUint8(at + 8 + j);
        out[to + j] = f(((q & 15) | (((high >>> j) & 1) << 4)) * d) + m;
        out[to + j + 16] = f(((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) * d) + m;
      }
    },
  },
  Q8_0: {
    ...{ id: 8, elements: 32, bytes: 34 },
    block: (from, at, out, to) => {
      const d = half(from, at);
      for (let j = 0; j < 32; j++) out[to + j] = from.getInt8(at + 2 + j) * d;
    },
  },
  Q2_K: {
    ...{ id: 10, elements: 256, bytes: 84 },
    block: (from, at, out, to) => {
      const [d, dmin] = [half(from, at + 80), half(from, at + 82)];
      for (let i = 0; i < 256; i++) {
        const scale = from.getUint8(at + (i >> 4));
        const q = (from.getUint8(at + 16 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
        out[to + i] = f(f(d * (scale & 15)) * q) - f(dmin * (scale >> 4));
      }
    },
  },
  Q3_K: {
    ...{ id: 11, elements: 256, bytes: 110 },
    block: (from, at, out, to) => {
      const d = half(from, at + 108);
      const scale = Array.from({ length: 16 }, (_, g) => {
        const low = (from.getUint8(at + 96 + (g & 7)) >> (4 * (g >> 3))) & 15;
        return f(d * ((low | (((from.getUint8(at + 104 + (g & 3)) >> (2 * (g >> 2))) & 3) << 4)) - 32));
      });
      for (let i = 0; i < 256; i++) {
        const low = (from.getUint8(at + 32 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
        const high = (from.getUint8(at + (i & 31)) >> (i >> 5)) & 1; // set: nothing is taken away
        out[to + i] = scale[i >> 4]! * (high ? low : low - 4);
      }
    },
  },
  Q4_K: {
    ...{ id: 12, elements: 256, bytes: 144 },
    block: (from, at, out, to) => kBlock(from, at, out, to, at + 16, null),
  },
  Q5_K: {
    ...{ id: 13, elements: 256, bytes: 176 },
    block: (from, at, out, to) => kBlock(from, at, out, to, at + 48, at + 16),
  },
  Q6_K: {
    ...{ id: 14, elements: 256, bytes: 210 },
    block: (from, at, out, to) => {
      const d = half(from, at + 208);
      for (let n = 0; n < 2; n++) {
        const [low, high, scale, into] = [at + 64 * n, at + 128 + 32 * n, at + 192 + 8 * n, to + 128 * n];
        for (let l = 0; l < 32; l++) {
          const bits = from.getUint8(high + l);
          const [a, b] = [from.getUint8(low + l), from.getUint8(low + l + 32)];
          for (const [part, nibble] of [a & 15, b & 15, a >> 4, b >> 4].entries()) {
            const s = f(d * from.getInt8(scale + 2 * part + (l >> 4)));
            out[into + 32 * part + l] = s * ((nibble | (((bits >> (2 * part)) & 3) << 4)) - 32);
          }
        }
      }
    },
  },
  IQ2_XXS: {
    ...{ id: 16, elements: 256, bytes: 66 },
    block: (from, at, out, to) => {
      const d = half(from, at);
      for (let run = 0; run < 8; run++) {
        // 32 numbers: four bytes name points of the grid; then four times 7 sign bits, the eighth is their parity, and a scale of 4 bits
        const place = at + 2 + 8 * run;
        const word = from.getUint32(place + 4, true);
        const scale = f(f(d * (0.5 + (word >>> 28))) * 0.25);
        for (let part = 0; part < 4; part++) {
          const seven = (word >>> (7 * part)) & 127;
          const signs = seven | (parity(seven) << 7);
          const point = from.getUint8(place + part);
          for (let j = 0; j < 8; j++) {
            const value = scale * iq2Grid[8 * point + j]!;
            out[to + 32 * run + 8 * part + j] = (signs >> j) & 1 ? -value : value;
          }
        }
      }
    },
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

/** Stored blocks → float32. The length of `bytes` is a whole number of blocks. */
export function dequantise(bytes: Uint8Array, type: BlockType): Float32Array {
  const layout: BlockLayout = blockTypes[type];
  if (typeof layout.block === "string") return widen(bytes, layout.block);
  const blocks = bytes.length / layout.bytes;
  const out = new Float32Array(blocks * layout.elements);
  const from = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < blocks; i++) layout.block(from, i * layout.bytes, out, i * layout.elements);
  return out;
}

/** Q4_K and Q5_K: 8 runs of 32, each d·scale·q − dmin·min, with nibbles at `nibbles` and fifth bits at `fifth`. */
function kBlock(
  from: DataView,
  at: number,
  out: Float32Array,
  to: number,
  nibbles: number,
  fifth: number | null,
): void {
  const [d, dmin] = [half(from, at), half(from, at + 2)];
  const byte = (i: number) => from.getUint8(at + 4 + i);
  for (let run = 0; run < 8; run++) {
    // scales and minima 0 … 3 have their 6 bits in bytes 0 … 7; of 4 … 7 the low 4 are in bytes 8 … 11, the high 2 on top of 0 … 7
    const scale = run < 4 ? byte(run) & 63 : (byte(run + 4) & 15) | ((byte(run - 4) >> 6) << 4);
    const least = run < 4 ? byte(run + 4) & 63 : (byte(run + 4) >> 4) | ((byte(run) >> 6) << 4);
    const [s, m] = [f(d * scale), f(dmin * least)];
    for (let l = 0; l < 32; l++) {
      const pair = from.getUint8(nibbles + 32 * (run >> 1) + l);
      const low = run % 2 === 0 ? pair & 15 : pair >> 4;
      const q = fifth === null ? low : low | (((from.getUint8(fifth + l) >> run) & 1) << 4);
      out[to + 32 * run + l] = f(s * q) - m;
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
