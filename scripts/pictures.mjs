/**
 * @file `npm run pictures`: the README's pictures, cut out of the report pages of two real runs on the bundled model and data.
 *
 * Out: docs/pictures/*.svg. Takes some minutes; figures differ in the last digits from machine to machine.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withColours } from "./page-colours.mjs";

const runs = [
  {
    args: ["quickstart"],
    pictures: { "loss.svg": "Loss against optimizer steps", "accuracy.svg": "accuracy against optimizer steps" },
  },
  {
    args: "prune --model t5-nano --task quickstart --steps 60 --eval-every 20 --learning-rate 0.1 --retrain-steps 40 --tokens-pruned 8,12 --pieces-pruned 4,8".split(
      " ",
    ),
    pictures: { "saliency.svg": "Importance of pieces; pruned ones grey" },
  },
];

/** What a mouse shows on a page; no picture in a README shows it. */
const hover = /><title>[^<]*<\/title><\/(?:rect|circle|line|polygon)>/g;

const into = "docs/pictures";
mkdirSync(into, { recursive: true });
const folder = mkdtempSync(join(tmpdir(), "softprompt-pictures-"));
try {
  for (const { args, pictures } of runs) {
    const output = join(folder, args[0]);
    const { status } = spawnSync(process.execPath, ["dist/cli/main.js", ...args, "--output", output], {
      stdio: "inherit",
    });
    if (status !== 0) process.exit(status ?? 1);
    const page = readFileSync(join(output, "report.html"), "utf8");
    for (const [name, title] of Object.entries(pictures)) {
      const svg = [...page.matchAll(/<svg [\s\S]*?<\/svg>/g)].find(([text]) =>
        text.includes(`aria-label="${title}"`),
      )?.[0];
      if (svg === undefined) throw new Error(`the page of ${args[0]} has no chart “${title}”`);
      writeFileSync(join(into, name), `${withColours(svg, page).replaceAll(hover, "/>")}\n`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
