/**
 * @file A study's answer as text and as a page. In: StudyResult (tables, curves, matrices, notes). Out: Markdown, HTML.
 */

import { dots } from "../report/dots.js";
import { partialText, plainNumber, scaled, secondText } from "../report/format.js";
import { heatMap } from "../report/heat-map.js";
import { markdownTable } from "../report/markdown.js";
import { drawing, type Html, html, htmlTable, page, settingsList } from "../report/page.js";
import { lineChart } from "../report/svg.js";
import type { Cell, Chart, Column, Matrix, StudyResult, Table } from "./study.js";

/** Tables and notes as Markdown, for the terminal and for docs/log.md. */
export function studyMarkdown(result: StudyResult): string {
  return [
    `## ${result.title}`,
    ...result.tables.map((table) => `${table.title}\n\n${tableMarkdown(table)}`),
    ...(result.notes.length > 0 ? [result.notes.map((note) => `- ${note}`).join("\n")] : []),
  ].join("\n\n");
}

/** The study's report.html. */
export function studyPage(result: StudyResult): string {
  return page(result.title, [
    html`<h1>${result.title}</h1><p class="lead">softprompt study ${result.study}</p>`,
    ...result.tables.map(
      (table) =>
        html`<h2>${table.title}</h2>${htmlTable(
          table.columns.map(heading),
          table.rows.map((row) => row.map((cell, i) => cellText(cell, table.columns[i]))),
        )}`,
    ),
    ...(result.dots.length > 0 ? [html`<h2>Side by side</h2>`] : []),
    ...result.dots.map(({ title, xLabel, entries }) =>
      drawing(
        dots({
          title,
          x: xLabel,
          entries: entries.map(({ name, value }) => ({
            label: name,
            value: value?.mean ?? Number.NaN,
            deviation: value?.deviation ?? null,
          })),
          format: (v) => v.toFixed(2),
        }),
      ),
    ),
    ...result.charts.map((chart) => html`<h2>${chart.title}</h2>${chartDrawing(chart)}`),
    ...result.matrices.map((matrix) => html`<h2>${matrix.title}</h2>${drawing(matrixDrawing(matrix))}`),
    ...(result.notes.length > 0
      ? [html`<h2>Notes</h2><ul>${result.notes.map((note) => html`<li>${note}</li>`)}</ul>`]
      : []),
    html`<h2>Settings</h2>`,
    settingsList(result.settings),
  ]);
}

function tableMarkdown({ columns, rows }: Table): string {
  const numeric = columns.map((_, i) => rows.some((row) => typeof row[i] === "number" || isSpread(row[i] ?? null)));
  return markdownTable(
    columns.map((column, i) => ({ head: heading(column), align: numeric[i] ? "right" : "left" })),
    rows.map((row) => row.map((cell, i) => cellText(cell, columns[i]))),
  );
}

function heading({ name, unit }: Column): string {
  if (unit === undefined) return name;
  return unit.includes("(") ? `${name}, ${unit}` : `${name} (${unit})`;
}

/** "71.51", "71.51 ± 0.32", "–". */
export function cellText(cell: Cell, column?: Column): string {
  const digits = column?.digits ?? 2;
  const fixed = (value: number) =>
    Number.isFinite(value)
      ? value
          .toFixed(digits)
          .replace(/^-(?=[0.]*$)/, "")
          .replace("-", "−")
      : "–";
  if (cell === null) return "–";
  if (typeof cell === "string") return cell;
  if (typeof cell === "number") return fixed(cell);
  return cell.deviation === null ? fixed(cell.mean) : `${fixed(cell.mean)} ± ${fixed(cell.deviation)}`;
}

const axisFormat = {
  steps: String,
  seconds: secondText,
  flops: (v: number) => scaled(v),
  value: (v: number) => plainNumber(v),
} satisfies Record<Chart["x"], (value: number) => string>;

function chartDrawing(chart: Chart): Html {
  // Marks of several series would lie over each other; the first series that has some names the growth.
  const grown = chart.series.find((s) => (s.marks ?? []).length > 0);
  return drawing(
    lineChart({
      title: chart.title,
      x: chart.xLabel,
      y: chart.yLabel,
      formatX: axisFormat[chart.x],
      series: chart.series.map(({ name, points }) => ({ name, points, dots: points.length < 40 })),
      marks: grown?.marks?.map(({ x, label }) => ({ x, label: `${grown.name}: ${partialText(label, true)}` })),
    }),
  );
}

/** One matrix as an SVG of its own (docs pictures). */
export function matrixDrawing({ title, rows, columns, values, range }: Matrix): string {
  // a range that the measure itself has (a cosine's) wants decimals, small importances their first digits
  const format = range === undefined ? { format: (v: number) => v.toPrecision(2) } : {};
  return heatMap({ title, rows, columns, values, range, ...format });
}

function isSpread(cell: Cell): boolean {
  return typeof cell === "object" && cell !== null;
}
