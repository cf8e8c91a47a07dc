/**
 * @file From ids to text: whole lists, and one id after the other.
 *
 * In: how a tokenizer writes its pieces (its `decoder`, or what its pre-tokenizer implies), ids. Out: text.
 * Every piece stands for bytes; the text is all bytes as UTF-8, an invalid byte as U+FFFD. A stream holds back the bytes of
 * an unfinished character and nothing else, so what it gave joined is what decoding the whole list gives.
 * Differs from tokenizers: a run of `<0xNN>` pieces that is not valid UTF-8 gives U+FFFD for its invalid bytes only, while tokenizers gives
 * it for all bytes of the run; blanks are never tidied up (`clean_up_tokenization_spaces`), as that loses text; an added token of a
 * byte-level
 * vocabulary is its text, where the library takes "é" for the byte E9.
 */
import { SoftpromptError } from "../base/errors.js";
import { type JsonObject, own } from "../base/json.js";
import { fromByteCharacters } from "./byte-level.js";
import { array, isIndex, object, type StepTable, step, string } from "./parts.js";
import { prependScheme } from "./pre-tokenizers.js";

/** How pieces become text. */
export interface Decoding {
  /** Pieces are bytes written as characters (byte-level BPE). */
  readonly byteLevel: boolean;
  /** The character that means a blank in a piece; null if there is none. */
  readonly blank: string | null;
  /** `<0xNN>` is a byte. */
  readonly byteFallback: boolean;
  /** What is removed from the text's start: so many blanks, or all blanks of the first piece. */
  readonly strip: number | "first piece";
}

const nothing: Decoding = { byteLevel: false, blank: null, byteFallback: false, strip: 0 };

/** SentencePiece's own: `▁` is a blank, but not before the first word. */
export const sentencePieceDecoding: Decoding = { ...nothing, blank: "▁", strip: "first piece" };
export const byteLevelDecoding: Decoding = { ...nothing, byteLevel: true };

/** What the steps of a file's `decoder` add to a Decoding. */
const decoders: StepTable<(before: Decoding) => Decoding> = {
  Sequence: (c, where) => {
    const steps = array(own(c, "decoders"), where).map((d, i) => step(decoders, d, `${where}.decoders[${i}]`));
    return (before) => steps.reduce((d, next) => next(d), before);
  },
  ByteLevel: () => (before) => ({ ...before, byteLevel: true }),
  Replace: (c, where) => {
    const from = own(object(own(c, "pattern"), where), "String");
    const to = own(c, "content");
    if (typeof from !== "string" || from.length !== 1 || to !== " ")
      return refuse(where, "this replacement of a decoder is not supported", "one character that becomes a blank", c);
    return (before) => ({ ...before, blank: from });
  },
  ByteFallback: () => (before) => ({ ...before, byteFallback: true }),
  Fuse: () => (before) => before,
  Strip: (c, where) => {
    const [start, stop] = [own(c, "start"), own(c, "stop")];
    if (string(own(c, "content"), where) !== " " || !isIndex(start) || start > 16 || stop !== 0)
      return refuse(where, "this strip of a decoder is not supported", "a few blanks of the text's start", c);
    return (before) => ({ ...before, strip: start });
  },
  Metaspace: (c, where) => {
    const drops = prependScheme(c, where) !== "never";
    return (before) => ({ ...before, blank: "▁", strip: drops ? "first piece" : before.strip });
  },
};

/** The decoding that a file describes. */
export function readDecoder(config: unknown, where: string): Decoding {
  return step(decoders, config, where)(nothing);
}

function refuse(where: string, problem: string, expected: string, got: JsonObject): never {
  throw new SoftpromptError("checkpoint", problem, { where, expected, got: JSON.stringify(got) });
}

