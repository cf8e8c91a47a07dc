/** @file GGUF files for tests, sound and broken: every field can be given a false value. */
export type Meta = { readonly key: string; readonly type: number; readonly value: Uint8Array };

export const u32 = (n: number) => {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(n >>> 0);
  return b;
};
export const u64 = (n: bigint | number) => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(BigInt.asUintN(64, BigInt(n)));
  return b;
};
export const text = (s: string, length: bigint | number = Buffer.byteLength(s)) =>
  Buffer.concat([u64(length), Buffer.from(s)]);

export interface FakeTensor {
  readonly name?: string;
  /** Fastest first, as in the file. */
  readonly dims?: readonly (bigint | number)[];
  readonly rank?: number;
  readonly type?: number;
  readonly offset?: bigint | number;
}

export interface Fake {
  readonly magic?: string;
  readonly version?: Uint8Array;
  readonly tensorCount?: bigint | number;
  readonly keyCount?: bigint | number;
  readonly meta?: readonly Meta[];
  readonly tensors?: readonly FakeTensor[];
  readonly align?: number;
  readonly data?: number;
}

export const textMeta = (key: string, value: string): Meta => ({ key, type: 8, value: text(value) });
export const u32Meta = (key: string, value: number): Meta => ({ key, type: 4, value: u32(value) });

/** By default one F32 tensor "a" of 8 numbers. */
export function fakeGguf(fake: Fake = {}): Uint8Array {
  const { meta = [], tensors = [{}], align = 32, data = 32 } = fake;
  const head = Buffer.concat([
    Buffer.from(fake.magic ?? "GGUF"),
    fake.version ?? u32(3),
    u64(fake.tensorCount ?? tensors.length),
    u64(fake.keyCount ?? meta.length),
    ...meta.flatMap(({ key, type, value }) => [text(key), u32(type), value]),
    ...tensors.flatMap(({ name = "a", dims = [8], rank = dims.length, type = 0, offset = 0 }) => [
      ...[text(name), u32(rank)],
      ...dims.map((n) => u64(n)),
      ...[u32(type), u64(offset)],
    ]),
  ]);
  return Buffer.concat([head, Buffer.alloc(Math.ceil(head.length / align) * align - head.length), Buffer.alloc(data)]);
}
