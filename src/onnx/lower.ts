/**
 * @file Graph → ONNX model bytes. The only file that knows the protobuf schema.
 *
 * In: a checked Graph. Out: a model of a few hundred kilobytes; frozen weights stay in their safetensors file as
 * external data (location = the file's name; the session is told its folder), small constants are inline.
 */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProtoSchema,
  type GraphProtoSchema,
  ModelProtoSchema,
  type NodeProtoSchema,
  TensorProto_DataLocation,
  type TensorProtoSchema,
  type ValueInfoProtoSchema,
} from "onnx-buf";
import { dtypes } from "../base/tensor.js";
import { check } from "../graph/check.js";
import type { Constant, Graph, Node, Value, ValueType, Weight } from "../graph/graph.js";
import { simplify } from "../graph/simplify.js";
import {
  type Attribute,
  type Domain,
  type LoweringOptions,
  lowerings,
  opsets,
  reads,
  type UnscaledRows,
  type ViewType,
  type Writer,
} from "./opset.js";

/** A model ready for a session. */
export interface OnnxModel {
  readonly bytes: Uint8Array;
  /** The folder of the weight files, read in place; null when they lie in several, or there are none. */
  readonly folder: string | null;
  /** Weight files by real path, and what the model calls each. */
  readonly files: readonly { readonly path: string; readonly location: string }[];
  readonly nodes: number;
}

/** ONNX's number for a type that no value of a graph has. */
const uint4 = 21;

const viewTypes = { uint4, uint8: dtypes.uint8.onnx } as const satisfies Record<ViewType, number>;

/** Attribute types of the ONNX schema (AttributeProto.AttributeType). */
const attributeTypes = { float: 1, int: 2, text: 3, graph: 5, ints: 7 } as const;

type NodeProto = MessageInitShape<typeof NodeProtoSchema>;

/** The inputs that callers feed, if they differ from the graph's inputs. */
export interface Outside {
  readonly inputs: readonly (ValueType & { readonly name: string })[];
  /** Inputs that callers may leave out. They are empty then: every axis whose size is a symbol has the length 0. */
  readonly optional?: readonly (ValueType & { readonly name: string })[];
  /** Writes every input of the graph that is not one of `inputs`, under its name. */
  write(writer: Writer): void;
  /** These values are computed if `unless` is false. If it is true, they are taken from these inputs, by the names of its outputs. */
  readonly once?: {
    readonly unless: string;
    readonly graph: Graph;
    readonly given: Readonly<Record<string, string>>;
  };
  /** The callers' name for a symbol of the shapes. */
  readonly symbols?: Readonly<Record<string, string>>;
}

/** Writes a graph down, dead nodes left out. */
export function lower(source: Graph, options: LoweringOptions): OnnxModel {
  return lowerFor(undefined, source, options);
}

