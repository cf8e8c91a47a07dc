/**
 * @file The work of softprompt export: an adapter in the format of another program.
 */
import type { Adapter } from "../../adapter/types.js";
import { nearest, SoftpromptError } from "../../base/errors.js";
import { writeFileAtomic } from "../../base/files.js";
import { defaults, flagName } from "../../base/options.js";
import { refuseFull, refuseThere } from "../../export/output.js";
import { byteText } from "../../report/format.js";
import { plainTable } from "../../report/markdown.js";
import { exportModel, exportOnnxAdapter, exportPrompt, exportRequest } from "../../tasks/export.js";
import { type ExportFormat, exportFormats, takenOptions } from "../../tasks/export-options.js";
import type { Answer, CommandContext } from "../command.js";
import { checkWritable } from "../output.js";
import { type ExportValues, outputOptions } from "../tables/export.js";
import { recordedModel } from "../tables/predict.js";
import { refuseUnread } from "../unread.js";
import { namedAdapter, openWithAdapter } from "./recorded-model.js";

export async function exportAs(
  options: ExportValues,
  given: string,
  text: string | undefined,
  context: CommandContext,
): Promise<Answer | null> {
  const format = formatOf(given);
  const request = format === "vllm" || format === "sglang";
  if (!request && text !== undefined) throw refuse("this form takes no text", "no TEXT", text);
  checkTaken(format, options);
  const adapter = await namedAdapter(options, context);
  if (request) return exportedRequest(options, format, needed(adapter), text, context);
  const { output } = options;
  if (output === undefined)
    throw refuse("--output is missing", format === "onnx-adapter" ? "a file" : "a folder", undefined);
  if (format === "npy" || format === "raw") {
    // only the adapter is read, which may come from a hub
    const { offline: _, ...ofModel } = recordedModel;
    refuseUnread("this form", `softprompt export ${format}`, [...Object.keys(ofModel), "anyBase"], context.given);
    const files = await exportPrompt(format, { adapter: needed(adapter), output });
    return { json: { folder: output, files }, text: files.map((name) => `${output}/${name}`).join("\n") };
  }
  if (format === "onnx-adapter") needed(adapter);
  // before the model is opened
  if (format === "onnx-adapter") refuseThere([output]);
  else refuseFull(output);
  const model = await openWithAdapter(options.model, adapter, options, context);
  try {
    const { anyBase, dtype, promptInput } = options;
    if (format === "onnx-adapter") {
      checkWritable(output, []);
      const written = await exportOnnxAdapter(model, { adapter: needed(adapter), output, anyBase });
      const rows = Object.entries(written.inputs).map(([name, shape]) => [name, shape.join(" × ")]);
      return {
        json: written,
        text: `${plainTable([["input", "shape"], ...rows])}\n\n${output}, ${byteText(written.bytes)}`,
      };
    }
    const written = await exportModel(model, { adapter, output, anyBase, dtype, promptInput });
    const table = plainTable([["file", "size"], ...written.files.map(({ name, bytes }) => [name, byteText(bytes)])]);
    return {
      json: written,
      text: `${table}\n\nawait pipeline(${JSON.stringify(written.pipeline)}, ${JSON.stringify(output)})`,
    };
  } finally {
    await model.dispose();
  }
}

async function exportedRequest(
  options: ExportValues,
  format: "vllm" | "sglang",
  adapter: Adapter,
  prompt: string | undefined,
  context: CommandContext,
): Promise<Answer | null> {
  if (prompt === undefined) throw refuse("TEXT is missing", "the text to go on from", undefined);
  const { anyBase, maxTokens, output } = options;
  if (output !== undefined) {
    refuseThere([output]);
    checkWritable(output, []);
  }
  const model = await openWithAdapter(options.model, adapter, options, context);
  try {
    const body = await exportRequest(model, format, { adapter, prompt, anyBase, maxTokens });
    const json = JSON.stringify(body);
    if (output === undefined) {
      context.terminal.result(json);
      return null;
    }
    writeFileAtomic(output, `${json}\n`);
    return { json: { file: output, bytes: json.length + 1 }, text: output };
  } finally {
    await model.dispose();
  }
}

function formatOf(given: string): ExportFormat {
  if (Object.hasOwn(exportFormats, given)) return given as ExportFormat;
  const names = Object.keys(exportFormats);
  const near = nearest(given, names);
  throw new SoftpromptError("usage", "there is no such form", {
    where: "softprompt export, FORMAT",
    expected: names.join(", "),
    got: given,
    hint: near === undefined ? undefined : `did you mean ${near}?`,
  });
}

/** An option that would change nothing is refused. */
function checkTaken(format: ExportFormat, options: ExportValues): void {
  const { output: _, ...usual } = defaults(outputOptions);
  for (const name of Object.keys(usual) as (keyof typeof usual)[]) {
    const taken = Object.entries(takenOptions).flatMap(([form, names]) => (names.some((n) => n === name) ? form : []));
    if (!taken.includes(format) && options[name] !== usual[name])
      throw refuse(
        `this form takes no ${flagName(name)}`,
        `${flagName(name)} with ${taken.join(" or ")} alone`,
        options[name],
      );
  }
}

function needed(adapter: Adapter | null): Adapter {
  if (adapter !== null) return adapter;
  throw refuse("--adapter is missing", "an adapter's folder, or a prompt as .npy", undefined);
}

function refuse(problem: string, expected: string, got: unknown): SoftpromptError {
  return new SoftpromptError("usage", problem, { where: "softprompt export", expected, got });
}
