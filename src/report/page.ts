/**
 * @file The frame of every report: one self-contained HTML page. In: a title and parts. Out: HTML text.
 *
 * No script, no font, no image from anywhere: the page's own Content-Security-Policy forbids them, so a hostile row in a data
 * file cannot do anything even if escaping failed. Light and dark follow the reader's system. Switches are CSS radio buttons.
 */
import { escapeXml } from "./svg-parts.js";

/** HTML that has been escaped or made here; plain strings never become Html by accident. */
export interface Html {
  readonly html: string;
}

/** Text as HTML. */
export const say = (text: unknown): Html => ({ html: escapeXml(String(text)) });

/** Template tag: strings and numbers in holes are escaped, Html and arrays of Html are not. */
export function html(
  parts: TemplateStringsArray,
  ...holes: readonly (Html | string | number | readonly Html[])[]
): Html {
  const filled = holes.map((hole) =>
    typeof hole === "object"
      ? "html" in hole
        ? hole.html
        : hole.map((h) => h.html).join("\n")
      : escapeXml(String(hole)),
  );
  return { html: parts.map((part, i) => part + (filled[i] ?? "")).join("") };
}

/** A picture made by svg-parts.ts, which escapes by itself, in its own size: a matrix. */
export const drawing = (svg: string): Html => ({ html: `<div class="chart">${svg}</div>` });

/** Charts beside each other, as many as the page is wide enough for, each as wide as its share of the page. */
export const charts = (svgs: readonly string[]): Html => ({
  html: `<div class="charts">${svgs.map((svg) => drawing(svg).html).join("\n")}</div>`,
});

/**
 * A table; columns of numbers on the right, heading and all. Cells that are Html stay as they are. A table wider than the page scrolls
 * under its first column and has a shadow to show it.
 * @param stacked on a narrow screen a row's first two cells lie above the others, each with its heading: long texts and what is said of them
 */
export function htmlTable(
  head: readonly string[],
  rows: readonly (readonly (string | number | Html)[])[],
  { stacked = false, greyFrom = rows.length }: { readonly stacked?: boolean; readonly greyFrom?: number } = {},
): Html {
  const numeric = head.map((_, i) => {
    const cells = rows.map((row) => row[i] ?? "").filter((cell) => cell !== "");
    return (
      cells.some((cell) => cell !== "–") && cells.every((cell) => typeof cell !== "object" && isAmount(String(cell)))
    );
  });
  const cell = (value: string | number | Html, i: number) => {
    const name = stacked ? ` data-head="${escapeXml(head[i] ?? "")}"` : "";
    if (typeof value === "object") return `<td${name}>${value.html}</td>`;
    const kind = numeric[i] ? ' class="n"' : String(value).length > 40 ? ' class="long"' : "";
    return `<td${kind}${name}>${escapeXml(String(value))}</td>`;
  };
  const body = rows
    .map((row, n) => `<tr${n >= greyFrom ? ' class="soft"' : ""}>${row.map(cell).join("")}</tr>`)
    .join("\n");
  const heads = head.map((h, i) => `<th${numeric[i] ? ' class="n"' : ""}>${escapeXml(h)}</th>`).join("");
  const kinds = [...(stacked ? ["stacked"] : []), ...(head.length > manyColumns ? ["tight"] : [])].join(" ");
  return {
    html: `<div class="scroll" tabindex="0"><table${kinds === "" ? "" : ` class="${kinds}"`}>${head.every((h) => h === "") ? "" : `<thead><tr>${heads}</tr></thead>`}<tbody>\n${body}\n</tbody></table></div>`,
  };
}

const manyColumns = 8;
const units = /^(±|%|of|ms|s|min|h|[kMGTPE]?(B|FLOP)?)$/;

/** "71.51 ± 0.32", "1 min 05 s", "0.063 % of 4.07 M", "–": numbers with units and nothing else. */
function isAmount(cell: string): boolean {
  const words = cell.split(" ");
  return cell === "–" || (/^[−-]?\d/.test(cell) && words.every((w) => /^[−-]?[\d.,]+$/.test(w) || units.test(w)));
}

/** Options and their values at the end of a page. They are folded because the list is long. */
export function settingsList(settings: Readonly<Record<string, unknown>>): Html {
  const set = Object.entries(settings).filter(([, v]) => v !== undefined && v !== null);
  const shown = (v: unknown) => (typeof v === "object" ? JSON.stringify(v) : String(v));
  return html`<details><summary>All ${set.length} settings</summary><dl class="settings">${set.map(
    ([key, v]) => html`<div><dt><code>${key}</code></dt><dd>${shown(v)}</dd></div>`,
  )}</dl></details>`;
}

/** The same thing in several views, one shown at a time, switched without a script. @param name unique on the page */
export function switched(name: string, views: readonly (readonly [label: string, view: Html])[]): Html {
  const id = (i: number) => `${name}-${i}`;
  const inputs = views.map(
    ([label], i) =>
      `<input type="radio" name="${escapeXml(name)}" id="${escapeXml(id(i))}"${i === 0 ? " checked" : ""}><label for="${escapeXml(id(i))}">${escapeXml(label)}</label>`,
  );
  const panes = views.map(([, view]) => `<div class="view">${view.html}</div>`);
  return { html: `<div class="switch">${inputs.join("")}${panes.join("")}</div>` };
}

