/**
 * @file The work of softprompt studio: opens the studio, tells its address, and closes it at a signal.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { platform } from "node:os";
import { fileURLToPath } from "node:url";
import { SoftpromptError } from "../../base/errors.js";
import { execArgvForFile } from "../../base/exec-argv.js";
import type { StudioOptions } from "../../studio/options.js";
import { openStudio } from "../../studio/studio.js";
import type { CommandContext } from "../command.js";
import { prune } from "../commands/prune.js";
import { show } from "../commands/show.js";
import { compare } from "../commands/study.js";
import { train } from "../commands/train.js";
import { sayNotices } from "../data.js";

const main = fileURLToPath(new URL("../main.js", import.meta.url));
const usual = "runs";

export async function studio(
  { open, ...options }: StudioOptions & { readonly open: boolean },
  folder: string | undefined,
  { terminal, signal }: CommandContext,
): Promise<null> {
  if (folder !== undefined && !existsSync(folder))
    throw new SoftpromptError("usage", "there is no such folder", {
      where: folder,
      expected: "a folder of runs",
      hint: `without a folder it is ${usual}, which may be missing until the first run`,
    });
  const opened = await openStudio({
    ...options,
    folder: folder ?? usual,
    program: { file: process.execPath, args: [...execArgvForFile(), main], cwd: process.cwd() },
    commands: { train, prune, compare, show },
    onEvent: ({ message }) => sayNotices([message], terminal),
    signal,
  });
  const { address, url, token } = opened;
  if (terminal.json) terminal.result(JSON.stringify({ address, url, token, pid: process.pid }));
  else terminal.result(`studio at ${address}`);
  terminal.note("Ctrl-C ends it; what it has started is saved first");
  if (open) openBrowser(address, (problem) => terminal.warn(`the browser could not be opened: ${problem}`));
  await opened.closed;
  return null;
}

/** Opens an address in the user's browser. */
function openBrowser(address: string, failed: (problem: string) => void): void {
  const [file, args]: [string, string[]] =
    platform() === "darwin"
      ? ["open", [address]]
      : platform() === "win32"
        ? ["rundll32", ["url.dll,FileProtocolHandler", address]]
        : ["xdg-open", [address]];
  const child = spawn(file, args, { stdio: "ignore", detached: true });
  child.on("error", ({ message }) => failed(message));
  child.unref();
}
