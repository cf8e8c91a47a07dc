import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { commitOf, type HubRepo, type HubServer, openHubServer } from "../../test/helpers/hub-server.js";
import { cacheFolder } from "../base/digest.js";
import { SoftpromptError } from "../base/errors.js";
import { openCheckpoint } from "../model/checkpoint.js";
import { hubCacheFolder, hubToken } from "./cache.js";
import { type HubOptions, type HubProgress, resolveModel } from "./hub.js";
import { connectionFailure, proxiesOf } from "./web.js";

const fixture = (name: string) => fileURLToPath(new URL(`../../test/fixtures/${name}`, import.meta.url));
const filesOf = (name: string) =>
  Object.fromEntries(
    readdirSync(fixture(name)).map((file) => [file, new Uint8Array(readFileSync(join(fixture(name), file)))]),
  );
const whole = filesOf("tiny-t5-v10");
const without = (...names: string[]) => Object.fromEntries(Object.entries(whole).filter(([n]) => !names.includes(n)));

const conversion = {
  ...{ title: "Adding `safetensors` variant of this model", isPullRequest: true, status: "open" },
  author: { name: "SFconvertbot" },
};
const repos: Record<string, HubRepo> = {
  "tiny/t5": {
    files: { ...whole, "spiece.model": Buffer.from("pieces"), "README.md": Buffer.from("#") },
    refs: ["refs/pr/1"],
  },
  "plain-t5": { files: whole },
  "tiny/sharded": { files: filesOf("tiny-t5-flan-sharded") },
  "tiny/pickled": { files: { ...without("model.safetensors"), "pytorch_model.bin": Buffer.from("pickle") } },
  "tiny/bot": {
    files: { ...without("model.safetensors"), "pytorch_model.bin": Buffer.from("pickle") },
    pulls: { "refs/pr/7": whole },
    discussions: [
      // anybody can write the title; only the bot's is taken, and only while it is open
      { ...conversion, num: 2, author: { name: "other" } },
      { ...conversion, num: 3, status: "closed" },
      { ...conversion, num: 4, isPullRequest: false },
      { ...conversion, num: 5, title: "Other weights" },
      { ...conversion, num: "6" },
      [],
      { ...conversion, num: 7 },
    ],
  },
  "tiny/other-author": {
    files: { ...without("model.safetensors"), "pytorch_model.bin": Buffer.from("pickle") },
    pulls: { "refs/pr/1": whole },
    discussions: [{ ...conversion, num: 1, author: { name: "other" } }],
  },
  "tiny/gguf": {
    files: { "m.Q4_1.gguf": new Uint8Array(readFileSync(fixture("gguf/gpt2.gguf"))), "README.md": Buffer.from("#") },
    lfs: (file) => file.endsWith(".gguf"),
  },
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
      sendUntil(40_000, request, response, () => stop.abort("SIGTERM"));
      return true;
    };
    const error = await refusal(resolve("tiny/t5", { signal: stop.signal, onProgress }));
    expect(error).toMatchObject({ kind: "interrupted", exitCode: 143, cause: "SIGTERM" });
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
    expect(error.message).toMatch(/no safetensors[\s\S]*Models that load: t5-small, google\/flan-t5-small/);
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
    expect(cached.warnings.join()).toMatch(/cannot be reached: the connection failed[^;]*; using the cached/);
    expect((await refusal(resolve("plain-t5", { hubUrl: "http://127.0.0.1:9" }))).kind).toBe("network");
    hub.intercept = (_, response) => {
      response.writeHead(503).end();
      return true;
    };
    expect((await resolve("tiny/t5")).warnings.join()).toMatch(/the hub failed \(status 503\); using the cached/);
  });
});

