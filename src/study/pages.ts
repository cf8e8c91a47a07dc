/**
 * @file A study's result as text and as a page. In: StudyResult (tables, curves, matrices, notes). Out: Markdown, HTML.
 */

import { highest } from "../base/extent.js";
import { dots } from "../report/dots.js";
import { partialText, plainNumber, scaled, secondText } from "../report/format.js";
import { heatMap } from "../report/heat-map.js";
import { markdownTable } from "../report/markdown.js";
import { charts, drawing, type Html, html, htmlTable, page, settingsList, switched } from "../report/page.js";
import { lineChart } from "../report/svg.js";
import type { Cell, Chart, Column, DotChart, Matrix, StudyResult, Table } from "./study.js";

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
    html`<h1>${result.title}</h1><p class="lead">softprompt ${result.command ?? `study ${result.study}`}</p>`,
    ...result.tables.map(
      (table) =>
        html`<h2>${table.title}</h2>${htmlTable(
          table.columns.map(heading),
          table.rows.map((row) => row.map((cell, i) => cellText(cell, table.columns[i]))),
          table.greyFrom === undefined ? {} : { greyFrom: table.greyFrom },
        )}`,
    ),
    ...beside(sideBySide(result.dots), curves(result.charts)),
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

/** Puts two sections in columns if each shows one picture at a time, else one after the other. */
function beside(dotted: Section, curved: Section): Html[] {
  const both = [dotted, curved].filter(({ parts }) => parts.length > 0);
  if (both.length < 2 || both.some(({ shown }) => shown > 1)) return both.flatMap(({ parts }) => parts);
  return [html`<div class="charts">${both.map(({ parts }) => html`<section>${parts}</section>`)}</div>`];
}

/** Parts of a page, and how many pictures they show at a time. */
interface Section {
  readonly parts: readonly Html[];
  readonly shown: number;
}

/** Letters of a label beyond which the figure's usual room cuts it. */
const longLabel = 20;

function sideBySide(all: readonly DotChart[]): Section {
  if (all.length === 0) return { parts: [], shown: 0 };
  const drawn = all.map(({ title, xLabel, entries, differences = false }) =>
    dots({
      title,
      x: xLabel,
      entries: entries.map(({ name, value }) => ({
        label: name,
        value: value?.mean ?? Number.NaN,
        deviation: value?.deviation ?? null,
      })),
      format: (v) => cellText(v),
      // a pair's name is two names and a condition
      ...(differences && { mark: 0 }),
      ...((differences || entries.some(({ name }) => name.length > longLabel)) && { labelWidth: 330 }),
    }),
  );
  return { parts: [html`<h2>Side by side</h2>`, charts(drawn)], shown: all.length };
}

/** All charts, those of one view at a time where they have views, and the names of the stages that their strips number. */
function curves(all: readonly Chart[]): Section {
  if (all.length === 0) return { parts: [], shown: 0 };
  const drawn = (some: readonly Chart[]) => html`<div class="charts">${some.map(titledChart)}</div>`;
  const unswitched = all.filter(({ view }) => view === undefined);
  const views = [...new Set(all.flatMap(({ view }) => view ?? []))];
  const inView = (view: string) => all.filter((chart) => chart.view === view);
  return {
    parts: [
      html`<h2>Curves</h2>`,
      ...(views.length === 0
        ? []
        : [
            switched(
              "view",
              views.map((view) => [view, drawn(inView(view))]),
            ),
          ]),
      ...(unswitched.length === 0 ? [] : [drawn(unswitched)]),
      ...stageList(all),
    ],
    shown:
      unswitched.length +
      highest(
        views.map((view) => inView(view).length),
        0,
      ),
  };
}

/** Stages of each series, listed once although every chart per task and axis contains them. */
function stageList(all: readonly Chart[]): Html[] {
  const series = all.flatMap((chart) => chart.series.filter(({ stages = [] }) => stages.length > 0));
  const lines = series.map(
    ({ name, stages }) =>
      `${name}: ${stages!.map(({ partial }, n) => `(${n + 1}) ${partialText(partial)}`).join("; ")}`,
  );
  if (lines.length === 0) return [];
  return [
    html`<p class="soft">The strips above the curves are the stages of each method, numbered.</p><ul class="soft">${[...new Set(lines)].map((line) => html`<li>${line}</li>`)}</ul>`,
  ];
}

function titledChart(chart: Chart): Html {
  return html`<figure><figcaption>${chart.title}</figcaption>${drawing(chartDrawing(chart))}</figure>`;
}

/** One chart as an SVG of its own (docs pictures). */
export function chartDrawing(chart: Chart): string {
  return lineChart({
    title: chart.title,
    x: chart.xLabel,
    y: chart.yLabel,
    formatX: axisFormat[chart.x],
    wholeX: chart.x === "steps",
    series: chart.series.map(({ name, points, stages }) => ({
      name,
      points,
      dots: points.length < 40,
      ...(stages && { stages: stages.map(({ x, partial }) => ({ x, label: partialText(partial, true) })) }),
    })),
  });
}

/** One matrix as an SVG of its own (docs pictures). */
export function matrixDrawing({ title, rows, columns, values, range }: Matrix): string {
  // a measure with a fixed range (a cosine) is shown with decimals, small importances with their first digits
  const format = range === undefined ? { format: (v: number) => v.toPrecision(2) } : {};
  return heatMap({ title, rows, columns, values, range, ...format });
}

function isSpread(cell: Cell): boolean {
  return typeof cell === "object" && cell !== null;
}