/** The same for callers that feed other inputs than the graph takes. */
export function lowerFor(outside: Outside | undefined, source: Graph, options: LoweringOptions): OnnxModel {
  const graph = checked(source);
  const once = outside?.once && checked(outside.once.graph);
  let nodes: NodeProto[] = [];
  const initializers: MessageInitShape<typeof TensorProtoSchema>[] = [];
  const weights = [...graph.weights];
  for (const v of once?.weights ?? []) if (!weights.some(({ name }) => name === v.name)) weights.push(v);
  const files = locate(weights);
  const names = new Map<number, string>();
  const constants = new Map<string, string>();
  /** All names that nodes read, including nodes inside branches. */
  const asked = new Set<string>();
  let fresh = 0;
  /**
   * Nodes that read weights alone, where they are computed at each use. ONNX Runtime orders the nodes by walking back from the results, and
   * takes the inputs of a node from the last written to the first: a cast written before all other nodes is run just before its reader; one
   * written beside its reader is run first of all, with the casts of all other weights, and its copy kept until then.
   */
  const early: NodeProto[] = [];
  /** Values that depend on weights alone. */
  const frozen = new Set<number>();

  const add: Writer["add"] = (type, inputs, attributes = {}, outputs = [`_${fresh++}`], domain: Domain = "") => {
    for (const name of inputs) asked.add(name);
    const attribute = Object.entries(attributes).map(([name, value]) => attributeProto(name, value));
    nodes.push({
      opType: type,
      name: `${type}/${outputs[0]}`,
      input: [...inputs],
      output: [...outputs],
      attribute,
      domain,
    });
    return outputs[0]!;
  };
  const tensor = (key: string, proto: () => MessageInitShape<typeof TensorProtoSchema>) => {
    if (!constants.has(key)) {
      constants.set(key, key);
      initializers.push({ name: key, ...proto() });
    }
    return key;
  };
  const wide = new Map<number, string>();
  const shared = new Map<string, string>();
  const parts = [graph, ...(once ? [once] : [])];
  const readers = new Map<number, Node[]>();
  for (const node of parts.flatMap((g) => g.nodes)) {
    for (const { id } of new Set(reads(node))) readers.set(id, [...(readers.get(id) ?? []), node]);
  }
  const results = new Set(parts.flatMap((g) => g.outputs.map((o) => o.value.id)));
  const nameOf = (value: Value) => names.get(value.id) ?? value.name;
  const unscaled = new Map<number, UnscaledRows>();
  /** Values that were left unscaled, and that a reader needed. */
  const written = new Set<number>();
  const views = new Map<string, { value: Value; type: ViewType; shape: readonly number[] }>();
  const writer: Writer = {
    options,
    add,
    name: (value) => {
      const name = nameOf(value);
      const left = unscaled.get(value.id);
      if (left === undefined || written.has(value.id)) return name;
      written.add(value.id);
      return add("Mul", [left.rows, left.scale], {}, [name]);
    },
    readers: (value) => readers.get(value.id) ?? [],
    isOutput: (value) => results.has(value.id),
    used: (value) => readers.has(value.id) || results.has(value.id),
    leave: (value, left) => {
      unscaled.set(value.id, left);
      if (results.has(value.id)) writer.name(value);
    },
    unscaled: (value) => unscaled.get(value.id),
    integers: (values) =>
      tensor(`_int64[${values}]`, () => ({
        dataType: dtypes.int64.onnx,
        dims: [BigInt(values.length)],
        int64Data: values.map(BigInt),
      })),
    float: (value) => tensor(`_float${value}`, () => ({ dataType: dtypes.float32.onnx, dims: [], floatData: [value] })),
    uint8: (value) => tensor(`_uint8${value}`, () => ({ dataType: dtypes.uint8.onnx, dims: [], int32Data: [value] })),
    constant: (shape, data) => {
      const dataType = dtypes[data instanceof Float32Array ? "float32" : "int32"].onnx;
      return tensor(`_constant${constants.size}`, () => ({
        dataType,
        dims: shape.map(BigInt),
        rawData: rawBytes(data),
      }));
    },
    widened: (value) => {
      if (value.dtype === "float32") return writer.name(value);
      const known = wide.get(value.id);
      if (known !== undefined && !options.widenPerUse) return known;
      const name = writer.early(() => add("Cast", [writer.name(value)], { to: { int: dtypes.float32.onnx } }));
      wide.set(value.id, name);
      return name;
    },
    view: (value, type, shape) => {
      const name = `${writer.name(value)}/${type}`;
      views.set(name, { value, type, shape });
      return name;
    },
    filled: (type, shape, byte) => {
      const elements = shape.reduce((n, d) => n * d, 1);
      return tensor(`_${type}${byte}[${shape}]`, () => ({
        dataType: viewTypes[type],
        dims: shape.map(BigInt),
        rawData: new Uint8Array(type === "uint4" ? Math.ceil(elements / 2) : elements).fill(byte),
      }));
    },
    early: (make) => {
      const from = nodes.length;
      const name = make();
      if (options.widenPerUse) early.push(...nodes.splice(from));
      return name;
    },
    once: (key, make) => {
      const known = shared.get(key) ?? make();
      shared.set(key, known);
      return known;
    },
    typed: (name, type) => {
      types.set(name, type);
      return name;
    },
    onnxType: (dtype) => dtypes[dtype].onnx,
  };

  /** Types of what nodes write, by name. */
  const types = new Map<string, ValueType>();
  const writeNodes = (g: Graph) => {
    // A result is called by its output's name; a value that is an output twice, or an input, is copied.
    const copies: [string, Value][] = [];
    for (const { name, value } of g.outputs)
      if (typeof value.source === "object" && "node" in value.source && !names.has(value.id)) names.set(value.id, name);
      else copies.push([name, value]);
    for (const node of g.nodes) {
      const from = nodes.length;
      (lowerings[node.op] as (w: Writer, n: Node) => void)(writer, node);
      for (const value of node.outputs) types.set(nameOf(value), value);
      if (!node.inputs.every((v) => isWeight(v) || frozen.has(v.id))) continue;
      for (const { id } of node.outputs) frozen.add(id);
      if (options.widenPerUse) early.push(...nodes.splice(from)); // a slice of a weight
    }
    for (const [name, value] of copies) add("Identity", [writer.name(value)], {}, [name]);
  };
  /** Nodes of a subgraph, which sees the outer names. Its outputs must not shadow them. */
  const branch = (name: string, outputs: readonly Graph["outputs"][number][], write: () => void) => {
    const around = nodes;
    nodes = [];
    write();
    const inner = nodes;
    nodes = around;
    const output = outputs.map(({ name: of, value }) => valueInfo(`${name}/${of}`, value, outside?.symbols));
    return { name, node: inner, output } satisfies MessageInitShape<typeof GraphProtoSchema>;
  };

  outside?.write(writer);
  if (once) {
    const { unless, given } = outside.once!;
    const renamed = (name: string) => once.outputs.map((o) => ({ ...o, name: `${name}/${o.name}` }));
    const taken = branch("given", once.outputs, () => {
      for (const { name } of once.outputs) add("Identity", [given[name]!], {}, [`given/${name}`]);
    });
    const computed = branch("computed", once.outputs, () => writeNodes({ ...once, outputs: renamed("computed") }));
    nodes.push({
      opType: "If",
      name: "once",
      input: [unless],
      output: once.outputs.map(({ name }) => name),
      attribute: [
        { name: "then_branch", type: attributeTypes.graph, g: taken },
        { name: "else_branch", type: attributeTypes.graph, g: computed },
      ],
    });
  }
  writeNodes(graph);

  // a lowering may read a weight in another form (a view) instead
  for (const v of weights) if (asked.has(writer.name(v))) initializers.push(initializer(v, files));
  for (const [name, { value, type, shape }] of views)
    initializers.push({ ...initializer(value, files), name, dataType: viewTypes[type], dims: shape.map(BigInt) });

  const optional = outside?.optional ?? [];
  for (const { name, dtype, shape } of optional)
    initializers.push({ name, dataType: dtypes[dtype].onnx, dims: shape.map((d) => BigInt(Number(d) || 0)) });

  // Names that the top level writes, and no results: those have their types already.
  const between = new Set([...early, ...nodes].flatMap(({ output }) => output ?? []));
  for (const { name } of graph.outputs) between.delete(name);
  const model = create(ModelProtoSchema, {
    irVersion: 10n,
    producerName: "softprompt",
    opsetImport: Object.entries(opsets).map(([domain, version]) => ({ domain, version: BigInt(version) })),
    graph: {
      name: "softprompt",
      input: [...(outside?.inputs ?? graph.inputs), ...optional].map((v) => valueInfo(v.name, v, outside?.symbols)),
      output: graph.outputs.map((o) => valueInfo(o.name, o.value, outside?.symbols)),
      node: [...early, ...nodes],
      valueInfo: [...types].flatMap(([name, type]) =>
        between.has(name) ? [valueInfo(name, type, outside?.symbols)] : [],
      ),
      initializer: initializers,
    },
  });
  return {
    bytes: toBinary(ModelProtoSchema, model),
    folder: commonFolder(files.keys()),
    files: [...files].map(([path, location]) => ({ path, location })),
    nodes: early.length + nodes.length,
  };
}

