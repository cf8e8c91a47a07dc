/**
 * @file Writes one float32 tensor as a PyTorch file: an uncompressed zip with a pickle that can only rebuild one tensor. vLLM expects
 * embeddings in this form. Such files are only written, never read.
 *
 * In: a tensor. Out: bytes that `torch.load(…, weights_only=True)` takes.
 */
import { crc32 } from "node:zlib";
import { floatBytes } from "../base/floats.js";
import type { Tensor } from "../base/tensor.js";

/** Opcodes of pickle's protocol 2, as far as a tensor needs them. */
const op = { mark: "(", tuple: "t", false: "\x89", global: "c", reduce: "R", persistent: "Q", stop: "." } as const;

export function torchFile({ shape, data }: Tensor): Uint8Array {
  return storedZip([
    ["archive/data.pkl", pickle(shape, data.length)],
    ["archive/byteorder", Buffer.from("little")],
    ["archive/data/0", floatBytes(data)],
    ["archive/version", Buffer.from("3\n")],
  ]);
}

/** torch._utils._rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict()) */
function pickle(shape: readonly number[], count: number): Uint8Array {
  const tuple = (...parts: Buffer[]) => Buffer.concat([latin(op.mark), ...parts, latin(op.tuple)]);
  const stride = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const storage = tuple(
    text("storage"),
    latin(`${op.global}torch\nFloatStorage\n`),
    text("0"),
    text("cpu"),
    integer(count),
  );
  const hooks = Buffer.concat([latin(`${op.global}collections\nOrderedDict\n`), tuple(), latin(op.reduce)]);
  return Buffer.concat([
    latin(`\x80\x02${op.global}torch._utils\n_rebuild_tensor_v2\n`),
    tuple(
      Buffer.concat([storage, latin(op.persistent)]),
      integer(0),
      tuple(...shape.map(integer)),
      tuple(...stride.map(integer)),
      latin(op.false),
      hooks,
    ),
    latin(op.reduce + op.stop),
  ]);
}

const latin = (bytes: string) => Buffer.from(bytes, "latin1");

/** BININT: a prompt has fewer than 2³¹ numbers. */
function integer(n: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes.write("J", "latin1");
  bytes.writeInt32LE(n, 1);
  return bytes;
}

/** BINUNICODE */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  const head = Buffer.alloc(5);
  head.write("X", "latin1");
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** All files one after the other, uncompressed, then the directory. */
function storedZip(files: readonly (readonly [name: string, content: Uint8Array])[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const [name, content] of files) {
    const path = Buffer.from(name);
    // version, flags, method (stored), time and date (1980-01-01), CRC, sizes, length of the name
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x21, 8);
    common.writeUInt32LE(crc32(content), 10);
    common.writeUInt32LE(content.length, 14);
    common.writeUInt32LE(content.length, 18);
    common.writeUInt16LE(path.length, 22);
    const local = Buffer.concat([latin("PK\x03\x04"), common, path]);
    const where = Buffer.alloc(14);
    where.writeUInt32LE(at, 10);
    directory.push(Buffer.concat([latin("PK\x01\x02\x14\x00"), common, where, path]));
    parts.push(local, content);
    at += local.length + content.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, listed, end]);
}