/** The whole document. */
export function page(title: string, parts: readonly Html[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>${escapeXml(title)}</title>
<style>${reportStyle}</style>
</head>
<body>
<main>
${parts.map((p) => p.html).join("\n")}
</main>
</body>
</html>
`;
}

const most = 6; // most views of a switch
export const reportStyle = `
:root { color-scheme: light dark; --page: #ffffff; --ink: #1f2937; --soft: #6b7280; --faint: #e5e7eb; --void: #b6bac2; --card: #f8fafc; --shade: rgb(15 23 42 / .28);
  --good: #047857; --bad: #b91c1c;
  --s0: #2563eb; --s1: #d97706; --s2: #059669; --s3: #db2777; --s4: #7c3aed; --s5: #0891b2; --s6: #65a30d; --s7: #dc2626; }
@media (prefers-color-scheme: dark) { :root { --page: #0f172a; --ink: #e5e7eb; --soft: #9ca3af; --faint: #334155; --void: #475569; --card: #1e293b; --shade: rgb(203 213 225 / .38);
  --good: #34d399; --bad: #f87171;
  --s0: #60a5fa; --s1: #fbbf24; --s2: #34d399; --s3: #f472b6; --s4: #a78bfa; --s5: #22d3ee; --s6: #a3e635; --s7: #f87171; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 2rem 1.2rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p.lead, .soft { color: var(--soft); } code { font-size: .92em; } .sha { overflow-wrap: anywhere; white-space: normal; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(12rem, 45%), 1fr)); gap: .8rem; margin: 1.2rem 0; padding: 0; }
.tile { background: var(--card); border: 1px solid var(--faint); border-radius: .5rem; padding: .6rem .9rem; }
.tile b { display: block; font-size: 1.35rem; white-space: nowrap; } .tile span { color: var(--soft); font-size: .85rem; }
.chart svg { display: block; max-width: 100%; height: auto; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: .8rem 1rem; } .charts svg { width: 100%; max-width: 40rem; }
figure { margin: 0; } figcaption { font-size: .9rem; font-weight: 600; margin: .3rem 0; }
.scroll, .chart { overflow-x: auto; background: linear-gradient(to right, var(--page) 35%, transparent) left / 3rem 100% no-repeat local, linear-gradient(to left, var(--page) 35%, transparent) right / 3rem 100% no-repeat local,
  linear-gradient(to right, var(--shade), transparent) left top / .9rem calc(100% - 2px) no-repeat scroll, linear-gradient(to left, var(--shade), transparent) right top / .9rem calc(100% - 2px) no-repeat scroll; }
.scroll :is(th, td):first-child { position: sticky; left: 0; background: var(--page); }
table { border-collapse: separate; border-spacing: 0; font-size: .9rem; } th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--faint); vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; } .n { text-align: right; font-variant-numeric: tabular-nums; } td.n, td > code { white-space: nowrap; } td.long { min-width: 15rem; } td:first-child:not(.n) { min-width: 6.5rem; }
.tight { font-size: .8rem; } .tight :is(th, td) { padding: .3rem .28rem; }
@media (max-width: 40rem) { .chart:not(.charts *) svg { max-width: none; zoom: .74; } .scroll :is(th, td):first-child { max-width: 38vw; overflow-wrap: anywhere; } .scroll td:not(.n) { min-width: 6.5rem; }
  .stacked thead { display: none; } .stacked tr { display: grid; grid-template-columns: repeat(3, 1fr); padding: .4rem 0; border-bottom: 1px solid var(--faint); }
  .stacked td { border: 0; padding: .1rem .5rem .1rem 0; min-width: 0; text-align: left; overflow-wrap: anywhere; } .stacked td:nth-child(-n + 2) { grid-column: 1 / -1; max-width: none; }
  .stacked td:nth-child(n + 3)::before { content: attr(data-head); display: block; color: var(--soft); font-size: .8rem; } }
.settings { columns: 17rem; column-gap: 2rem; font-size: .9rem; margin: .6rem 0; } .settings div { break-inside: avoid; display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 .8rem; padding: .2rem 0; border-bottom: 1px solid var(--faint); }
.settings dd { margin: 0; overflow-wrap: anywhere; } .good { color: var(--good); } .bad { color: var(--bad); }
.switch input { position: absolute; opacity: 0; } .switch label { display: inline-block; padding: .15rem .8rem; border: 1px solid var(--faint); border-radius: 1rem; margin: 0 .4rem .5rem 0; cursor: pointer; font-size: .85rem; }
.switch input:checked + label { background: var(--s0); color: var(--page); } .switch input:focus-visible + label { outline: 2px solid var(--s1); }
.switch .view { display: none; }
${Array.from({ length: most }, (_, i) => `.switch input:nth-of-type(${i + 1}):checked ~ .view:nth-of-type(${i + 1})`).join(", ")} { display: block; }
details summary { cursor: pointer; }
`;