describe("the hub's own copy", () => {
  test("of a repository of pickles is found among its pull requests, taken, told; and again without the hub", async () => {
    const { folder, name, commit, warnings } = await resolve("tiny/bot");
    expect(commit).toBe(commitOf("tiny/botrefs/pr/7"));
    expect(name).toBe(`tiny/bot@${commit}`);
    expect(warnings).toEqual(["tiny/bot has no safetensors on main; using the hub's converted copy of it, refs/pr/7"]);
    expect((await openCheckpoint(folder)).parameters).toBeGreaterThan(0);
    expect(downloads().some((l) => l.includes("pytorch_model"))).toBe(false);
    const offline = await resolve("tiny/bot", { offline: true });
    expect([offline.folder, offline.warnings]).toEqual([folder, warnings]);
    const unreachable = await resolve("tiny/bot", { hubUrl: "http://127.0.0.1:9" });
    expect(unreachable.folder).toBe(folder);
    expect(unreachable.warnings).toHaveLength(2);
  });
  test("another account's pull request is not taken, whatever its title; nor one where a revision was asked for", async () => {
    const error = await refusal(resolve("tiny/other-author"));
    expect([error.kind, error.problem]).toEqual(["checkpoint", "this repository holds no safetensors weights"]);
    expect((await refusal(resolve(`tiny/bot@${commitOf("tiny/bot")}`))).kind).toBe("checkpoint");
    expect(downloads()).toEqual([]);
    // one that the user named himself stands in for nothing but itself
    await resolve("tiny/other-author@refs/pr/1");
    expect((await resolve("tiny/other-author@refs/pr/1", { offline: true })).warnings).toEqual([]);
    expect((await refusal(resolve("tiny/other-author", { offline: true }))).message).toMatch(/not in the local cache/);
  });
  test("a hub without discussions", async () => {
    hub.intercept = (request, response) => {
      if (!request.url!.includes("/discussions")) return false;
      response.writeHead(403).end();
      return true;
    };
    expect((await refusal(resolve("tiny/bot"))).message).toMatch(/holds no safetensors/);
  });
});

describe("a GGUF file of a repository", () => {
  test("is fetched alone, by its name; its place is the file", async () => {
    const { folder, name } = await resolve("tiny/gguf/m.Q4_1.gguf");
    expect(name).toBe(`tiny/gguf/m.Q4_1.gguf@${commitOf("tiny/gguf")}`);
    expect(readFileSync(folder)).toEqual(Buffer.from(repos["tiny/gguf"]!.files["m.Q4_1.gguf"]!));
    expect(downloads().every((l) => l.includes("m.Q4_1.gguf"))).toBe(true);
    expect((await resolve("tiny/gguf/m.Q4_1.gguf@main", { offline: true })).folder).toBe(folder);
  });
  test("that is not there, and a repository that holds nothing else: the files are named", async () => {
    expect((await refusal(resolve("tiny/gguf/none.gguf"))).message).toMatch(/no such file[\s\S]*m\.Q4_1\.gguf/);
    expect((await refusal(resolve("tiny/gguf"))).message).toMatch(/name one, e\.g\. tiny\/gguf\/m\.Q4_1\.gguf/);
    expect((await refusal(resolve("tiny/gguf/m.Q4_1.gguf", { offline: true }))).message).toMatch(
      /not in the local cache/,
    );
    expect((await refusal(resolve("tiny/gguf/../x.gguf"))).kind).toBe("checkpoint");
  });
});

