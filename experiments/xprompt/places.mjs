/** @file Where the tasks of XPrompt's experiments lie below DATASETS, and how many of their training rows are drawn. */
export const places = {
  sst2: { data: "SST-2", fewShot: 2000 },
  qqp: { data: "QQP", fewShot: 2000, format: "t5" },
  mnli: { data: "MNLI", fewShot: 2000 },
  rte: { data: "RTE" },
  cb: { data: "CB" },
  boolq: { data: "BoolQ", fewShot: 2000 },
  wic: { data: "WiC", fewShot: 2000 },
};