/** The part of a graph that a runtime has to compute, found valid while its nodes still have all their inputs. */
function checked(source: Graph): Graph {
  const { graph } = simplify(source);
  check(graph);
  return simplify(graph, reads).graph;
}

/**
 * The name of each weight file in the model: its path relative to the common folder of all files, or a number if there is no common folder.
 */
function locate(weights: readonly Value[]): Map<string, string> {
  const paths = new Set(weights.map(bytesOf).flatMap((w) => (w.kind === "file" ? [w.file] : [])));
  const folder = commonFolder(paths);
  const below = folder === null ? 0 : folder.replace(/[\\/]$/, "").length + 1;
  return new Map(
    [...paths].map((path, i) => [
      path,
      folder === null ? `${i}-${basename(path)}` : path.slice(below).replaceAll("\\", "/"),
    ]),
  );
}

/** The deepest folder that holds every file; null for none, and on different drives. */
function commonFolder(paths: Iterable<string>): string | null {
  const [first, ...rest] = [...paths].map(dirname);
  if (first === undefined) return null;
  let folder = first;
  const holds = (other: string) =>
    other === folder || other.startsWith(/[\\/]$/.test(folder) ? folder : `${folder}${separator(folder)}`);
  while (!rest.every(holds)) {
    const up = dirname(folder);
    if (up === folder || up === ".")
      return rest.every((other) => other.startsWith("/")) && folder.startsWith("/") ? "/" : null;
    folder = up;
  }
  return folder;
}

