/**
 * @file Arithmetic on sizes: numbers, symbols and sums of products of them ("P+T", "C*U", "3*P+3*T").
 *
 * In: dims. Out: dims in one spelling, so that equal sizes are equal strings: terms and factors in the order they first came.
 */
import { SoftpromptError } from "../base/errors.js";
import type { Dim } from "./graph.js";

/** Coefficient of each product of symbols; "" is the number alone. */
type Terms = Map<string, number>;

/** a + b + … */
export function plus(dims: readonly Dim[]): Dim {
  const sum: Terms = new Map();
  for (const dim of dims) for (const [symbols, n] of parse(dim)) addTo(sum, symbols, n);
  return spell(sum);
}

/** a · b */
export function times(a: Dim, b: Dim): Dim {
  const product: Terms = new Map();
  for (const [x, n] of parse(a)) for (const [y, m] of parse(b)) addTo(product, [x, y].filter(Boolean).join("*"), n * m);
  return spell(product);
}

/** a ÷ n, or undefined where a symbol would have to be a multiple of n. */
export function over(a: Dim, n: number): Dim | undefined {
  const terms = parse(a);
  for (const [symbols, m] of terms) {
    if (m % n !== 0) return undefined;
    terms.set(symbols, m / n);
  }
  return spell(terms);
}

/** The number that a size is, once the symbols are known. */
export function sizeOf(dim: Dim, sizes: Readonly<Record<string, number>>): number {
  let total = 0;
  for (const [symbols, n] of parse(dim))
    total += symbols.split("*").reduce((product, symbol) => product * (symbol ? known(symbol, sizes) : 1), n);
  return total;
}

function known(symbol: string, sizes: Readonly<Record<string, number>>): number {
  const size = sizes[symbol];
  if (size === undefined)
    throw new SoftpromptError("engine", `the size of ${symbol} is not known`, {
      where: "graph sizes",
      expected: `a number for ${symbol}`,
      got: Object.keys(sizes).join(", "),
    });
  return size;
}

function parse(dim: Dim): Terms {
  const terms: Terms = new Map();
  for (const term of String(dim).split("+")) {
    const factors = term.split("*");
    const symbols = factors.filter((f) => !isNumber(f));
    addTo(
      terms,
      symbols.join("*"),
      factors.filter(isNumber).reduce((n, f) => n * Number(f), 1),
    );
  }
  return terms;
}

const isNumber = (text: string) => /^\d+$/.test(text);

function addTo(terms: Terms, symbols: string, n: number): void {
  // U*C is C*U: the spelling that came first stays
  const sorted = (text: string) => text.split("*").sort().join("*");
  const same = [...terms.keys()].find((key) => sorted(key) === sorted(symbols)) ?? symbols;
  terms.set(same, (terms.get(same) ?? 0) + n);
}

function spell(terms: Terms): Dim {
  const present = [...terms].filter(([, n]) => n !== 0);
  if (present.every(([symbols]) => symbols === "")) return present[0]?.[1] ?? 0;
  return present.map(([symbols, n]) => (symbols === "" ? n : n === 1 ? symbols : `${n}*${symbols}`)).join("+");
}
