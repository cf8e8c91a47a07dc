/** A stream of text: joined it is the decoding of all ids, and no part of a stop string is ever shown. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { smollm2Folder } from "../../test/helpers/smollm2.js";
import { kindNames, kindTokenizer, readLines } from "../../test/helpers/tokenizer-kinds.js";
import { loadTokenizer } from "../text/load.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { writing } from "./written.js";

/** One character per id; a decoder of bytes is tested in text/decoding. */
const letters = () => {
  const decoder = { push: (id: number | readonly number[]) => String.fromCharCode(...[id].flat()), flush: () => "" };
  return { ...decoder, pending: false };
};
const run = (pieces: readonly string[], stops: readonly string[]) => {
  let next = 0;
  const decoder = { push: () => pieces[next++]!, flush: () => "", pending: false };
  const stream = writing(decoder, stops);
  const given: string[] = [];
  for (let n = 0; n < pieces.length && !stream.stopped; n++) given.push(stream.push(n));
  given.push(stream.flush());
  return { given, stopped: stream.stopped };
};

describe("stop strings", () => {
  test("one that spans four tokens is not shown, nor any part of it", () => {
    expect(run(["DEF", "G", "HI", "J"], ["DEFGHIJ"])).toEqual({ given: ["", "", "", "", ""], stopped: true });
  });
  test("text before one is given, text behind it is not", () => {
    expect(run(["one DE", "FG two"], ["DEFG"])).toEqual({ given: ["one ", "", ""], stopped: true });
  });
  test("what only looked like one is given when it cannot become one, or at the end", () => {
    expect(run(["DEF", "x"], ["DEFGHIJ"]).given).toEqual(["", "DEFx", ""]);
    expect(run(["a", "DEF"], ["DEFGHIJ"])).toEqual({ given: ["a", "", "DEF"], stopped: false });
  });
  test("of several the one that is whole first counts", () =>
    expect(run(["abcdef"], ["ef", "cd"]).given.join("")).toBe("ab"));
  test("any text, any stops: up to the first stop, as if it had been searched whole", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 40 });
    const stops = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 5 }));
    fc.assert(
      fc.property(text, stops, (said, ends) => {
        const stream = writing(letters(), ends);
        let given = "";
        for (const c of said) given += stream.push(c.charCodeAt(0));
        given += stream.flush();
        // the shortest beginning of the text that ends with a stop, without the longest such stop
        const lengths = Array.from({ length: said.length + 1 }, (_, n) => n);
        const whole = lengths.find((n) => ends.some((end) => said.slice(0, n).endsWith(end)));
        const longest = Math.max(0, ...ends.filter((end) => said.slice(0, whole).endsWith(end)).map((e) => e.length));
        expect(given).toBe(whole === undefined ? said : said.slice(0, whole - longest));
      }),
    );
  });
});

function streamed(tokenizer: Tokenizer, ids: readonly number[]): string[] {
  const stream = writing(tokenizer.openDecoder(), []);
  return [...ids.map((id) => stream.push(id)), stream.flush()];
}

describe("joined pieces are the decoding of all ids", () => {
  test.each(kindNames)("%s", (name) => {
    const tokenizer = kindTokenizer(name);
    for (const line of readLines().filter((_, i) => i % 50 === 0)) {
      const ids = tokenizer.encode(line);
      for (const some of [ids, ids.slice(0, -1), ids.slice(1)])
        expect(streamed(tokenizer, some).join("")).toBe(tokenizer.decode(some));
    }
  });
  const folder = smollm2Folder();
  test.skipIf(folder === null)("an emoji of six tokens comes whole, never as U+FFFD", async () => {
    const tokenizer = await loadTokenizer(folder!);
    expect(streamed(tokenizer, [10813, 235, 231, 10813, 233, 138]).filter((piece) => piece !== "")).toEqual([
      "👍",
      "🏽",
    ]);
    // an unfinished one is flushed at the end
    expect(streamed(tokenizer, [10813, 235])).toEqual(["", "", "\ufffd"]);
  });
});