describe("what stands in the way is told apart", () => {
  const answer =
    (where: string, status: number, headers: Record<string, string> = {}, body = "") =>
    (request: IncomingMessage, response: ServerResponse) => {
      if (!request.url!.includes(where)) return false;
      response.writeHead(status, headers).end(body);
      return true;
    };
  test.each(["/api/", "/resolve/"])("too many requests and a failing hub, under %s", async (where) => {
    hub.intercept = answer(where, 429, { "retry-after": "90" });
    const many = await refusal(resolve("tiny/t5"));
    expect(many.kind).toBe("network");
    expect(many.message).toMatch(/too many requests \(status 429\)[\s\S]*try again in 90 s; HF_TOKEN raises the limit/);
    // it asked for more patience than a command has: one request, no more
    expect(hub.log.filter((l) => l.includes(where))).toHaveLength(1);
    hub.intercept = answer(where, 500);
    expect((await refusal(resolve("tiny/t5"))).message).toMatch(/the hub failed \(status 500\)[\s\S]*on its side/);
  });
  test("a short Retry-After is waited for", async () => {
    let answers = 0;
    hub.intercept = (request, response) => {
      if (!request.url!.includes("/resolve/") || answers++ > 0) return false;
      response.writeHead(429, { "retry-after": "0" }).end();
      return true;
    };
    await resolve("tiny/t5");
    expect(answers).toBeGreaterThan(1);
  });
  test("a web page in place of a file: refused at the first, nothing of it is kept", async () => {
    const page = { "content-type": "text/html; charset=utf-8" };
    hub.intercept = answer("/resolve/", 200, page, "<html>please log in</html>");
    const error = await refusal(resolve("tiny/t5"));
    expect(error.message).toMatch(/web page \(text\/html\) in place of the file[\s\S]*login may stand between/);
    expect(downloads()).toHaveLength(1);
    expect(readdirSync(join(cacheDir, "models--tiny--t5", "blobs"))).toEqual([]);
    hub.intercept = answer("/api/", 200, page, "<html>please log in</html>");
    expect((await refusal(resolve("tiny/t5"))).message).toMatch(/a web page[\s\S]*captive portal/);
  });
  test("a certificate that nobody signed, a name that nobody knows", async () => {
    const coded = (code: string) =>
      Object.assign(new TypeError("fetch failed"), { cause: Object.assign(new Error(code), { code }) });
    expect(connectionFailure(coded("SELF_SIGNED_CERT_IN_CHAIN"), {})).toMatchObject({
      ...{ final: true, problem: expect.stringContaining("certificate is not trusted (SELF_SIGNED_CERT_IN_CHAIN)") },
      hint: expect.stringContaining("NODE_EXTRA_CA_CERTS"),
    });
    expect(connectionFailure(coded("ENOTFOUND"), {}).problem).toMatch(/name is not known/);
    expect(connectionFailure(coded("UND_ERR_CONNECT_TIMEOUT"), {}).problem).toMatch(/did not answer in time/);
    expect(connectionFailure(coded("ECONNREFUSED"), {}).problem).toBe("the connection failed (ECONNREFUSED)");
    const behind = connectionFailure(coded("ECONNREFUSED"), { HTTPS_PROXY: "http://me:secret@proxy:3128" });
    expect(behind.hint).toContain("the proxy http://proxy:3128 is used");
    expect(behind.hint).not.toContain("secret");
  });
});

describe("a proxy", () => {
  test("of the environment is used, for API and files; NO_PROXY goes past it", async () => {
    const tunnels: string[] = [];
    const proxy = createServer((_, response) => void response.writeHead(400).end());
    proxy.on("connect", (request, client: Socket) => {
      tunnels.push(request.url!);
      const [host, port] = request.url!.split(":");
      const server = connect(Number(port), host, () => {
        client.write("HTTP/1.1 200 Connection established\r\n\r\n");
        server.pipe(client).pipe(server);
      });
      for (const end of [client, server]) end.on("error", () => client.destroy());
    });
    await new Promise<void>((done) => proxy.listen(0, "127.0.0.1", done));
    const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    try {
      for (const [n, name] of ["HTTP_PROXY", "http_proxy", "ALL_PROXY"].entries()) {
        tunnels.length = 0;
        const env = { HF_HOME: cacheDir, [name]: address };
        const { folder } = await resolve(["tiny/t5", "plain-t5", "tiny/sharded"][n]!, { env });
        expect((await openCheckpoint(folder)).parameters).toBeGreaterThan(0);
        expect(new Set(tunnels)).toContain(new URL(hub.url).host);
        expect([...tunnels].some((t) => t.startsWith("localhost:"))).toBe(true); // the storage it redirects to
      }
      tunnels.length = 0;
      rmSync(cacheDir, { recursive: true });
      await resolve("tiny/t5", { env: { HF_HOME: cacheDir, HTTP_PROXY: address, NO_PROXY: "127.0.0.1,localhost" } });
      expect(tunnels).toEqual([]);
    } finally {
      proxy.closeAllConnections();
      proxy.close();
    }
  });
  test("that is no URL, or is not there: named, without its password", async () => {
    const env = { HF_HOME: cacheDir, HTTP_PROXY: "http://me:secret@127.0.0.1:9" };
    const gone = await refusal(resolve("tiny/t5", { env }));
    expect(gone.message).toMatch(/cannot be reached[\s\S]*the proxy http:\/\/127\.0\.0\.1:9 is used/);
    expect(gone.message).not.toContain("secret");
    const odd = await refusal(resolve("tiny/t5", { env: { HF_HOME: cacheDir, HTTPS_PROXY: "me:secret" } }));
    expect(odd.message).toMatch(/the proxy of the environment cannot be used/);
    expect(`${odd.message}${odd.stack}`).not.toContain("secret");
    expect(proxiesOf({ HTTPS_PROXY: "proxy:3128" })).toEqual({
      httpProxy: "",
      httpsProxy: "http://proxy:3128",
      noProxy: "",
    });
  });
});

