/**
 * @file softprompt docs: writes the pages of docs/commands from the option tables, so that they are always correct.
 */
import { join } from "node:path";
import { writeFileAtomic } from "../../base/files.js";
import { boolean, choice } from "../../base/options.js";
import { type Command, command, optionTable } from "../command.js";
import { docsPage, exitCodesMarkdown, jsonSchema } from "../describe.js";

/** File name → content of every page. */
export function docsPages(commands: Readonly<Record<string, Command>>): Record<string, string> {
  const pages = Object.entries(commands).map(([name, c]) => [`${name}.md`, docsPage(name, c)] as const);
  const index = [
    "# Commands",
    "<!-- Made from the option tables by `npm run docs`. -->",
    "Every option is a flag and, in camelCase, a key of the `--config` file. Flags override the file.",
    Object.entries(commands)
      .map(([name, { summary }]) => `- [${name}](${name}.md): ${summary}`)
      .join("\n"),
    "## Exit codes",
    exitCodesMarkdown(),
    "## Environment",
    "`NO_COLOR` (any value) turns colours off, `FORCE_COLOR` on. `HF_TOKEN`, `HF_ENDPOINT` and `HF_HOME` mean what they mean to Hugging Face's tools. `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are honoured. `SOFTPROMPT_CACHE` is the folder of what is made from models (converted GGUF files, weights in 8 bits and in blocks), of texts that were read, and of remembered hashes. `SOFTPROMPT_CACHE_LIMIT` is how many GiB the first of these may take together (default 100): before more is made, what was unused longest is removed, and what a running process uses stays. `SOFTPROMPT_DENORMALS=keep` computes with numbers below 1.2e-38 too, which takes longer; without it they are zeros. `SOFTPROMPT_DEBUG=1` shows the stack of an error.",
  ].join("\n\n");
  return { "README.md": `${index}\n`, ...Object.fromEntries(pages) };
}

/** @param load gives all commands. It is called only when the command runs, because this command is one of them */
export function docs(load: () => Promise<Readonly<Record<string, Command>>>): Command {
  return command({
    summary: "write the documentation of all commands, or the JSON schema of a config",
    description:
      "Writes one Markdown page per command into a folder. With --schema it prints the JSON schema of that command's config file instead, for editors that check YAML.",
    positionals: [{ name: "folder", help: "where the pages go (default docs/commands)", required: false }],
    sections: {
      Documentation: {
        schema: choice({
          values: ["train", "eval", "predict", "prune", "sweep", "compare", "study", "quickstart"],
          help: "print this command's JSON schema",
        }),
        check: boolean({ default: false, help: "write nothing; exit 1 if a page on disk differs" }),
      },
    },
    examples: ["softprompt docs docs/commands", "softprompt docs --schema train > run.schema.json"],
    async run({ schema, check }, [folder = "docs/commands"]) {
      const commands = await load();
      if (schema !== undefined) {
        const json = jsonSchema(optionTable(commands[schema]!), `softprompt ${schema}`);
        return { json, text: JSON.stringify(json, null, 2) };
      }
      const pages = docsPages(commands);
      if (check) {
        const { readFile } = await import("node:fs/promises");
        const stale: string[] = [];
        for (const [name, page] of Object.entries(pages))
          if ((await readFile(join(folder, name), "utf8").catch(() => "")) !== page) stale.push(name);
        return {
          json: { stale },
          text: stale.length === 0 ? "up to date" : `stale: ${stale.join(", ")}`,
          exitCode: stale.length === 0 ? 0 : 1,
        };
      }
      for (const [name, page] of Object.entries(pages)) writeFileAtomic(join(folder, name), page);
      return { json: { folder, pages: Object.keys(pages) }, text: `${Object.keys(pages).length} pages in ${folder}` };
    },
  });
}
