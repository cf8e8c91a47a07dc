import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { tinyCausal } from "../../test/helpers/tiny-causal.js";
import { hashFile } from "../base/digest.js";
import { SoftpromptError } from "../base/errors.js";
import { readConfig } from "./architectures.js";
import { openCheckpoint, parseIndex } from "./checkpoint.js";
import { parseSafetensors, type WritableTensor, writeSafetensors } from "./safetensors.js";
import type { T5Config } from "./t5/config.js";
import { t5Tensors } from "./t5/tensors.js";
import { parameterCount } from "./tensors.js";

const fixture = (name: string) => fileURLToPath(new URL(`../../test/fixtures/${name}`, import.meta.url));
const models = ["tiny-t5-v10", "tiny-t5-v11", "tiny-t5-flan-sharded", "tiny-t5-bf16", "tiny-t5-f16"];

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "checkpoint-"));
});
afterAll(() => rm(scratch, { recursive: true }));
let copies = 0;
const copyOf = async (name: string) => {
  const folder = join(scratch, `${name}-${copies++}`);
  await cp(fixture(name), folder, { recursive: true });
  return folder;
};
const editConfig = async (folder: string, change: object) => {
  const path = join(folder, "config.json");
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, "utf8")), ...change }));
};
/** Rewrites model.safetensors with other tensors. */
const editTensors = async (folder: string, change: (tensors: Record<string, WritableTensor>) => void) => {
  const path = join(folder, "model.safetensors");
  const file = parseSafetensors(await readFile(path), path);
  const tensors: Record<string, WritableTensor> = {};
  for (const name of file.entries.keys()) tensors[name] = file.tensor(name);
  change(tensors);
  await writeFile(path, writeSafetensors(tensors));
};
const refused = async (folder: string, pattern: RegExp) => {
  const error = await openCheckpoint(folder).then(
    () => null,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(SoftpromptError);
  expect((error as SoftpromptError).kind).toBe("checkpoint");
  expect((error as Error).message).toMatch(pattern);
};

describe.each(models)("%s", (name) => {
  test("opens, counts and reads the same numbers from the file by another way", async () => {
    const checkpoint = await openCheckpoint(fixture(name));
    expect(checkpoint.parameters).toBe(parameterCount(t5Tensors(checkpoint.config as T5Config)));
    expect(checkpoint.warnings).toEqual([]);
    expect((checkpoint.config as T5Config).relativeBuckets).toBe(8);
    const table = await checkpoint.read("shared.weight");
    expect(table.shape).toEqual([96, checkpoint.config.width]);
    const rows = await checkpoint.readRows("shared.weight", [95, 0, 7, 7]);
    const D = checkpoint.config.width;
    for (const [i, id] of [95, 0, 7, 7].entries())
      expect(rows.data.slice(i * D, (i + 1) * D)).toEqual(table.data.slice(id * D, (id + 1) * D));
    const span = checkpoint.tensors.get("shared.weight")!;
    const raw = (await readFile(span.file)).subarray(span.offset, span.offset + span.length);
    expect(raw.length).toBe(span.length);
    if (span.dtype === "float32") expect(table.data[33]).toBe(raw.readFloatLE(33 * 4));
    if (span.dtype === "bfloat16") expect(table.data[33]).toBe(Buffer.from([0, 0, raw[66]!, raw[67]!]).readFloatLE(0));
    await expect(checkpoint.readRows("shared.weight", [96])).rejects.toThrow(RangeError);
  });

  test("has a digest that changes with one byte", async () => {
    const folder = await copyOf(name);
    const checkpoint = await openCheckpoint(folder);
    const before = await checkpoint.sha256();
    expect(before).toMatch(/^[0-9a-f]{64}$/);
    expect(await (await openCheckpoint(fixture(name))).sha256()).toBe(before);
    const { file } = checkpoint.files.at(-1)!;
    const bytes = await readFile(file);
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(file, bytes);
    expect(await (await openCheckpoint(folder)).sha256()).not.toBe(before);
  });
});

test("a digest of one file is that file's own sha256", async () => {
  const checkpoint = await openCheckpoint(fixture("tiny-t5-v10"));
  const path = join(fixture("tiny-t5-v10"), "model.safetensors");
  expect(await checkpoint.sha256()).toBe(await hashFile(path));
});

test("a fresh digest sees what the remembered one does not", async () => {
  const folder = await copyOf("tiny-t5-v10");
  const checkpoint = await openCheckpoint(folder);
  const before = await checkpoint.sha256();
  const path = join(folder, "model.safetensors");
  await writeFile(path, Buffer.concat([await readFile(path), Buffer.from("x")]));
  expect(await checkpoint.sha256()).toBe(before);
  expect(await checkpoint.sha256({ fresh: true })).toBe(await hashFile(path));
});

test("remembered digests are used until the file changes", async () => {
  const [file, cache] = [join(scratch, "hashed"), join(scratch, "digests")];
  await writeFile(file, "one");
  const one = await hashFile(file, { cache, from: 0 });
  expect(one).toBe("7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"); // printf one | sha256sum
  expect(await hashFile(file, { cache, from: 0 })).toBe(one);
  await writeFile(file, "three");
  expect(await hashFile(file, { cache, from: 0 })).not.toBe(one);
});

describe("what does not fit is refused", () => {
  test("a tensor of another shape: its name and both shapes", async () => {
    const folder = await copyOf("tiny-t5-v10");
    await editConfig(folder, { d_ff: 40 });
    await refused(folder, /DenseReluDense\.wi\.weight does not fit[\s\S]*F32\[40, 32\][\s\S]*F32\[48, 32\]/);
  });
  test("missing layers, by name", async () => {
    const folder = await copyOf("tiny-t5-v10");
    await editConfig(folder, { num_layers: 3, num_decoder_layers: 2 });
    await refused(
      folder,
      /8 tensors are missing[\s\S]*encoder\.block\.2\.layer\.0\.SelfAttention\.q\.weight[\s\S]*3 more/,
    );
  });
  test("an untied head that is not there", async () => {
    const folder = await copyOf("tiny-t5-v11");
    await editTensors(folder, (t) => delete t["lm_head.weight"]);
    await refused(folder, /lm_head\.weight is missing[\s\S]*tie_word_embeddings": false, but the file has no/);
  });
  test("a head that config.json ties although it differs", async () => {
    const folder = await copyOf("tiny-t5-v11");
    await editConfig(folder, { tie_word_embeddings: true });
    await refused(folder, /lm_head\.weight differs from shared\.weight[\s\S]*tie_word_embeddings/);
  });
  test("integers where floats belong", async () => {
    const folder = await copyOf("tiny-t5-v10");
    await editTensors(folder, (t) => {
      t["encoder.final_layer_norm.weight"] = { shape: [32], data: new Int32Array(32) };
    });
    await refused(folder, /final_layer_norm[\s\S]*unsupported type[\s\S]*I32/);
  });
  test("a file cut short", async () => {
    const folder = await copyOf("tiny-t5-v10");
    await truncate(join(folder, "model.safetensors"), 100_000);
    await refused(folder, /outside the file|end where the file ends/);
  });
  test("a Git LFS pointer instead of weights", async () => {
    const folder = await copyOf("tiny-t5-v10");
    await writeFile(join(folder, "model.safetensors"), "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
    await refused(folder, /Git LFS pointer[\s\S]*git lfs pull/);
  });
  test("only a pickle: not read, and how to convert it", async () => {
    const folder = await copyOf("tiny-t5-v10");
    await rm(join(folder, "model.safetensors"));
    await writeFile(join(folder, "pytorch_model.bin"), "never read");
    await refused(folder, /no model\.safetensors[\s\S]*pytorch_model\.bin is not read[\s\S]*save_pretrained/);
  });
  test("a variant of another name is named", async () => {
    const folder = await copyOf("tiny-t5-v10");
    await rename(join(folder, "model.safetensors"), join(folder, "model.fp16.safetensors"));
    await refused(folder, /no model\.safetensors[\s\S]*model\.fp16\.safetensors is not looked at/);
  });
  test.each(["config.json", "model.safetensors"])("%s is a link to what is gone", async (name) => {
    const folder = await copyOf("tiny-t5-v10");
    await rm(join(folder, name));
    await symlink("../../blobs/gone", join(folder, name));
    await refused(folder, /is a link to a file that is gone[\s\S]*blobs\/gone/);
  });
  test.skipIf(!process.getuid)(
    "what may not be read is told as such, with the exit code of the file system",
    async () => {
      await chmod(scratch, 0o755);
      const root = process.getuid!() === 0;
      for (const [model, name] of [
        ["tiny-t5-v10", "config.json"],
        ["tiny-t5-v10", "model.safetensors"],
        ["tiny-t5-flan-sharded", "model.safetensors.index.json"],
        ["tiny-t5-flan-sharded", "model-00001-of-00002.safetensors"],
        ["tiny-t5-v10", "."],
      ] as const) {
        const folder = await copyOf(model);
        await chmod(join(folder, name), 0);
        if (root) process.seteuid!(65534); // nobody: root may read everything
        const error = await openCheckpoint(folder).then(
          () => null,
          (e: unknown) => e,
        );
        if (root) process.seteuid!(0);
        await chmod(join(folder, name), 0o700);
        expect(error, name).toBeInstanceOf(SoftpromptError);
        expect((error as SoftpromptError).exitCode, name).toBe(10);
        expect((error as SoftpromptError).message, name).toContain("permission denied");
      }
    },
  );
  test("no folder, no config, an empty file, a folder in place of a file", async () => {
    await refused(join(scratch, "nowhere"), /no such model folder/);
    await mkdir(join(scratch, "empty"));
    await refused(join(scratch, "empty"), /no config\.json/);
    const folder = await copyOf("tiny-t5-v10");
    await writeFile(join(folder, "model.safetensors"), "");
    await refused(folder, /too short/);
    await rm(join(folder, "model.safetensors"));
    await mkdir(join(folder, "model.safetensors"));
    await refused(folder, /not a regular file/);
  });
});

describe("GGUF", () => {
  const gguf = (name: string) => fixture(`gguf/${name}`);
  test("a file, or a folder that holds one: what cannot be run is refused before anything is written", async () => {
    const cache = join(scratch, "gguf-cache");
    vi.stubEnv("SOFTPROMPT_CACHE", cache);
    try {
      const folder = join(scratch, "one");
      await mkdir(folder);
      await cp(gguf("gpt2.gguf"), join(folder, "m.gguf"));
      for (const path of [folder, join(folder, "m.gguf")]) {
        const opened = await openCheckpoint(path).then(
          (c) => c.folder.startsWith(cache),
          (e: unknown) => (e as SoftpromptError).message,
        );
        // families besides T5 come in their own time: then it opens, from the cache
        if (opened !== true) {
          expect(opened).toMatch(/m\.gguf \(config\.json made of it\)[\s\S]*not of a supported family[\s\S]*gpt2/);
          expect(await readdir(join(cache, "gguf")).catch(() => [])).toEqual([]);
        }
      }
      await writeFile(join(folder, "m.gguf"), (await readFile(gguf("gpt2.gguf"))).subarray(0, 9_000));
      await refused(folder, /cut short|ends within/);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});

describe("links and shards", () => {
  test("a link to outside the folder is refused, unless allowed; the hub cache's own links are followed", async () => {
    const folder = await copyOf("tiny-t5-v10");
    await rm(join(folder, "model.safetensors"));
    await symlink(join(fixture("tiny-t5-v10"), "model.safetensors"), join(folder, "model.safetensors"));
    await refused(folder, /link to outside/);
    expect((await openCheckpoint(folder, { outsideLinks: true })).parameters).toBeGreaterThan(0);

    const repo = join(scratch, "models--some--t5");
    const snapshot = join(repo, "snapshots", "abc");
    await mkdir(snapshot, { recursive: true });
    await mkdir(join(repo, "blobs"));
    for (const name of ["config.json", "model.safetensors"]) {
      await cp(join(fixture("tiny-t5-v10"), name), join(repo, "blobs", `blob-${name}`));
      await symlink(`../../blobs/blob-${name}`, join(snapshot, name));
    }
    expect((await openCheckpoint(snapshot)).files[0]!.file).toContain("blobs");
  });

  const shard = "model-00001-of-00002.safetensors";
  test.each([
    [
      "a path upwards",
      (map: Record<string, string>) => ({ ...map, "shared.weight": "../x.safetensors" }),
      /not a file of this folder/,
    ],
    [
      "an absolute path",
      (map: Record<string, string>) => ({ ...map, "shared.weight": "/etc/x.safetensors" }),
      /not a file of this folder/,
    ],
    [
      "a missing shard",
      (map: Record<string, string>) => ({ ...map, "shared.weight": "none.safetensors" }),
      /shard none\.safetensors is missing/,
    ],
    [
      "the wrong shard",
      (map: Record<string, string>) => ({ ...map, "shared.weight": shard }),
      /shared\.weight is not in the shard/,
    ],
    [
      "a shard that is no name",
      (map: Record<string, string>) => ({ ...map, "shared.weight": 7 }),
      /not a file of this folder/,
    ],
    ["nothing", () => ({}), /names no tensors/],
  ] as const)("an index that names %s is refused", async (_, change, pattern) => {
    const folder = await copyOf("tiny-t5-flan-sharded");
    const path = join(folder, "model.safetensors.index.json");
    const index = JSON.parse(await readFile(path, "utf8"));
    await writeFile(path, JSON.stringify({ ...index, weight_map: change(index.weight_map) }));
    await refused(folder, pattern);
  });

  test("a name that no shard holds and the model does not need is a warning", async () => {
    const folder = await copyOf("tiny-t5-flan-sharded");
    const path = join(folder, "model.safetensors.index.json");
    const index = JSON.parse(await readFile(path, "utf8"));
    await writeFile(path, JSON.stringify({ ...index, weight_map: { ...index.weight_map, "mtp.fc.weight": shard } }));
    expect((await openCheckpoint(folder)).warnings.join()).toMatch(
      /names 1 tensors that no shard holds[\s\S]*mtp\.fc\.weight/,
    );
  });

  test("hostile property names are names like any other", () => {
    const shards = parseIndex('{"weight_map":{"__proto__":"a.safetensors","constructor":"a.safetensors"}}', "index");
    expect([...shards.get("a.safetensors")!]).toEqual(["__proto__", "constructor"]);
    expect(({} as Record<string, unknown>).weight_map).toBeUndefined();
  });
});

describe("shared and odd tensors", () => {
  test("an embedding under another name, copies of it, and what the first T5 files left over", async () => {
    const folder = await copyOf("tiny-t5-v10");
    await editTensors(folder, (t) => {
      const shared = t["shared.weight"]!;
      delete t["shared.weight"];
      t["encoder.embed_tokens.weight"] = t["decoder.embed_tokens.weight"] = t["lm_head.weight"] = shared;
      t["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = {
        shape: [1],
        data: new Float32Array(1),
      };
    });
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.tensors.get("shared.weight")!.name).toBe("encoder.embed_tokens.weight");
    expect(checkpoint.warnings).toEqual([]);
  });
  test("as transformers 5 saves a tied model with an unscaled head, the embedding is the head", async () => {
    const folder = await copyOf("tiny-t5-v11");
    await editConfig(folder, { tie_word_embeddings: true, scale_decoder_outputs: false });
    expect((await openCheckpoint(folder)).tensors.get("lm_head.weight")!.name).toBe("lm_head.weight");
    await editTensors(folder, (t) => delete t["lm_head.weight"]);
    const checkpoint = await openCheckpoint(folder);
    expect((checkpoint.config as T5Config).tiedHead).toBe(false);
    expect(checkpoint.tensors.get("lm_head.weight")!.name).toBe("shared.weight");
    expect(checkpoint.parameters).toBe(parameterCount(t5Tensors(checkpoint.config as T5Config)) - 96 * 32);
  });
  test("a tensor of an unknown type: a warning where nothing needs it, refused where something does", async () => {
    const folder = await copyOf("tiny-t5-v10");
    const path = join(folder, "model.safetensors");
    const bytes = await readFile(path);
    const length = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString("utf8", 8, 8 + length));
    const end = bytes.length - 8 - length;
    const write = async (tensors: object, more: number) => {
      const text = Buffer.from(JSON.stringify(tensors));
      const start = Buffer.alloc(8);
      start.writeBigUInt64LE(BigInt(text.length));
      await writeFile(path, Buffer.concat([start, text, bytes.subarray(8 + length), Buffer.alloc(more)]));
    };
    await write({ ...header, "spare.weight": { dtype: "F4", shape: [4, 4], data_offsets: [end, end + 8] } }, 8);
    expect((await openCheckpoint(folder)).warnings.join()).toMatch(/spare\.weight/);
    await write({ ...header, "shared.weight": { ...header["shared.weight"], dtype: "F4" } }, 0);
    await refused(folder, /shared\.weight[\s\S]*unsupported type[\s\S]*F4/);
  });
  test("a tensor of no part of the model is a warning", async () => {
    const folder = await copyOf("tiny-t5-v10");
    await editTensors(folder, (t) => {
      t["classifier.weight"] = { shape: [2, 2], data: new Float32Array(4) };
    });
    expect((await openCheckpoint(folder)).warnings.join()).toMatch(/classifier\.weight/);
  });
});

describe("what a model's files say and this program does not read", () => {
  test("an end that the vocabulary does not have is told under its own file's name, and ends nothing", async () => {
    const folder = tinyCausal();
    await writeFile(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: [2, 5000] }));
    const { config, warnings } = await openCheckpoint(folder);
    expect(warnings.join()).toMatch(/generation_config\.json ends texts at ids.*5000/);
    expect((config as { eosIds?: readonly number[] }).eosIds).not.toContain(5000);
    expect((config as { eosIds?: readonly number[] }).eosIds).toContain(2);
  });
  test("a config.json that names no end takes the one of generation_config.json", async () => {
    const folder = tinyCausal({ config: { model_type: "qwen2", eos_token_id: undefined } });
    await writeFile(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: [3, 5000] }));
    const raw = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
    expect(raw.eos_token_id).toBeUndefined();
    expect(readConfig(JSON.stringify(raw), "config.json", [3, 5000])).toMatchObject({ eosIds: [3] });
  });
  test("fields by which another family computes otherwise are told, unless they change nothing", async () => {
    const folder = tinyCausal({
      config: { final_logit_softcapping: 30, residual_multiplier: 0.22, logit_scale: 1, clip_qkv: null },
    });
    const { warnings } = await openCheckpoint(folder);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/final_logit_softcapping 30, residual_multiplier 0\.22; if/);
  });
});
