/** @file Formats of data: tables from memory, parquet with its decoding, and the official files of the declared tasks. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SoftpromptError } from "../../src/base/errors.js";
import { loadDataset } from "../../src/data/dataset.js";
import { parseTable, type TableFormat } from "../../src/data/table.js";
import { type Files, type Format, inFolder, inMemory } from "./format.js";
import { parquet, parquetFiles } from "./framed.js";
import { bytesOf, editBytes, json, jsonLines, type Mutator, textOf } from "./mutate.js";
import { readParquetHere } from "./parquet-here.js";

const lines = (...records: unknown[]) => bytesOf(records.map((record) => `${JSON.stringify(record)}\n`).join(""));

/** As Excel's "Unicode text" is: UTF-16 with its mark. */
const wide = (text: string) => Buffer.from(`\ufeff${text}`, "utf16le");

const csv = [
  'text,label\n"a, ""b""\nc",1\nplain,2\n,\n',
  "\ufefftext,label\r\neins,1\r\nzwei,2\r\n",
  "a;b,c\n1;2,3\n",
  'sep=;\r\ntext;label\r\n"a; b";1\rzwei;2\n',
  "text|label\na|1\n\ufefftext|label\nb|2\n",
  ",text,label\n0,a,x\n1,b,y\n",
];
const tsv = [
  'text\tlabel\n"a\t1\nb"\t2\n',
  "sentence\tlabel\nfine \t1\nbad \t0\n",
  'text\tlabel\n"he said ""no"""\t1\n"tab\there"\t2\n',
];
const documents = [
  '[{"text": "a \\"b\\"", "label": 1, "deep": {"list": [1, {"x": null}]}},\n {"text": "zwei", "label": 9007199254740993}]',
  '{"version": 1, "data": [{"text": "a", "label": 0}, {"text": "b"}]}',
  '{"text": "a", "label": 1}\n\ufeff{"text": "b", "label": 12345678901234567890}\n',
];
const jsonl = [
  '{"text": "a \\"b\\" \\u00e9", "label": 1, "deep": {"list": [1, 2, {"x": null}]}}\r\n{"text": "zwei", "label": 0}\n',
  '\n{"text":"","label":null}\n\n{"label":true,"text":["x"],"1":2}',
];

/** One record of every SuperGLUE task and of SST-2, as the official files have it. */
const official = {
  boolq: { passage: "p", question: "q", label: true, idx: 0 },
  cb: { premise: "p", hypothesis: "h", label: "entailment", idx: 0 },
  copa: { premise: "p", choice1: "a", choice2: "b", question: "cause", label: 0, idx: 0 },
  multirc: {
    idx: 0,
    passage: {
      text: "p",
      questions: [
        {
          question: "q",
          answers: [
            { text: "a", label: 1, idx: 0 },
            { text: "b", label: 0, idx: 1 },
          ],
          idx: 0,
        },
      ],
    },
  },
  record: {
    source: "s",
    passage: {
      text: "Ada met Bob.",
      entities: [
        { start: 0, end: 2 },
        { start: 8, end: 10 },
      ],
    },
    qas: [{ query: "@placeholder met", answers: [{ start: 8, end: 10, text: "Bob" }], idx: 0 }],
    idx: 0,
  },
  rte: { premise: "p", hypothesis: "h", label: "not_entailment", idx: 0 },
  wic: {
    word: "set",
    sentence1: "a set",
    sentence2: "set it",
    label: false,
    start1: 2,
    end1: 5,
    start2: 0,
    end2: 3,
    idx: 0,
  },
  wsc: {
    text: "Ada met Bob and she smiled",
    target: { span1_index: 0, span1_text: "Ada", span2_index: 4, span2_text: "she" },
    label: true,
    idx: 0,
  },
  sst2: { sentence: "fine", label: 1, idx: 0 },
};

const squad = {
  version: "v2.0",
  data: [
    {
      title: "t",
      paragraphs: [
        {
          context: "Ada met Bob.",
          qas: [{ id: "1", question: "Whom?", answers: [{ text: "Bob", answer_start: 8 }], is_impossible: false }],
        },
      ],
    },
  ],
};

/** @param fixtures folder of test/fixtures: what pyarrow wrote is there */
export function dataFormats(fixtures: string): Record<string, Format> {
  const written = ["zstd", "lz4", "exact", "empty-group"].map((name) =>
    Uint8Array.from(readFileSync(join(fixtures, "data", `${name}.parquet`))),
  );
  const table = (format: TableFormat, sound: readonly Uint8Array[], mutator: Mutator) =>
    inMemory(
      `rows.${format}`,
      () => sound,
      mutator,
      async (file) => {
        const read = async (skipBadRows: boolean) => {
          const { rows } = await parseTable(file, format, `rows.${format}`, { skipBadRows });
          for (const { fields } of rows)
            if (Object.getPrototypeOf(fields) !== null) throw new Error("a row has a prototype");
        };
        try {
          await read(false);
        } catch (error) {
          if (error instanceof SoftpromptError) await read(true); // what one bad row stops is read to its end
          throw error;
        }
      },
    );
  return {
    csv: table("csv", [...csv.map(bytesOf), wide(csv[1]!.slice(1)), wide(csv[3]!)], editBytes),
    tsv: table("tsv", [...tsv.map(bytesOf), wide(tsv[2]!), wide(tsv[1]!).swap16()], editBytes),
    jsonl: table("jsonl", jsonl.map(bytesOf), jsonLines),
    "JSON documents": table("json", documents.slice(0, 2).map(bytesOf), json),
    "JSON documents by bytes": table("json", [...documents.map(bytesOf), wide(documents[0]!)], editBytes),
    parquet: {
      ...inMemory("rows.parquet", () => [...parquetFiles(), ...written], parquet, readParquetHere),
      careful: (files) => parseTable(files["rows.parquet"] as Uint8Array, "parquet", "rows.parquet"),
    },
    "official files": {
      specimens: () =>
        Object.entries(official).map(([task, record]) => ({
          task: bytesOf(task),
          "train.jsonl": lines(record, record),
        })),
      mutate: (sound, draw, all) => ({
        ...sound,
        "train.jsonl": jsonLines(
          sound["train.jsonl"] as Uint8Array,
          draw,
          all.map((files) => files["train.jsonl"] as Uint8Array),
        ),
      }),
      read: (files, folder) => loadDataset({ task: textOf(files.task as Uint8Array), folder, validationShare: 0.5 }),
      onDisk: true,
    },
    squad: inFolder(
      () => [{ "train-v2.0.json": bytesOf(JSON.stringify(squad)), "dev-v2.0.json": bytesOf(JSON.stringify(squad)) }],
      [[/\.json$/, json]],
      (folder) => loadDataset({ task: "squad2", folder }),
    ),
    "file with a template": inFolder(
      (): Files[] => [{ "rows.jsonl": bytesOf(jsonl[0]!) }, { "rows.csv": bytesOf(csv[1]!) }],
      [
        [/jsonl$/, jsonLines],
        [/csv$/, editBytes],
      ],
      (folder, files) =>
        loadDataset({
          files: { train: Object.keys(files)[0] ?? "rows.csv" },
          base: folder,
          template: "{text}",
          label: "label",
          validationShare: 0.5,
        }),
    ),
  };
}