/** Text of ids that come one after the other. */
export interface StreamDecoder {
  /** The text that these ids finish; "" while a character is unfinished. */
  push(ids: number | readonly number[]): string;
  /** What was held back, at the end: U+FFFD for an unfinished character. */
  flush(): string;
  /** Whether bytes of an unfinished character are held back. */
  readonly pending: boolean;
}

/** How ids become text. */
export interface DecodeOptions {
  /** Write special tokens too. Default false. */
  readonly keepSpecial?: boolean;
  /** The ids go on from a text, so a blank that they begin with is one. Default false: SentencePiece's blank before the first word is dropped. */
  readonly continues?: boolean;
}

/** What a decoder needs of a vocabulary. */
export interface Names {
  /** Pieces by id; of an added token that is matched in normalised text, that text. */
  readonly names: readonly (string | undefined)[];
  /** Added tokens that no byte-level reading may touch. */
  readonly verbatim: ReadonlySet<number>;
  readonly special: ReadonlySet<number>;
}

const encoder = new TextEncoder();
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const bytePiece = /^<0x([0-9A-F]{2})>$/;

/** Makes decoders of one vocabulary. */
export function decoding(
  { names, verbatim, special }: Names,
  how: Decoding,
): (options?: DecodeOptions) => StreamDecoder {
  const known = new Map<number, Uint8Array>();
  const bytesOf = (id: number, name: string): Uint8Array => {
    let bytes = known.get(id);
    if (bytes === undefined) {
      bytes = pieceBytes(name, verbatim.has(id));
      known.set(id, bytes);
    }
    return bytes;
  };
  const pieceBytes = (name: string, isText: boolean): Uint8Array => {
    const byte = how.byteFallback ? bytePiece.exec(name) : null;
    if (byte) return Uint8Array.of(Number.parseInt(byte[1]!, 16));
    if (how.byteLevel) return isText ? encoder.encode(name) : fromByteCharacters(name);
    return encoder.encode(how.blank === null ? name : name.replaceAll(how.blank, " "));
  };

  return ({ keepSpecial = false, continues = false } = {}) => {
    let held = new Uint8Array(0);
    let first = !continues;
    let toStrip = continues || how.strip === "first piece" ? 0 : how.strip;
    const begun = (text: string): string => {
      let from = 0;
      while (toStrip > 0 && from < text.length) {
        if (text[from] !== " ") toStrip = 0;
        else {
          from++;
          toStrip--;
        }
      }
      return text.slice(from);
    };
    return {
      push(ids) {
        const parts: Uint8Array[] = [held];
        for (const id of typeof ids === "number" ? [ids] : ids) {
          if (special.has(id) && !keepSpecial) continue;
          const name = names[id];
          if (name === undefined) continue; // an id of the padded part of the model's vocabulary, which the tokenizer does not have
          if (first && how.strip === "first piece" && how.blank !== null)
            parts.push(pieceBytes(name.replaceAll(how.blank, ""), false));
          else parts.push(bytesOf(id, name));
          first = false;
        }
        const bytes = joined(parts);
        const whole = bytes.length - unfinished(bytes);
        held = bytes.slice(whole);
        return begun(utf8.decode(bytes.subarray(0, whole)));
      },
      flush() {
        const text = utf8.decode(held);
        held = new Uint8Array(0);
        return begun(text);
      },
      get pending() {
        return held.length > 0;
      },
    };
  };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/**
 * How many bytes at the end begin a character that later bytes may finish: 0 to 3. Bytes that no continuation can make
 * valid (0xC0, 0xE0 0x80, a surrogate, beyond U+10FFFF) are not held back: they become U+FFFD at once.
 */
export function unfinished(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const lead = bytes[bytes.length - back]!;
    if (lead >= 0x80 && lead < 0xc0) continue;
    const length =
      lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 1;
    if (back >= length) return 0;
    if (back === 1) return 1;
    const second = bytes[bytes.length - back + 1]!;
    const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    return second >= lowest && second <= highest ? back : 0;
  }
  return 0;
}
