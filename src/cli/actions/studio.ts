/**
 * @file The work of softprompt studio: opens the studio, tells its address, and closes it at a signal.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { platform, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { SoftpromptError } from "../../base/errors.js";
import { execArgvForFile } from "../../base/exec-argv.js";
import type { StudioOptions } from "../../studio/options.js";
import { openStudio } from "../../studio/studio.js";
import type { CommandContext } from "../command.js";
import { prune } from "../commands/prune.js";
import { show } from "../commands/show.js";
import { compare } from "../commands/study.js";
import { sweep } from "../commands/sweep.js";
import { train } from "../commands/train.js";
import { sayNotices } from "../data.js";

const main = fileURLToPath(new URL("../main.js", import.meta.url));
const usual = "runs";

export async function studio(
  { open, ...options }: StudioOptions & { readonly open: boolean },
  folder: string | undefined,
  { terminal, signal }: CommandContext,
): Promise<null> {
  if (folder !== undefined && !(existsSync(folder) && statSync(folder).isDirectory()))
    throw new SoftpromptError("usage", "there is no such folder", {
      where: folder,
      expected: "a folder of runs",
      hint: `without a folder it is ${usual}, which may be missing until the first run`,
    });
  const opened = await openStudio({
    ...options,
    folder: folder ?? usual,
    program: { file: process.execPath, args: [...execArgvForFile(), main], cwd: process.cwd() },
    commands: { train, prune, sweep, compare, show },
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

/**
 * Opens an address in the user's browser, by a page that leads there and that only the user can read: every user of the machine sees the
 * words of a command, and the address holds the token.
 */
function openBrowser(address: string, failed: (problem: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "softprompt-studio-"));
  const page = join(folder, "open.html");
  writeFileSync(page, `<!doctype html><meta http-equiv="refresh" content="0;url=${address}">`, { mode: 0o600 });
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const url = pathToFileURL(page).href;
  const [file, args]: [string, string[]] =
    platform() === "darwin"
      ? ["open", [url]]
      : platform() === "win32"
        ? ["rundll32", ["url.dll,FileProtocolHandler", url]]
        : ["xdg-open", [url]];
  const child = spawn(file, args, { stdio: "ignore", detached: true });
  child.on("error", ({ message }) => failed(message));
  child.unref();
}