describe("secrets", () => {
  test.each(["hf_SECRET\nabc", "hf_SECRET abc", "hf_SECRET\u0000", "hf_SECRETé"])(
    "a token %j is refused and not shown",
    async (token) => {
      for (const options of [{ token }, { env: { HF_HOME: cacheDir, HF_TOKEN: token } }]) {
        const error = await refusal(resolve("tiny/t5", options));
        expect(error.kind).toBe("usage");
        expect(error.message).toMatch(/holds a character that no token has/);
        expect(`${error.message}${error.stack}${String(error.cause)}`).not.toContain("SECRET");
      }
      writeFileSync(join(cacheDir, "token"), token);
      const kept = await refusal(resolve("tiny/t5"));
      expect(`${kept.message}${kept.stack}`).not.toContain("SECRET");
      expect(hub.log).toEqual([]);
    },
  );
  test("a line break at the token's end is none of it", async () => {
    const env = { HF_HOME: cacheDir, HF_TOKEN: "hf_secret\r\n" };
    expect((await resolve("tiny/secret", { env })).commit).toBe(commitOf("tiny/secret"));
  });
  test.each(["http://me:SECRET@127.0.0.1:9", "https://SECRET@hub", "me:SECRET@hub", "SECRET", "ftp://me:SECRET@hub"])(
    "HF_ENDPOINT %s is refused and its password not shown",
    async (address) => {
      const error = await refusal(resolveModel("tiny/t5", { env: { HF_HOME: cacheDir, HF_ENDPOINT: address } }));
      expect(error.kind).toBe("usage");
      expect(error.message).toContain("HF_ENDPOINT");
      expect(`${error.message}${error.stack}`).not.toContain("SECRET");
    },
  );
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
  test("~ and variables are expanded as huggingface_hub does, wherever a path is named", async () => {
    const env = { HOME: "/home/me", DATA: "/data" };
    const braced = (name: string, after: string, before = "") => `${before}$${`{${name}}`}${after}`;
    expect(hubCacheFolder({ ...env, HF_HOME: "~/hf" })).toBe(join("/home/me", "hf", "hub"));
    expect(hubCacheFolder({ ...env, HF_HOME: "$DATA/hf" })).toBe(join("/data", "hf", "hub"));
    expect(hubCacheFolder({ ...env, HF_HUB_CACHE: braced("HOME", "/c") })).toBe("/home/me/c");
    expect(hubCacheFolder({ ...env, XDG_CACHE_HOME: "~" })).toBe(join("/home/me", "huggingface", "hub"));
    expect(hubCacheFolder({ ...env, HF_HUB_CACHE: braced("NONE", "", "/x/~/$NONE/") })).toBe(
      braced("NONE", "", "/x/~/$NONE/"),
    );
    expect(cacheFolder({ ...env, SOFTPROMPT_CACHE: "$DATA/s" })).toBe("/data/s");
    writeFileSync(join(cacheDir, "t"), "hf_file");
    expect(await hubToken({ PLACE: cacheDir, HF_TOKEN_PATH: "$PLACE/t" })).toBe("hf_file");
  });
  test("where the cache lies", () => {
    expect(hubCacheFolder({ HF_HUB_CACHE: "/a" })).toBe("/a");
    expect(hubCacheFolder({ HF_HOME: "/b" })).toBe(join("/b", "hub"));
    expect(hubCacheFolder({ XDG_CACHE_HOME: "/c" })).toBe(join("/c", "huggingface", "hub"));
  });
});
