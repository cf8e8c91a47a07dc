/**
 * @file A hub on this machine: speaks the paths of the Hugging Face hub's API as far as fetching a model needs them, and can misbehave on request.
 *
 * api/models/ID/revision/REV · api/models/ID/discussions · api/models/ID/tree/COMMIT (in pages, `Link: next`) · ID/resolve/COMMIT/FILE: small files served at once,
 * large ones by redirect to another host name ("cdn"), with ETag, X-Repo-Commit, X-Linked-Etag, X-Linked-Size and Range.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface HubRepo {
  files: Record<string, Uint8Array>;
  /** Files kept as LFS: sha256 instead of git's blob id, and a redirect. Default all *.safetensors. */
  lfs?: (file: string) => boolean;
  /** Only with this token. */
  token?: string;
  /** Branches and tags besides "main". */
  refs?: string[];
  /** Files of pull requests, by ref; each has a commit of its own. */
  pulls?: Record<string, Record<string, Uint8Array>>;
  /** What the discussions API lists. */
  discussions?: object[];
}

export interface HubServer {
  readonly url: string;
  /** Every request so far: method-less "path range=… auth=yes|no host=hub|cdn". */
  readonly log: string[];
  /** Gets each request first; true means it has answered. */
  intercept: ((request: IncomingMessage, response: ServerResponse) => boolean) | null;
  close(): Promise<void>;
}

export const commitOf = (id: string) => createHash("sha1").update(id).digest("hex");

export async function openHubServer(repos: Record<string, HubRepo>): Promise<HubServer> {
  const log: string[] = [];
  const server = createServer((request, response) => {
    const { range, authorization, host } = request.headers;
    const path = decodeURIComponent(request.url!.split("?")[0]!);
    // the same server under two names: 127.0.0.1 is the hub, localhost the storage it redirects to
    const name = host!.startsWith("127.") ? "hub" : "cdn";
    log.push(`${path}${range ? ` ${range}` : ""}${authorization ? " auth" : ""} @${name}`);
    if (hub.intercept?.(request, response)) return;
    answer(path, request, response, name);
  });
  const send = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) =>
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));

  function answer(path: string, request: IncomingMessage, response: ServerResponse, name: string): void {
    const found = Object.entries(repos).find(([id]) => path.includes(`/${id}/`));
    if (!found) return void send(response, 404, { error: "Repository not found" }, { "x-error-code": "RepoNotFound" });
    const [id, repo] = found;
    if (name === "hub" && repo.token && request.headers.authorization !== `Bearer ${repo.token}`)
      return void send(response, 401, { error: "Access to this model is restricted" }, { "x-error-code": "GatedRepo" });
    const main = commitOf(id);
    const isLfs = repo.lfs ?? ((file: string) => file.endsWith(".safetensors"));
    const rest = path.slice(path.indexOf(`/${id}/`) + id.length + 2);

    const revision = /^revision\/(.+)$/.exec(rest)?.[1];
    // a pull request's commit and files where its name or its commit is asked for
    const [ref, pulled] =
      Object.entries(repo.pulls ?? {}).find(([name]) => rest.includes(name) || rest.includes(commitOf(id + name))) ??
      [];
    const [commit, files] = ref === undefined ? [main, repo.files] : [commitOf(id + ref), pulled!];
    if (path.startsWith("/api/models/") && rest === "discussions")
      return void send(response, 200, { discussions: repo.discussions ?? [], count: repo.discussions?.length ?? 0 });
    if (path.startsWith("/api/models/") && revision !== undefined) {
      if (![commit, "main", ...(repo.refs ?? []), ref].includes(revision))
        return void send(response, 404, { error: "Invalid rev id" }, { "x-error-code": "RevisionNotFound" });
      return void send(response, 200, {
        _id: "1",
        id,
        sha: commit,
        private: false,
        gated: false,
        downloads: 0,
        likes: 0,
        lastModified: "2026-01-01T00:00:00.000Z",
      });
    }
    if (path.startsWith("/api/models/") && rest === `tree/${commit}`) {
      const entries = Object.entries(files).map(([file, bytes]) => {
        const pointer = { type: "file", path: file, size: bytes.length, oid: gitBlob(bytes) };
        return isLfs(file)
          ? { ...pointer, lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }
          : pointer;
      });
      const half = Math.ceil(entries.length / 2);
      const page = new URL(request.url!, hub.url).searchParams.get("page");
      const next = `<${hub.url}/api/models/${id}/tree/${commit}?page=2>; rel="next"`;
      return void send(response, 200, page ? entries.slice(half) : entries.slice(0, half), page ? {} : { link: next });
    }
    const file = rest.startsWith(`resolve/${commit}/`) ? rest.slice(`resolve/${commit}/`.length) : "";
    const bytes = files[file];
    if (!bytes) return void send(response, 404, { error: "Entry not found" }, { "x-error-code": "EntryNotFound" });
    const common = { "x-repo-commit": commit, "accept-ranges": "bytes" };
    if (isLfs(file) && name === "hub") {
      const location = `${hub.url.replace("127.0.0.1", "localhost")}${request.url}`;
      const linked = { "x-linked-etag": `"${sha256(bytes)}"`, "x-linked-size": String(bytes.length), location };
      return void response.writeHead(302, { ...common, ...linked }).end();
    }
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (start >= bytes.length) return void response.writeHead(416).end();
    const headers = { ...common, etag: `"${gitBlob(bytes)}"`, "content-length": String(bytes.length - start) };
    if (start > 0)
      response.writeHead(206, { ...headers, "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` });
    else response.writeHead(200, headers);
    response.end(bytes.subarray(start));
  }

  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  const hub: HubServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    log,
    intercept: null,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return hub;
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const gitBlob = (bytes: Uint8Array) => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
