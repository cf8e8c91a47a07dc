/**
 * @file The GGUF files that a path refers to. In: a file, or a folder that holds one. Out: the file, or all shards of a split one; null
 * where it means none.
 */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { SoftpromptError } from "../../base/errors.js";
import { ioError } from "../../base/files.js";

/** "name-00002-of-00005.gguf", as llama.cpp's gguf-split names them. */
const shardName = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i;
const mostShards = 1_000;

/** @throws SoftpromptError "checkpoint" (several models, a shard missing), "io". */
export async function ggufFiles(path: string): Promise<readonly string[] | null> {
  const found = await stat(path).catch(() => null); // opening the folder will report what is wrong with it
  if (found?.isFile()) return /\.gguf$/i.test(path) ? shardsOf(path) : null;
  if (!found?.isDirectory()) return null;
  const names = await readdir(path).catch((cause) => {
    throw ioError(cause, path);
  });
  if (names.includes("config.json")) return null; // a Hugging Face folder, whatever other files it holds
  const models = names.filter((name) => /\.gguf$/i.test(name) && !/^mmproj/i.test(name)).sort(); // mmproj: the image encoder
  const firsts = models.filter((name) => (shardName.exec(name)?.[2] ?? "00001") === "00001");
  if (models.length === 0) return null;
  if (firsts.length === 1) return shardsOf(join(path, firsts[0]!));
  throw new SoftpromptError("checkpoint", "this folder holds several GGUF models", {
    where: path,
    expected: "the path of one file",
    got: models.slice(0, 12),
  });
}

async function shardsOf(path: string): Promise<readonly string[]> {
  const [, stem, , count] = shardName.exec(basename(path)) ?? [];
  if (stem === undefined) return [path];
  const total = Number(count);
  if (total < 1 || total > mostShards)
    throw new SoftpromptError("checkpoint", "too many shards", {
      where: path,
      expected: `1 to ${mostShards}`,
      got: total,
    });
  const files = Array.from({ length: total }, (_, i) =>
    join(dirname(path), `${stem}-${String(i + 1).padStart(5, "0")}-of-${count}.gguf`),
  );
  for (const file of files)
    if (!(await stat(file).catch(() => null)))
      throw new SoftpromptError("checkpoint", `shard ${basename(file)} is missing`, {
        where: path,
        expected: `all ${total} files of this model in one folder`,
      });
  return files;
}
