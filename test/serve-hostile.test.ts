/**
 * @file Requests that softprompt serve refuses: wrong tokens and names, web pages, tricks of paths, bodies and headers, slow clients.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hostName, isLoopback } from "../src/serve/guard.js";
import { routesOf } from "../src/serve/routes.js";
import { errorResponse } from "../src/serve/schemas.js";
import { openServer, type Server } from "../src/serve/server.js";
import { ask, plain, promptAdapter, raw, saved, startServer } from "./helpers/serve.js";

const folder = saved(promptAdapter(null, { tokens: 3, seed: 1 }));
let server: Server;
beforeAll(async () => {
  server = await startServer({
    adapters: { plain: folder },
    maxBody: 64,
    corsOrigin: ["http://localhost:3000"],
    allowedHost: ["proxy.example"],
    sockets: { headers: 0.6, request: 1.2, stalled: 0.5 },
  });
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const bearer = () => ({ authorization: `Bearer ${server.token}` });
const good = JSON.stringify({ model: "t5-nano", prompt: "a", max_tokens: 1 });
const post = (headers: Record<string, string>, body = good, path = "/v1/completions") =>
  plain(server, { path, method: "POST", headers, body });
const json = { "content-type": "application/json" };
/** Every failure has OpenAI's form. */
const errorOf = (text: string) => errorResponse.strict().parse(JSON.parse(text)).error;

test("a request in order is answered", async () => {
  expect((await post({ ...bearer(), ...json })).status).toBe(200);
});

describe("tokens", () => {
  test("every route but /health asks for one, and says how", async () => {
    const routes = routesOf({ maxRows: 1, maxTokens: 1 }, () => ({}));
    expect(routes.length).toBeGreaterThan(7);
    for (const { method, path, open } of routes) {
      const asked = {
        path: path.replace("{id}", "t5-nano"),
        method: method.toUpperCase(),
        headers: json,
        body: method === "post" ? good : "",
      };
      const { status, text, headers } = await plain(server, asked);
      expect([path, status]).toEqual([path, open ? 200 : 401]);
      if (open) continue;
      expect(headers["www-authenticate"]).toBe("Bearer");
      expect(errorOf(text).code).toBe("invalid_api_key");
    }
  });
  test.each(["", "Bearer", "Bearer ", "Bearer wrong", "Basic abc", "Bearer undefined", "bearer null"])(
    "%j is not right",
    async (authorization) => {
      expect((await plain(server, { path: "/v1/models", headers: { authorization } })).status).toBe(401);
    },
  );
  test("neither is a part of it, more than it, or it in a place where it would be logged", async () => {
    for (const authorization of [`Bearer ${server.token!.slice(0, -1)}`, `Bearer ${server.token}x`, server.token!])
      expect((await plain(server, { path: "/v1/models", headers: { authorization } })).status).toBe(401);
    expect((await plain(server, { path: `/v1/models?token=${server.token}&api_key=${server.token}` })).status).toBe(
      401,
    );
  });
  test("unknown paths ask for it first", async () => {
    for (const path of ["/", "/v2/models", "/invocations", "/v1", "/admin", "/.env"])
      expect((await plain(server, { path })).status).toBe(401);
    const { status, text } = await plain(server, { path: "/v2/models", headers: bearer() });
    expect([status, errorOf(text).code]).toEqual([404, "not_found"]);
  });
});

