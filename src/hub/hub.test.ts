import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { commitOf, type HubRepo, type HubServer, openHubServer } from "../../test/helpers/hub-server.js";
import { SoftpromptError } from "../base/errors.js";
import { openCheckpoint } from "../model/checkpoint.js";
import { hubCacheFolder, hubToken } from "./cache.js";
import { type HubOptions, type HubProgress, resolveModel } from "./hub.js";

const fixture = (name: string) => fileURLToPath(new URL(`../../test/fixtures/${name}`, import.meta.url));
const filesOf = (name: string) =>
  Object.fromEntries(
    readdirSync(fixture(name)).map((file) => [file, new Uint8Array(readFileSync(join(fixture(name), file)))]),
  );
const whole = filesOf("tiny-t5-v10");
const without = (...names: string[]) => Object.fromEntries(Object.entries(whole).filter(([n]) => !names.includes(n)));

const repos: Record<string, HubRepo> = {
  "tiny/t5": {
    files: { ...whole, "spiece.model": Buffer.from("pieces"), "README.md": Buffer.from("#") },
    refs: ["refs/pr/1"],
  },
  "plain-t5": { files: whole },
  "tiny/sharded": { files: filesOf("tiny-t5-flan-sharded") },
  "tiny/pickled": { files: { ...without("model.safetensors"), "pytorch_model.bin": Buffer.from("pickle") } },
  "tiny/bare": { files: { "README.md": Buffer.from("#") } },
  "tiny/bert": { files: { ...whole, "config.json": Buffer.from('{"model_type":"bert"}') } },
  "tiny/secret": { files: whole, token: "hf_secret" },
  "tiny/hostile": {
    files: { ...whole, "../../../x": Buffer.from("x"), "/etc/x": Buffer.from("x"), "a\\..\\x": Buffer.from("x") },
  },
};

let hub: HubServer;
let cacheDir: string;
beforeAll(async () => {
  hub = await openHubServer(repos);
});
afterAll(() => hub.close());
beforeEach(() => {
  cacheDir = mkdtempSync(join(tmpdir(), "hub-"));
});
afterEach(() => {
  hub.intercept = null;
  hub.log.length = 0;
  rmSync(cacheDir, { recursive: true, force: true });
});

const resolve = (name: string, options: HubOptions = {}) =>
  resolveModel(name, { cacheDir, hubUrl: hub.url, env: { HF_HOME: cacheDir }, retryWait: 1, ...options });
