/**
 * @file A page in a real headless Chromium: served from folders of this machine, it runs one module and sends back what that returns.
 *
 * The browser is $CHROMIUM, else chromium, chromium-browser or google-chrome of the path; without one, tests say that they are skipped.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";

export function findChromium(): string | null {
  const names = [process.env.CHROMIUM, "chromium", "chromium-browser", "google-chrome"];
  const found = names.find((name) => name && spawnSync(name, ["--version"], { timeout: 60_000 }).status === 0);
  if (found === undefined) console.warn("tests in a browser are SKIPPED: no chromium on the path (set CHROMIUM)");
  return found ?? null;
}

const types: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** @param code the body of an async function  @param folders what lies under which path of the server */
export async function inChromium(
  browser: string,
  code: string,
  folders: Readonly<Record<string, string>>,
  milliseconds: number,
): Promise<unknown> {
  const profile = mkdtempSync(join(tmpdir(), "softprompt-chromium-"));
  const page = `<!doctype html><script type="module">
    const done = (body) => fetch("/done", { method: "POST", body: JSON.stringify(body) });
    try { done({ value: await (async () => {${code}})() }); } catch (error) { done({ error: String(error?.stack ?? error) }); }
  </script>`;
  let settle: (said: { value?: unknown; error?: string }) => void;
  const said = new Promise<{ value?: unknown; error?: string }>((resolve) => {
    settle = resolve;
  });
  const server = createServer((request, response) => {
    const path = new URL(request.url!, "http://localhost").pathname;
    if (path === "/done") {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        response.end();
        settle(JSON.parse(body));
      });
      return;
    }
    if (path === "/") {
      response.setHeader("content-type", "text/html");
      response.end(page);
      return;
    }
    const [, top, ...rest] = normalize(path).split("/");
    const file = folders[top!] === undefined ? null : join(folders[top!]!, ...rest);
    if (file === null || !existsSync(file) || !statSync(file).isFile()) {
      response.statusCode = 404;
      response.end();
      return;
    }
    response.setHeader("content-type", types[extname(file)] ?? "application/octet-stream");
    response.end(readFileSync(file));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
  const child = spawn(browser, [...flags, `--user-data-dir=${profile}`, `http://127.0.0.1:${port}/`], {
    stdio: "ignore",
    detached: true,
  });
  const late = new Promise<{ error: string }>((resolve) => {
    setTimeout(() => resolve({ error: `the page said nothing in ${milliseconds} ms` }), milliseconds).unref();
  });
  try {
    const { value, error } = (await Promise.race([said, late])) as { value?: unknown; error?: string };
    if (error !== undefined) throw new Error(error);
    return value;
  } finally {
    // the browser's whole group: it starts processes of its own
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    await new Promise<void>((resolve) =>
      child.exitCode !== null || child.signalCode !== null ? resolve() : child.once("exit", () => resolve()),
    );
    server.closeAllConnections();
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