describe("web pages", () => {
  test.each([
    "evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "",
    "a b",
    "[::1",
    "192.168.1.5",
    "2130706433",
  ])("Host %j is none of ours, with the right token too", async (host) => {
    for (const path of ["/health", "/v1/models", "/nothing"]) {
      const answer = await raw(
        server,
        `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${server.token}\r\nConnection: close\r\n\r\n`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 40[03] /);
      errorOf(answer.split("\r\n\r\n")[1]!);
    }
  });
  test.each(["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:80", "proxy.example"])(
    "Host %j is ours",
    async (host) => {
      expect((await plain(server, { path: "/health", headers: { host } })).status).toBe(200);
    },
  );
  test("a host in the request's target does not stand for one in its head", async () => {
    const answer = await raw(
      server,
      `GET http://localhost/v1/models HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer ${server.token}\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 40[03] /);
    const none = await raw(server, `GET /health HTTP/1.1\r\nConnection: close\r\n\r\n`);
    expect(none).toMatch(/^HTTP\/1\.1 400 /);
  });
  test("origins that were not allowed are refused before any work; the others may ask", async () => {
    for (const origin of [
      "http://evil.example",
      "null",
      "http://localhost:3001",
      "http://localhost:3000.evil.example",
      server.url,
    ])
      expect((await post({ ...bearer(), ...json, origin })).status).toBe(403);
    const allowed = await post({ ...bearer(), ...json, origin: "http://localhost:3000" });
    expect([allowed.status, allowed.headers["access-control-allow-origin"]]).toEqual([200, "http://localhost:3000"]);
    // a client in a page reads from these whether to ask again; on a failure too
    const wrong = await post({ ...bearer(), ...json, origin: "http://localhost:3000" }, "{}");
    for (const { headers } of [allowed, wrong])
      expect(headers["access-control-expose-headers"]).toBe("Retry-After, x-should-retry");
    const before = await plain(server, {
      path: "/v1/completions",
      method: "OPTIONS",
      headers: { origin: "http://localhost:3000", "access-control-request-headers": "authorization" },
    });
    expect([before.status, before.headers["access-control-allow-headers"]]).toEqual([204, "authorization"]);
    expect((await plain(server, { path: "/v1/completions", method: "OPTIONS" })).status).toBe(401);
    const without = await post({ ...bearer(), ...json });
    expect(without.headers["access-control-allow-origin"]).toBeUndefined();
  });
  test.each([
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "",
    "application/jsonx",
    "text/json",
    "application/json; charset=utf-16",
  ])("a body of type %j, which a page may send unasked, is refused", async (type) => {
    const { status, text } = await post({ ...bearer(), ...(type === "" ? {} : { "content-type": type }) });
    expect([status, errorOf(text).code]).toEqual([415, "unsupported_media_type"]);
  });
  test("names are read strictly", () => {
    expect(
      ["[::1]:80", "localhost", "a.b:65535", "user@localhost", "localhost:", "local host", undefined].map(hostName),
    ).toEqual(["::1", "localhost", "a.b", null, null, null, null]);
    expect(["127.0.0.1", "::1", "localhost", "127.9.9.9"].every(isLoopback)).toBe(true);
    expect(["0.0.0.0", "::", "127.evil.example", "10.0.0.1"].some(isLoopback)).toBe(false);
  });
});

describe("bodies", () => {
  test.each([
    ["{", /JSON/],
    ["", /JSON/],
    ["null", /object/],
    ['{"model":"t5-nano","model":"x","prompt":"a"}', /twice/],
    [`${"[".repeat(5000)}`, /nested/],
    [`{"model":"t5-nano","prompt":"a","x":${"[".repeat(20)}${"]".repeat(20)}}`, /nested/],
    ['{"model":"t5-nano","prompt":NaN}', /JSON/],
    ['{"__proto__":{"model":"t5-nano"},"prompt":"a"}', /__proto__/],
    ['{"model":"t5-nano","prompt":"a","x":{"\\u005f_proto__":1}}', /__proto__/],
  ] as const)("%j", async (body, message) => {
    const { status, text } = await post({ ...bearer(), ...json }, body);
    expect(status).toBe(400);
    expect(errorOf(text).message).toMatch(message);
    expect(({} as { model?: unknown }).model).toBeUndefined();
  });
  test("keys that objects inherit are fields like others", async () => {
    const odd =
      '{"model":"t5-nano","prompt":"a","max_tokens":1,"constructor":{"prototype":{"x":1}},"toString":1,"hasOwnProperty":null}';
    expect((await post({ ...bearer(), ...json }, odd)).status).toBe(200);
  });
  test("what is not UTF-8, compressed, too large, with a length or without", async () => {
    const bytes = await raw(
      server,
      `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${server.token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\xff\xfe`,
    );
    expect(bytes).toMatch(/^HTTP\/1\.1 400 /);
    expect((await post({ ...bearer(), ...json, "content-encoding": "gzip" })).status).toBe(415);
    const large = JSON.stringify({ model: "t5-nano", prompt: "a".repeat(70_000) });
    const known = await post({ ...bearer(), ...json, "content-length": String(large.length) }, large);
    expect([known.status, errorOf(known.text).code]).toEqual([413, "request_too_large"]);
    const chunked = await post({ ...bearer(), ...json, "transfer-encoding": "chunked" }, large);
    expect([chunked.status, errorOf(chunked.text).code]).toEqual([413, "request_too_large"]);
    const lied = await raw(
      server,
      `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${server.token}\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{`,
    );
    expect(lied).toMatch(/^HTTP\/1\.1 413 /);
  });
  test("lengths that contradict each other (request smuggling)", async () => {
    const head = `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${server.token}\r\nContent-Type: application/json\r\n`;
    for (const lengths of [
      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
      "Content-Length: 5\r\nContent-Length: 6\r\n",
      "Transfer-Encoding: chunked, identity\r\n",
      "Content-Length: -1\r\n",
      "Transfer-Encoding : chunked\r\n",
    ]) {
      const answer = await raw(server, `${head}${lengths}\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1\.1 400 /);
      expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
      errorOf(answer.split("\r\n\r\n")[1]!);
    }
  });
});

describe("paths and methods", () => {
  test.each([
    "/v1/../metrics",
    "/health/../metrics",
    "//metrics",
    "/%6detrics",
    "/metrics/",
    "/METRICS",
    "/health%2f..%2fmetrics",
    "/health;/metrics",
    "/health%00",
    "/metrics?/health",
    "/.//metrics",
    "/v1/models/..%2f..%2fmetrics",
    "/metrics#/health",
    "/health/x",
  ])("%s tells nothing without a token", async (path) => {
    const answer = await raw(server, `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 (400|401|404) /);
    expect(answer).not.toContain("softprompt_");
    errorOf(answer.split("\r\n\r\n")[1]!);
  });
  test.each(["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "%ff", "t5-nano%2fplain", "t5-nano:../plain"])(
    "no model is %s",
    async (id) => {
      const { status, text } = await plain(server, { path: `/v1/models/${id}`, headers: bearer() });
      expect([400, 404]).toContain(status);
      errorOf(text);
    },
  );
  test("other methods of a path are told which there are", async () => {
    for (const [method, path, allow] of [
      ["GET", "/v1/completions", "POST"],
      ["POST", "/v1/models", "GET"],
      ["DELETE", "/v1/models/t5-nano", "GET"],
      ["PUT", "/metrics", "GET"],
      ["PATCH", "/v1/predict", "POST"],
    ] as const) {
      const { status, headers, text } = await plain(server, { path, method, headers: bearer() });
      expect([status, headers.allow, errorOf(text).code]).toEqual([405, allow, "method_not_allowed"]);
    }
    for (const method of ["TRACE", "CONNECT"]) {
      const answer = await raw(server, `${method} /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
    }
    const upgrade = await raw(
      server,
      "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    expect(upgrade).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe("headers and slow clients", () => {
  test("headers that are too large, too broken, of another protocol", async () => {
    const large = await raw(server, `GET /health HTTP/1.1\r\nHost: localhost\r\nX: ${"a".repeat(20_000)}\r\n\r\n`);
    expect(large).toMatch(/^HTTP\/1\.1 431 /);
    errorOf(large.split("\r\n\r\n")[1]!);
    for (const text of [
      "GET\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\x00",
      "GET /health HTTP/9.9\r\n\r\n",
      "GET /health HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
    ]) {
      const answer = await raw(server, text);
      expect(answer).toMatch(/^HTTP\/1\.1 400 /);
      errorOf(answer.split("\r\n\r\n")[1]!);
    }
  });
  test("headers that never end, and a body that never ends", async () => {
    const slow = await raw(server, "GET /health HTTP/1.1\r\nHost: localhost\r\n", [[300, "X: a\r\n"]]);
    expect(slow).toMatch(/^HTTP\/1\.1 408 /);
    errorOf(slow.split("\r\n\r\n")[1]!);
    const body = await raw(
      server,
      `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${server.token}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`,
      [
        [300, " "],
        [600, " "],
        [900, " "],
      ],
    );
    expect(body).toMatch(/^HTTP\/1\.1 408 /);
    expect((await ask(server, "/health")).status).toBe(200);
  });
  test("many who connect and say nothing do not keep others out", async () => {
    const silent = Array.from({ length: 100 }, () => raw(server, "G"));
    expect((await post({ ...bearer(), ...json })).status).toBe(200);
    for (const answer of await Promise.all(silent)) expect(answer).toMatch(/^(HTTP\/1\.1 408 |$)/);
  });
});

describe("what a server is opened with", () => {
  const place = mkdtempSync(join(tmpdir(), "softprompt-token-"));
  afterAll(() => rmSync(place, { recursive: true }));
  const file = (name: string, text: string) => {
    writeFileSync(join(place, name), text);
    return join(place, name);
  };
  test.each([
    ["a public address without a token of one's own", { host: "0.0.0.0" }],
    ["all addresses of IPv6", { host: "::" }],
    ["no token on a public address", { host: "0.0.0.0", token: false }],
    ["a token file that is not there", { tokenFile: join(place, "nothing") }],
    ["a short token", { token: "short" }],
    ["an origin that is none", { corsOrigin: ["*"] }],
    ["a name with a slash", { adapters: { "a/b": folder } }],
    ["a name that climbs", { adapters: { "../x": folder } }],
    ["an option that is none", { prot: 1 } as object],
  ])("%s is refused before the model is opened", async (_, input) => {
    await expect(openServer({ model: "no-such-model-here", port: 0, ...input })).rejects.toMatchObject({
      kind: "usage",
    });
  });
  test("a token file is one line, and both ways at once are refused", async () => {
    await expect(
      openServer({ model: "x", tokenFile: file("two", "first-token-of-two\nsecond-token-of-two\n") }),
    ).rejects.toMatchObject({ kind: "usage" });
    await expect(
      openServer({ model: "x", token: false, tokenFile: file("one", "0123456789abcdef\n") }),
    ).rejects.toMatchObject({ kind: "usage" });
  });
  test("a public address with one's own token, and a local one without", async () => {
    await using open = await startServer({ host: "0.0.0.0", tokenFile: file("own", "0123456789abcdef\n") });
    const at = { host: "127.0.0.1", port: open.port };
    const headers = { authorization: "Bearer 0123456789abcdef" };
    expect((await plain(at, { path: "/v1/models", headers })).status).toBe(200);
    expect((await plain(at, { path: "/v1/models", headers: { ...headers, host: "192.168.1.5:80" } })).status).toBe(200);
    expect((await plain(at, { path: "/v1/models", headers: { ...headers, host: "evil.example" } })).status).toBe(403);
    await using free = await startServer({ token: false });
    expect(free.token).toBeNull();
    expect((await ask(free, "/v1/models")).status).toBe(200);
    expect((await plain(free, { path: "/v1/models", headers: { origin: "http://evil.example" } })).status).toBe(403);
  });
  test("a port that is taken, a model and an adapter that are not there: said, and nothing is left running", async () => {
    await expect(startServer({ port: server.port })).rejects.toMatchObject({ kind: "usage" });
    await expect(startServer({ model: "./no-such-folder" })).rejects.toThrow();
    await expect(startServer({ adapters: { x: "./no-such-folder" } })).rejects.toMatchObject({ kind: "adapter" });
    const stop = new AbortController();
    const opening = startServer({ signal: stop.signal });
    stop.abort("SIGTERM");
    await expect(opening).rejects.toMatchObject({ kind: "interrupted" });
  });
});
