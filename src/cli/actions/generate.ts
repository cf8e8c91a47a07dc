/**
 * @file The work of softprompt generate: one text, whole or as a stream.
 */
import { stdin } from "node:process";
import { text as readAll } from "node:stream/consumers";
import { SoftpromptError } from "../../base/errors.js";
import { pickOptions } from "../../base/options.js";
import { type GeneratedPiece, generateStream } from "../../tasks/generate.js";
import { generateOptions } from "../../tasks/generate-options.js";
import type { Answer, CommandContext } from "../command.js";
import { sayChat, sayNotices } from "../data.js";
import type { GenerateValues } from "../tables/generate.js";
import { namedAdapter, openWithAdapter } from "./recorded-model.js";

export async function generate(
  options: GenerateValues,
  text: string | undefined,
  { terminal, signal }: CommandContext,
): Promise<Answer | null> {
  const adapter = await namedAdapter(options, { terminal, signal });
  const prompt = text ?? (await fromStdin(terminal));
  const model = await openWithAdapter(options.model, adapter, options, { terminal, signal });
  try {
    if (adapter === null) await sayChat(model, terminal);
    const notices: string[] = [];
    const pieces = generateStream(model, {
      ...pickOptions(generateOptions, options),
      prompt,
      adapter,
      anyBase: options.anyBase,
      signal,
      onEvent: ({ message }) => {
        notices.push(message);
        sayNotices([message], terminal);
      },
    });
    let [whole, tokens] = ["", 0];
    let end: GeneratedPiece["end"];
    for await (const piece of pieces) {
      whole += piece.text;
      if (piece.id !== undefined) tokens++;
      end = piece.end;
      if (options.stream && terminal.json) terminal.result(JSON.stringify(piece));
      else if (options.stream) terminal.resultPiece(piece.text);
    }
    const json = { text: whole, tokens, end, notices };
    if (!options.stream) return { json, text: whole };
    if (terminal.json) terminal.result(JSON.stringify(json));
    else terminal.resultEnd();
    return null;
  } finally {
    await model.dispose();
  }
}

async function fromStdin(terminal: CommandContext["terminal"]): Promise<string> {
  if (stdin.isTTY) terminal.note("the text to go on from; Ctrl-D ends");
  const given = (await readAll(stdin)).replace(/\r?\n$/, "");
  if (given !== "") return given;
  throw new SoftpromptError("usage", "there is no text to go on from", {
    where: "standard input",
    expected: 'a text: softprompt generate "Once upon a time", or on standard input',
  });
}
