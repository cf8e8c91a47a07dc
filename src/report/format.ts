/**
 * @file Numbers as people read them. In: numbers in SI units. Out: short text; "–" for what is not a finite number.
 */

const none = "–";

/** 12345678 → "12.3 M" with 1000-based prefixes and three significant digits. */
export function scaled(value: number | null | undefined, unit = ""): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return none;
  const prefixes = ["", "k", "M", "G", "T", "P", "E"];
  let v = Math.abs(value);
  let i = 0;
  while (v >= 999.5 && i < prefixes.length - 1) {
    v /= 1000;
    i++;
  }
  const digits = i === 0 && Number.isInteger(value) ? String(v) : v.toPrecision(3);
  return `${value < 0 ? "−" : ""}${digits} ${prefixes[i]}${unit}`.trimEnd();
}

/** "3.42 TFLOP" */
export const flopText = (flops: number | null | undefined): string => scaled(flops, "FLOP");

/** "81.9 MB" */
export const byteText = (bytes: number | null | undefined): string => scaled(bytes, "B");

/** "850 ms", "12.3 s", "4 min 05 s", "2 h 07 min" */
export function secondText(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return none;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (n: number) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** Of an estimate, as roughly as it is known: "less than a minute", "about 7 min", "about 40 min", "about 2.5 h", "about 3 days". */
export function aboutText(seconds: number): string {
  const [minutes, hours] = [seconds / 60, seconds / 3600];
  if (minutes < 1) return "less than a minute";
  if (minutes < 9.5) return `about ${Math.round(minutes)} min`;
  if (minutes < 87.5) return `about ${5 * Math.round(minutes / 5)} min`;
  if (hours < 9.75) return `about ${Math.round(2 * hours) / 2} h`;
  return hours < 47.5 ? `about ${Math.round(hours)} h` : `about ${Math.round(hours / 24)} days`;
}

/** A score in [0, 1] as papers print it: 0.8571 → "85.7". */
export function scoreText(score: number | null | undefined): string {
  return score === null || score === undefined || !Number.isFinite(score) ? none : (100 * score).toFixed(1);
}

/** "85.7 ± 1.2": mean and sample standard deviation of scores; no spread for one value. */
export function meanText(scores: readonly number[]): string {
  if (scores.length === 0) return none;
  const { mean, deviation } = moments(scores);
  return scores.length === 1 ? scoreText(mean) : `${scoreText(mean)} ± ${scoreText(deviation)}`;
}

/** Mean and sample (n − 1) standard deviation; 0 spread for one value. */
export function moments(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((a, b) => a + (b - mean) ** 2, 0);
  return { mean, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 };
}

/** At most `digits` significant digits, no exponent for everyday sizes: 0.3, 1e-5, 1234.5. */
export function plainNumber(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return String(value);
  return String(Number(value.toPrecision(digits)));
}

/**
 * A partial model's name (model/partial.ts) as people read it: "e2w192d4-9f02c77c" → "2 encoder layers × 192 neurons, 4 decoder layers",
 * short "enc 2×192, dec 4"; "full" → "the full model", short "full". Other names stay.
 */
export function partialText(name: string, short = false): string {
  if (name === "full") return short ? "full" : "the full model";
  const found = /^e(\d+)(?:w(\d+))?d(\d+)(?:w(\d+))?(?:-[0-9a-f]+)?$/.exec(name);
  if (found === null) return name;
  const [, encoder, encoderWidth, decoder, decoderWidth] = found;
  const stack = (label: string, layers: string, width: string | undefined) =>
    short
      ? `${label.slice(0, 3)} ${layers}${width === undefined ? "" : `×${width}`}`
      : `${layers} ${label} layers${width === undefined ? "" : ` × ${width} neurons`}`;
  return `${stack("encoder", encoder!, encoderWidth)}, ${stack("decoder", decoder!, decoderWidth)}`;
}
