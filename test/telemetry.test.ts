/** @file The engine tells nobody that it was used: it writes nothing for sending, neither in the caller's thread nor in the server's. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "..");
const place = mkdtempSync(join(tmpdir(), "softprompt-telemetry-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const from = (name: string) => JSON.stringify(join(root, "dist", name));
const programs = {
  "the caller's thread": `
    import { generate, openModel } from ${from("index.js")};
    const model = await openModel("t5-nano", { threads: 1, offline: true });
    await generate(model, { prompt: "x", maxTokens: 2 });
    await model.dispose();`,
  "the server's thread": `
    import { openServer } from ${from("index-serve.js")};
    const server = await openServer({ model: "t5-nano", port: 0, threads: 1, offline: true });
    const answer = await fetch(server.url + "/v1/completions", {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer " + server.token },
      body: JSON.stringify({ model: "t5-nano", prompt: "x", max_tokens: 2 }),
    });
    if (!answer.ok) throw new Error(await answer.text());
    await server.close();`,
};

// elsewhere ONNX Runtime has other places for its files
test.skipIf(process.platform !== "linux").each(Object.entries(programs))(
  "%s leaves no file for sending",
  (_, program) => {
    const home = mkdtempSync(join(place, "home-"));
    const { ORT_DISABLE_TELEMETRY: _set, ...env } = process.env;
    const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
      encoding: "utf8",
      env: { ...env, HOME: home, XDG_CACHE_HOME: join(home, "cache") },
    });
    expect(status, stderr).toBe(0);
    expect(
      readdirSync(home, { recursive: true }).filter((name) => /microsoft|onnxruntime/i.test(String(name))),
    ).toEqual([]);
  },
);