const refusal = async (work: Promise<unknown>) => {
  const error = await work.then(
    () => null,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(SoftpromptError);
  return error as SoftpromptError;
};
const downloads = () => hub.log.filter((line) => line.includes("/resolve/"));

describe("fetches", () => {
  test("only what is needed, pinned to a commit, in the layout Python uses; and it opens", async () => {
    const progress: HubProgress[] = [];
    const { folder, name, commit } = await resolve("tiny/t5", { onProgress: (p) => progress.push(p) });
    expect(commit).toBe(commitOf("tiny/t5"));
    expect(name).toBe(`tiny/t5@${commit}`);
    expect(folder).toBe(join(cacheDir, "models--tiny--t5", "snapshots", commit!));
    expect(readdirSync(folder).sort()).toEqual(["config.json", "model.safetensors", "spiece.model"]);
    expect(lstatSync(join(folder, "model.safetensors")).isSymbolicLink()).toBe(true);
    const sha = createHash("sha256").update(whole["model.safetensors"]!).digest("hex");
    expect(existsSync(join(cacheDir, "models--tiny--t5", "blobs", sha))).toBe(true);
    expect(readFileSync(join(cacheDir, "models--tiny--t5", "refs", "main"), "utf8")).toBe(commit);
    expect(await (await openCheckpoint(folder)).sha256()).toBe(sha);
    const last = progress.at(-1)!;
    expect(last.done).toBe(last.total);
    expect(last.total).toBe(whole["model.safetensors"]!.length + whole["config.json"]!.length + 6);
    expect(progress.every((p) => p.done <= p.total)).toBe(true);
  });
  test("a name without organisation, a revision in the name, a pull request", async () => {
    expect((await resolve("plain-t5")).commit).toBe(commitOf("plain-t5"));
    expect((await resolve(`tiny/t5@${commitOf("tiny/t5")}`)).commit).toBe(commitOf("tiny/t5"));
    expect((await resolve("tiny/t5", { revision: "refs/pr/1" })).commit).toBe(commitOf("tiny/t5"));
    expect((await resolve("tiny/t5@refs/pr/1", { offline: true })).commit).toBe(commitOf("tiny/t5"));
  });
  test("shards and their index", async () => {
    const { folder } = await resolve("tiny/sharded");
    expect((await openCheckpoint(folder)).files).toHaveLength(2);
  });
  test("nothing twice", async () => {
    await resolve("tiny/t5");
    const before = downloads().length;
    await resolve("tiny/t5");
    expect(downloads().length).toBe(before);
  });
  test("a path is a path, even one that looks like an id", async () => {
    const found = await resolveModel(fixture("tiny-t5-v10"));
    expect(found).toEqual({ folder: fixture("tiny-t5-v10"), name: fixture("tiny-t5-v10"), commit: null, warnings: [] });
  });
});

describe("goes on where it stopped", () => {
  const weights = whole["model.safetensors"]!;
  const others = whole["config.json"]!.length + repos["tiny/t5"]!.files["spiece.model"]!.length;
  /** What happens once the client has written `at` bytes of the weights: never earlier, so no byte is lost on the way. */
  let then: { at: number; act: () => void } | null = null;
  const onProgress = ({ file, done }: HubProgress) => {
    if (file !== "model.safetensors" || !then || done - others < then.at) return;
    const { act } = then;
    then = null;
    act();
  };
  afterEach(() => {
    then = null;
  });
  /** Sends the weights from where they are asked for up to `until`, then acts. */
  const sendUntil = (until: number, request: IncomingMessage, response: ServerResponse, act: () => void) => {
    const start = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
    const range = start > 0 ? { "content-range": `bytes ${start}-${weights.length - 1}/${weights.length}` } : {};
    response.writeHead(start > 0 ? 206 : 200, { "content-length": String(weights.length - start), ...range });
    then = { at: until, act };
    response.write(weights.subarray(start, until));
  };
  const asksForWeights = (request: IncomingMessage) =>
    request.url!.endsWith("model.safetensors") && !request.headers.host!.startsWith("127.");
  const starts = () => hub.log.filter((l) => l.endsWith("@cdn")).map((l) => Number(/bytes=(\d+)-/.exec(l)?.[1] ?? 0));

  test("within one call, after broken connections", async () => {
    const cuts = [20_000, 50_000, 90_000];
    hub.intercept = (request, response) => {
      if (!asksForWeights(request) || cuts.length === 0) return false;
      sendUntil(cuts.shift()!, request, response, () => response.destroy());
      return true;
    };
    const { folder } = await resolve("tiny/t5", { onProgress });
    expect((await openCheckpoint(folder)).parameters).toBeGreaterThan(0);
    expect(starts()).toEqual([0, 20_000, 50_000, 90_000]);
  });
  test("in a later call, after the first gave up", async () => {
    hub.intercept = (request, response) => {
      if (!asksForWeights(request)) return false;
      if (request.headers.range) response.destroy();
      else sendUntil(50_000, request, response, () => response.destroy());
      return true;
    };
    const error = await refusal(resolve("tiny/t5", { onProgress }));
    expect(error.kind).toBe("network");
    expect(error.message).toMatch(/goes on where it stopped/);
    hub.intercept = null;
    hub.log.length = 0;
    await resolve("tiny/t5");
    expect(starts()).toEqual([50_000]);
  });
  test("an interrupt keeps what came", async () => {
    const stop = new AbortController();
    hub.intercept = (request, response) => {
      if (!asksForWeights(request)) return false;
      sendUntil(40_000, request, response, () => stop.abort());
      return true;
    };
    const error = await refusal(resolve("tiny/t5", { signal: stop.signal, onProgress }));
    expect(error.kind).toBe("interrupted");
    hub.intercept = null;
    hub.log.length = 0;
    await resolve("tiny/t5");
    expect(starts()).toEqual([40_000]);
  });
  test("a server that knows no ranges starts again from the beginning", async () => {
    let cut = false;
    hub.intercept = (request, response) => {
      if (!asksForWeights(request)) return false;
      delete request.headers.range;
      if (cut) return false;
      cut = true;
      sendUntil(30_000, request, response, () => response.destroy());
      return true;
    };
    expect((await openCheckpoint((await resolve("tiny/t5", { onProgress })).folder)).parameters).toBeGreaterThan(0);
    expect(starts()).toEqual([0, 30_000]); // asked for the rest, got the whole
  });
  test("a damaged part is thrown away and fetched anew", async () => {
    const sha = createHash("sha256").update(whole["model.safetensors"]!).digest("hex");
    await refusal(resolve("tiny/secret")); // makes nothing
    const { folder } = await resolve("tiny/t5");
    const blob = join(cacheDir, "models--tiny--t5", "blobs", sha);
    rmSync(blob);
    rmSync(join(folder, "model.safetensors"));
    writeFileSync(`${blob}.incomplete`, Buffer.alloc(1000, 7));
    await resolve("tiny/t5");
    expect(await (await openCheckpoint(folder)).sha256()).toBe(sha);
  });
});

describe("refuses", () => {
  test("bytes that are not the announced ones, twice tried, and keeps none of them", async () => {
    hub.intercept = (request, response) => {
      if (!request.url!.endsWith("model.safetensors")) return false;
      response.end(Buffer.alloc(whole["model.safetensors"]!.length, 1));
      return true;
    };
    const error = await refusal(resolve("tiny/t5"));
    expect([error.kind, error.problem]).toEqual(["network", "the downloaded file is not the one the hub announced"]);
    expect(readdirSync(join(cacheDir, "models--tiny--t5", "blobs")).filter((f) => f.length > 40)).toEqual([]);
  });
  test("more bytes than announced, without writing them", async () => {
    hub.intercept = (request, response) => {
      if (!request.url!.endsWith("model.safetensors")) return false;
      response.end(Buffer.alloc(whole["model.safetensors"]!.length * 3, 1));
      return true;
    };
    expect((await refusal(resolve("tiny/t5"))).kind).toBe("network");
  });
  test("a repository with pickles only, with what to do", async () => {
    const error = await refusal(resolve("tiny/pickled"));
    expect(error.kind).toBe("checkpoint");
    expect(error.message).toMatch(/no safetensors[\s\S]*refs\/pr\/1/);
    expect(downloads()).toEqual([]);
  });
  test("another architecture, before its weights are fetched", async () => {
    expect((await refusal(resolve("tiny/bert"))).message).toMatch(/not of a supported family/);
    expect(downloads().some((l) => l.includes("model.safetensors"))).toBe(false);
  });
  test("no config, no model, no revision, no access", async () => {
    expect((await refusal(resolve("tiny/bare"))).message).toMatch(/no config\.json/);
    expect((await refusal(resolve("tiny/nowhere"))).message).toMatch(/no such model or revision/);
    expect((await refusal(resolve("tiny/t5@v9"))).message).toMatch(/no such model or revision/);
    const denied = await refusal(resolve("tiny/secret", { token: "hf_wrong" }));
    expect(denied.message).toMatch(/denies access[\s\S]*401/);
    expect(denied.message).not.toContain("hf_wrong");
  });
  test.each(["../up", "a/b/c", "/abs/none", "a b", "a--b", "-x", "x/..", "tiny/t5@../x", "tiny/t5@", "C:\\x"])(
    "%j as a name",
    async (name) => {
      expect(["checkpoint", "usage"]).toContain((await refusal(resolve(name))).kind);
      expect(hub.log).toEqual([]);
    },
  );
  test.each([
    ["a commit that is a path", "/revision/", { _id: "1", id: "x", sha: "../../x" }],
    ["a listing that is no list", "/tree/", { a: 1 }],
    ["a digest that is a path", "/tree/", [{ type: "file", path: "config.json", size: 5, oid: "../../../../x" }]],
    ["a negative size", "/tree/", [{ type: "file", path: "config.json", size: -5, oid: "0".repeat(40) }]],
    ["an empty file", "/tree/", [{ type: "file", path: "config.json", size: 0, oid: "0".repeat(40) }]],
    ["a null entry", "/tree/", [null]],
  ])("%s", async (_, path, body) => {
    hub.intercept = (request, response) => {
      if (!request.url!.includes(path)) return false;
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
      return true;
    };
    expect((await refusal(resolve("tiny/t5"))).kind).toBe("network");
  });
  test("a web page where the API should be, a listing that never ends, one that leads elsewhere", async () => {
    const listing =
      (link: string) =>
      (request: { url?: string }, response: { writeHead: (s: number, h: object) => { end: (b: string) => void } }) => {
        if (!request.url!.includes("/tree/")) return false;
        response.writeHead(200, { "content-type": "application/json", link: `<${link}>; rel="next"` }).end("[]");
        return true;
      };
    hub.intercept = (_, response) => {
      response.end("<html>");
      return true;
    };
    expect((await refusal(resolve("tiny/t5"))).message).toMatch(/captive portal/);
    hub.intercept = listing(`${hub.url}/api/models/tiny/t5/tree/x`) as never;
    expect((await refusal(resolve("tiny/t5"))).message).toMatch(/does not end/);
    hub.intercept = listing("http://localhost:1/tree/") as never;
    expect((await refusal(resolve("tiny/t5"))).message).toMatch(/another host/);
  });
  test("hostile names in the listing are never written", async () => {
    const { folder } = await resolve("tiny/hostile");
    expect(readdirSync(folder).sort()).toEqual(["config.json", "model.safetensors"]);
    expect(downloads().every((l) => /resolve\/[0-9a-f]{40}\/(config\.json|model\.safetensors)( |$)/.test(l))).toBe(
      true,
    );
    expect(existsSync(join(cacheDir, "x"))).toBe(false);
  });
});

describe("offline and unreachable", () => {
  test("offline finds what is there, and says plainly what is not", async () => {
    const { folder, commit } = await resolve("tiny/t5");
    hub.log.length = 0;
    expect((await resolve("tiny/t5", { offline: true })).folder).toBe(folder);
    expect((await resolve("tiny/t5", { env: { HF_HUB_OFFLINE: "1" } })).commit).toBe(commit);
    const missing = await refusal(resolve("tiny/sharded", { offline: true }));
    expect(missing.kind).toBe("network");
    expect(missing.message).toMatch(/not in the local cache[\s\S]*this revision/);
    rmSync(join(folder, "model.safetensors"));
    expect((await refusal(resolve("tiny/t5", { offline: true }))).message).toMatch(/without model\.safetensors/);
    expect(hub.log).toEqual([]);
  });
  test("an unreachable hub: the cache with a warning, else an error; a failing one likewise", async () => {
    const { folder } = await resolve("tiny/t5");
    const cached = await resolve("tiny/t5", { hubUrl: "http://127.0.0.1:9" });
    expect(cached.folder).toBe(folder);
    expect(cached.warnings.join()).toMatch(/cannot be reached; using the cached/);
    expect((await refusal(resolve("plain-t5", { hubUrl: "http://127.0.0.1:9" }))).kind).toBe("network");
    hub.intercept = (_, response) => {
      response.writeHead(503).end();
      return true;
    };
    expect((await resolve("tiny/t5")).warnings).toHaveLength(1);
  });
});

describe("environment", () => {
  test("HF_ENDPOINT, HF_TOKEN and the token file; the token never leaves the hub", async () => {
    const env = { HF_HOME: cacheDir, HF_ENDPOINT: hub.url, HF_TOKEN: "hf_secret" };
    await resolveModel("tiny/secret", { env });
    expect(existsSync(join(cacheDir, "hub", "models--tiny--secret"))).toBe(true);
    expect(hub.log.filter((l) => l.endsWith("@hub")).every((l) => l.includes(" auth"))).toBe(true);
    const stored = hub.log.filter((l) => l.endsWith("@cdn"));
    expect(stored.length).toBeGreaterThan(0);
    expect(stored.some((l) => l.includes(" auth"))).toBe(false);
    writeFileSync(join(cacheDir, "token"), "hf_from_file\n");
    expect(await hubToken({ HF_HOME: cacheDir })).toBe("hf_from_file");
    expect(await hubToken({ HF_HOME: cacheDir, HF_TOKEN: "hf_env" })).toBe("hf_env");
    expect(await hubToken({ HF_HOME: join(cacheDir, "none") })).toBeUndefined();
  });
  test("where the cache lies", () => {
    expect(hubCacheFolder({ HF_HUB_CACHE: "/a" })).toBe("/a");
    expect(hubCacheFolder({ HF_HOME: "/b" })).toBe(join("/b", "hub"));
    expect(hubCacheFolder({ XDG_CACHE_HOME: "/c" })).toBe(join("/c", "huggingface", "hub"));
  });
});
