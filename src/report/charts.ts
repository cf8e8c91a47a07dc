/** @file What a line chart is made of. Plain data; svg.ts draws it. */

/** One line of a chart. */
export interface Series {
  readonly name: string;
  /** [x, y] in ascending x. */
  readonly points: readonly (readonly [number, number])[];
  /** Draw the points too (evaluations, not losses). */
  readonly dots?: boolean;
  /** The x at which each stage begins, ascending, including the first: drawn as the series' own strip above the chart. */
  readonly stages?: readonly { readonly x: number; readonly label: string }[];
}

export interface LineChart {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** Vertical lines with a label: the step that is kept. */
  readonly marks?: readonly { readonly x: number; readonly label: string }[];
  /** Horizontal lines with a label: a majority baseline. */
  readonly levels?: readonly { readonly y: number; readonly label: string }[];
  /** x is a count, so its ticks are whole numbers. */
  readonly wholeX?: boolean;
  /** How x and y numbers read; default: at most four digits. */
  readonly formatX?: (value: number) => string;
  readonly formatY?: (value: number) => string;
  readonly width?: number;
  /** Height with one row above the plot; strips, marks and further rows of the legend are added to it. */
  readonly height?: number;
}
