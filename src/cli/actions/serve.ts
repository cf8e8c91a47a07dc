/**
 * @file The work of softprompt serve: opens the server, shows its address, and closes it at a signal.
 */
import { signalExitCode } from "../../base/errors.js";
import { printableLine } from "../../base/printable.js";
import { openServer } from "../../serve/server.js";
import type { Answer, CommandContext } from "../command.js";
import { sayNotices } from "../data.js";
import { modelContext } from "../progress.js";
import type { ServeValues } from "../tables/serve.js";

export async function serve(
  { model, adapter, adapters, anyBase, ...options }: ServeValues,
  { terminal, signal }: CommandContext,
): Promise<Answer | null> {
  const { onEvent } = modelContext(terminal, signal);
  const server = await openServer({
    ...options,
    model,
    adapters: adapter,
    adaptersFolder: adapters,
    anyBase,
    // once the server is open, the signal is handled below
    signal,
    onEvent: (event) => {
      if (event.kind === "notice") sayNotices([event.message], terminal);
      else if (event.doing !== "warming") onEvent?.(event);
      else if (event.done === event.total) terminal.redraw("");
      else if (terminal.live) terminal.redraw(warmingText(event.file));
      // one line for each model and adapter
      else if (event.done === 0) terminal.note(warmingText(event.file));
    },
  });
  const { url, token, models } = server;
  // a token of the user's own is not shown
  const shown = options.tokenFile === undefined ? token : null;
  if (terminal.json) terminal.result(JSON.stringify({ url, token: shown, models, pid: process.pid }));
  else
    terminal.result(
      [
        `listening on ${url}`,
        ...(shown === null ? [] : [`token ${shown}`]),
        ...models.map((id) => `model ${printableLine(id)}`),
      ].join("\n"),
    );
  const { cut } = await server.closed;
  if (cut > 0) terminal.warn(`${cut} row${cut === 1 ? " was" : "s were"} cut off`);
  const exitCode = cut > 0 ? signalExitCode(signal) : 0;
  return exitCode === 0 ? null : { json: { cut }, text: "", exitCode };
}

const warmingText = (name: string) => `warming ${printableLine(name)}: first tokens, so that no request waits for them`;
