/**
 * @file `npm run pictures:findings`: the pictures of docs/findings.md, differences with twice their standard errors, read from the tables of experiments.
 *
 * Out: docs/pictures/findings-*.svg. Nothing is run. `test/findings.test.ts` compares them with the tables.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { withColours } from "./page-colours.mjs";

const { mini, nano, smol } = { mini: "t5-mini", nano: "t5-nano", smol: "SmolLM2" };
const [both, stopped] = ["FPT-CR both stacks − PT", ", stopped at its FLOPs"];

/** What is drawn: per picture its title and lines. A line is its text, a file of experiments, and the cells that its row begins with there. */
const pictures = {
  "findings-fpt": {
    title: "Fast Prompt Tuning − prompt tuning",
    lines: [
      [`${nano}, 32 % saved, equal looks`, "fpt/paired", [`${both}, equal looks`]],
      [`${mini}, 36 % saved, equal looks`, "fpt/mini", [`${both}, equal looks`]],
      [`${mini}, LD, 29 % saved, equal looks`, "fpt/mini", ["FPT-LD both stacks − PT, equal looks"]],
      [`${mini}, 50 % saved, fresh seeds`, "fpt/mini-half-fresh", ["4 layers × ¼, 50 % − PT, equal looks"]],
      [`${nano}, prompt tuning stopped at its FLOPs`, "fpt/paired", [`${both}${stopped}`]],
      [`${mini}, the same`, "fpt/mini-stopped", [`${both}${stopped}`]],
      [`${mini}, the same, fresh seeds`, "fpt/mini-stopped-fresh", [`${both}${stopped}`]],
      [`${mini}, the same at half, fresh seeds`, "fpt/mini-half-fresh", [`4 layers × ¼, 50 % − PT${stopped}`]],
    ],
  },
  "findings-xprompt": {
    title: "XPrompt − its controls",
    lines: [
      [nano, "xprompt/fair"],
      [mini, "xprompt/fair-mini"],
    ].flatMap(([model, file]) => [
      [`${model}, prompt tuning`, file, ["XPrompt (both) − PT"]],
      [`${model}, prompt tuning continued`, file, ["XPrompt (both) − PT continued"]],
      [`${model}, prompt tuning, XPrompt's FLOPs`, file, ["XPrompt (both) − PT, XPrompt's FLOPs"]],
      [`${model}, pruned at random`, file, ["XPrompt (both) − Random"]],
      [`${model}, pruned in reverse`, file, ["XPrompt (both) − Reversed"]],
    ]),
  },
  "findings-methods": {
    title: "Methods − prompt tuning, after the last step",
    lines: [
      ["LoRA", "lora"],
      ["prefix tuning", "prefix"],
      ["P-tuning", "p-tuning"],
      ["fine-tuning", "full"],
      ["superpos", "superpos"],
      ["ulpt", "ulpt"],
      ["residual", "residual"],
    ].map(([text, method]) => [`${text}, ${nano}, 400 steps`, "methods/long", [`${method} − prompt`]]),
  },
  "findings-places": {
    title: "A prompt behind the text − in front, equal FLOPs",
    lines: [
      [`CB, ${smol}`, "behind/linear", ["cb", "end", "equal FLOPs"]],
      [`SST-2, ${smol}`, "behind/linear", ["sst2", "end", "equal FLOPs"]],
      [`SQuAD, token F1, ${smol}`, "behind/squad", ["squad", "end", "equal FLOPs"]],
      [`COPA, ${smol}`, "behind/linear", ["copa", "end", "equal FLOPs"]],
      [`T5's decoder side, ${mini}, four tasks`, "behind/mini", ["all", "decoder", "equal FLOPs"]],
    ],
  },
};

const root = fileURLToPath(new URL("..", import.meta.url));

/** The tables of a Markdown text: heads, and rows of cells. */
function tablesOf(text) {
  const tables = [];
  let rows = null;
  for (const line of text.split("\n")) {
    if (!line.startsWith("| ")) {
      rows = null;
    } else if (rows === null) {
      rows = [cellsOf(line)];
      tables.push(rows);
    } else if (!/^\| :?-/.test(line)) {
      rows.push(cellsOf(line));
    }
  }
  return tables.map(([heads, ...rest]) => ({ heads, rows: rest }));
}

const cellsOf = (line) =>
  line
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim());

/** @throws where a table has no number: an empty cell would be drawn at 0 */
function numberOf(text) {
  const number = Number(text.replace("−", "-").replace("+", ""));
  if (text.trim() === "" || !Number.isFinite(number)) throw new Error(`“${text}” is no number of a table`);
  return number;
}

/** Mean and standard error of the row that begins so, of the first table of differences that has it. @throws where none or several do */
function difference(text, beginning) {
  for (const { heads, rows } of tablesOf(text)) {
    const found = rows.filter((row) => beginning.every((cell, i) => row[i] === cell));
    const at = heads.findIndex((head) => /^(first − second \(points\)|points\b.*± standard error)/.test(head));
    if (found.length === 0 || at < 0) continue;
    if (found.length > 1) throw new Error(`${found.length} rows begin with ${beginning.join(" | ")}`);
    const [row] = found;
    const [mean, error] = row[at].includes("±") ? row[at].split(" (")[0].split(" ± ") : [row[at], row[at + 1]];
    return { mean: numberOf(mean), error: numberOf(error) };
  }
  throw new Error(`no table of differences has a row that begins with ${beginning.join(" | ")}`);
}

/**
 * All pictures by name.
 * @param dots the chart, of the source or of the build @param page a report page, for its colours
 */
export function drawn(dots, page) {
  return Object.fromEntries(
    Object.entries(pictures).map(([name, { title, lines }]) => {
      const entries = lines.map(([label, file, beginning]) => {
        const { mean, error } = difference(readFileSync(`${root}experiments/${file}.md`, "utf8"), beginning);
        return { label, value: mean, deviation: 2 * error };
      });
      const x = "points, ± twice the standard error";
      const format = (value) => value.toFixed(1).replace("-", "−");
      return [name, `${withColours(dots({ title, x, entries, format, mark: 0, labelWidth: 330 }), page)}\n`];
    }),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { dots } = await import("../dist/report/dots.js");
  const { page } = await import("../dist/report/page.js");
  for (const [name, svg] of Object.entries(drawn(dots, String(page("", [])))))
    writeFileSync(`${root}docs/pictures/${name}.svg`, svg);
}