const separator = (path: string) => (path.includes("\\") ? "\\" : "/");

/** Without node:path, which a browser does not have; weight files are named by real paths. */
const basename = (path: string) => path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
const dirname = (path: string) => path.slice(0, Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"), 0)) || ".";

const isWeight = ({ source }: Value) => typeof source === "object" && "weight" in source;

function bytesOf(value: Value): Weight {
  return (value.source as { weight: Weight }).weight;
}

function initializer(value: Value, files: ReadonlyMap<string, string>): MessageInitShape<typeof TensorProtoSchema> {
  const common = { name: value.name, dataType: dtypes[value.dtype].onnx, dims: value.shape.map((d) => BigInt(d)) };
  const bytes = bytesOf(value);
  if (bytes.kind === "inline") return { ...common, rawData: rawBytes(bytes.data) };
  return {
    ...common,
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: [
      { key: "location", value: files.get(bytes.file)! },
      { key: "offset", value: String(bytes.offset) },
      { key: "length", value: String(bytes.length) },
    ],
  };
}

function rawBytes({ buffer, byteOffset, byteLength }: Constant): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer, byteOffset, byteLength) as Uint8Array<ArrayBuffer>;
}

function valueInfo(
  name: string,
  { dtype, shape }: ValueType,
  symbols: Readonly<Record<string, string>> = {},
): MessageInitShape<typeof ValueInfoProtoSchema> {
  const dim = shape.map((d) =>
    typeof d === "number"
      ? { value: { case: "dimValue" as const, value: BigInt(d) } }
      : { value: { case: "dimParam" as const, value: symbols[d] ?? d } },
  );
  return {
    name,
    type: { value: { case: "tensorType" as const, value: { elemType: dtypes[dtype].onnx, shape: { dim } } } },
  };
}

function attributeProto(name: string, value: Attribute): MessageInitShape<typeof AttributeProtoSchema> {
  if ("int" in value) return { name, type: attributeTypes.int, i: BigInt(value.int) };
  if ("ints" in value) return { name, type: attributeTypes.ints, ints: value.ints.map(BigInt) };
  if ("float" in value) return { name, type: attributeTypes.float, f: value.float };
  return { name, type: attributeTypes.text, s: new TextEncoder().encode(value.text) as Uint8Array<ArrayBuffer> };
}
