/** @file docs/findings.md: every line has a verdict and a file that exists, and the figures that it takes from a result file stand there. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { dots } from "../src/report/dots.js";
import { page } from "../src/report/page.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const cellsOf = (line: string) =>
  line
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim());

/** Lines of the tables of claims. */
const claims = (text: string) =>
  text
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .map(cellsOf)
    .filter((cells) => cells.length === 4 && cells[0] !== "claim");

/** Numbers with a decimal point, as files write them. A result file may round to more digits, or write "−5.25" where the text says −5.2. */
const figuresOf = (text: string) => [...text.matchAll(/\d+\.\d+/g)].map(([figure]) => figure);

const findings = read("docs/findings.md");

/** Figures of a claim that stand in none of the files it names, rounded as it rounds them. */
function missing([, , because, files]: readonly string[]): string[] {
  const targets = [...files!.matchAll(/\]\(([^)#]+)\)|`([^`]+)`/g)].map((found) => found[1] ?? found[2]!);
  const texts = targets.map((target) => readFileSync(resolve(root, found(target)), "utf8").replaceAll("−", "-"));
  const numbers = texts.flatMap((text) => [...text.matchAll(/\d+(?:\.\d+)?/g)].map(([number]) => Number(number)));
  return figuresOf(because!).filter((figure) => {
    const digits = figure.split(".")[1]!.length;
    // half a unit of the last digit, as 5.25 is told as 5.2 or 5.3
    return !numbers.some((number) => Math.abs(number - Number(figure)) <= 0.5000001 * 10 ** -digits);
  });
}

/** The path of a file as findings.md names it: a link from docs, or a path from the root. */
const found = (target: string) => (existsSync(join(root, target)) ? target : join("docs", target));

test("every claim holds, does not hold, or is undecided, and says why and where", () => {
  const all = claims(findings);
  expect(all.length).toBeGreaterThan(15);
  for (const [claim, verdict, because, files] of all) {
    expect(verdict, claim).toMatch(/^\*\*(holds|does not hold|undecided)\*\*/);
    expect(because!.length, claim).toBeGreaterThan(10);
    for (const [, link, path] of files!.matchAll(/\]\(([^)#]+)\)|`([^`]+)`/g))
      expect(existsSync(join(root, found((link ?? path)!))), `${claim}: ${link ?? path}`).toBe(true);
    // what was decided rests on a file
    if (!verdict!.startsWith("**undecided")) expect(files, claim).not.toBe("–");
  }
});

test.each(claims(findings).filter(([, , , files]) => files !== "–"))(
  "%s: its figures stand in its files",
  (...claim) => {
    expect(missing(claim)).toEqual([]);
  },
);

test("a figure that no file has is found", () => {
  expect(missing(["", "", "12.34 points", "[fair.md](../experiments/xprompt/fair.md)"])).toEqual(["12.34"]);
});

test("what is to come names scripts that exist", () => {
  const scripts = [...findings.matchAll(/`node (experiments\/[\w/.-]+)/g)].map(([, script]) => script!);
  expect(scripts.length).toBeGreaterThan(0);
  for (const script of scripts) expect(existsSync(join(root, script)), script).toBe(true);
});

test("the pictures of findings.md show what the tables of experiments say now", async () => {
  const { drawn } = (await import(new URL("../scripts/findings-pictures.mjs", import.meta.url).href)) as {
    drawn: (chart: typeof dots, colours: string) => Record<string, string>;
  };
  const pictures = Object.entries(drawn(dots, String(page("", []))));
  expect(pictures.length).toBeGreaterThan(3);
  for (const [name, svg] of pictures) {
    expect(findings).toContain(`pictures/${name}.svg`);
    expect(read(`docs/pictures/${name}.svg`), `npm run pictures:findings: ${name}`).toBe(svg);
  }
  // behind the text on CB, by hand: 6.79 ± 2 × 1.73
  expect(Object.fromEntries(pictures)["findings-places"]).toContain("6.8 ± 3.5");
});
