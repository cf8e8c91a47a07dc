/**
 * @file What the package shows to a program: the exported names of every entry, their doc comments, and the types that their signatures
 * name. In: the sources. Out: Entries, for docs/reference (scripts/reference.mjs) and the gate in test/public.test.ts.
 *
 * Declarations are emitted in memory, so that inferred types stand in them as users see them.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** Where the declarations seem to lie; nothing is written there. */
const folder = join(root, ".declarations");

/** Entry names, as they follow the package's name: "", "/engine", … with their source files. */
export function entries() {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  return Object.entries(exports)
    .filter(([, target]) => target.types !== undefined)
    .map(([name, { types }]) => ({ name: name.slice(1), file: types.replace("./dist/", "").replace(/\.d\.ts$/, "") }));
}

/** Every entry with its exported names. @returns [{ name, file, doc, names: [{ name, kind, doc, text, unnamed }] }] */
export function publicNames() {
  const options = {
    ...ts.convertCompilerOptionsFromJson(
      JSON.parse(readFileSync(join(root, "tsconfig.json"), "utf8")).compilerOptions,
      root,
    ).options,
    noEmit: false,
    declaration: true,
    emitDeclarationOnly: true,
    sourceMap: false,
    incremental: false,
    rootDir: join(root, "src"),
    outDir: folder,
  };
  const list = entries();
  const emitted = new Map();
  ts.createProgram(
    list.map(({ file }) => join(root, "src", `${file}.ts`)),
    options,
  ).emit(undefined, (path, text) => emitted.set(resolve(path), text), undefined, true);

  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile, directoryExists } = host;
  host.fileExists = (path) => emitted.has(resolve(path)) || fileExists(path);
  host.readFile = (path) => emitted.get(resolve(path)) ?? readFile(path);
  host.directoryExists = (path) => resolve(path).startsWith(folder) || directoryExists(path);
  host.getSourceFile = (path, target) =>
    emitted.has(resolve(path))
      ? ts.createSourceFile(path, emitted.get(resolve(path)), target, true)
      : getSourceFile(path, target);
  const program = ts.createProgram(
    list.map(({ file }) => join(folder, `${file}.d.ts`)),
    { ...options, noEmit: true },
    host,
  );
  const checker = program.getTypeChecker();
  const own = (symbol) =>
    symbol.declarations?.some((d) => resolve(d.getSourceFile().fileName).startsWith(folder)) ?? false;
  const original = (symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol);

  const found = list.map((entry) => {
    const source = program.getSourceFile(join(folder, `${entry.file}.d.ts`));
    const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(source));
    return { ...entry, symbols: symbols.map((symbol) => ({ name: symbol.name, symbol: original(symbol) })) };
  });
  const exported = new Set(found.flatMap(({ symbols }) => symbols.map(({ symbol }) => symbol)));

  return found.map(({ name, file, symbols }) => ({
    name,
    file,
    doc: headerOf(readFileSync(join(root, "src", `${file}.ts`), "utf8")),
    names: symbols
      .map(({ name: shown, symbol }) => ({
        name: shown,
        kind: kindOf(symbol),
        doc: docOf(symbol, checker),
        text: symbol.declarations.map(textOf).join("\n"),
        /** Types in its signature that no entry exports. */
        unnamed: [
          ...new Set(symbol.declarations.flatMap((node) => unnamedIn(node, { checker, own, original, exported }))),
        ],
      }))
      .sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1)),
  }));
}

/** The file's header comment without its frame and tag. */
function headerOf(text) {
  const [, body] = /^\/\*\*\n([\s\S]*?)\*\//.exec(text) ?? [undefined, ""];
  return body
    .split("\n")
    .map((line) => line.replace(/^ \* ?/, ""))
    .join("\n")
    .replace(/^@file /, "")
    .trim();
}

function kindOf({ flags }) {
  if (flags & ts.SymbolFlags.Function) return "function";
  if (flags & ts.SymbolFlags.Class) return "class";
  if (flags & ts.SymbolFlags.Variable) return "value";
  return "type";
}

function docOf(symbol, checker) {
  const text = ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim();
  const tags = symbol
    .getJsDocTags(checker)
    .map(({ name, text: parts }) => `@${name} ${ts.displayPartsToString(parts)}`.trim());
  return [text, ...tags].filter((part) => part !== "").join("\n");
}

/** A declaration as it is written, without its doc comment and the paths of imports. */
function textOf(node) {
  const whole = ts.isVariableDeclaration(node) ? `const ${node.getText()};` : node.getText();
  return whole
    .replace(/^export (declare )?/, "")
    .replace(/^declare /, "")
    .replaceAll(/import\("[^"]*"\)\./g, "");
}

/** Names of our own types in a declaration that nobody can import. */
function unnamedIn(declaration, { checker, own, original, exported }) {
  const missing = [];
  const look = (name) => {
    const at = checker.getSymbolAtLocation(ts.isQualifiedName(name) ? name.right : name);
    if (at === undefined) return;
    const symbol = original(at);
    if (symbol.flags & ts.SymbolFlags.TypeParameter || !own(symbol) || exported.has(symbol)) return;
    // a property that is looked up in a type, or the declaration's own parameter
    if (symbol.flags & (ts.SymbolFlags.Property | ts.SymbolFlags.FunctionScopedVariable) && !isModuleLevel(symbol))
      return;
    missing.push(symbol.name);
  };
  const visit = (node) => {
    if (ts.isTypeReferenceNode(node)) look(node.typeName);
    else if (ts.isExpressionWithTypeArguments(node)) look(node.expression);
    else if (ts.isImportTypeNode(node) && node.qualifier !== undefined) look(node.qualifier);
    ts.forEachChild(node, visit);
  };
  visit(declaration);
  return missing;
}

function isModuleLevel(symbol) {
  return symbol.declarations.some((node) => {
    const statement = ts.isVariableDeclaration(node) ? node.parent.parent : node;
    return ts.isSourceFile(statement.parent);
  });
}

/** Pages of docs/reference by file name. */
export function referencePages(found = publicNames()) {
  const pages = {};
  const title = (name) => `softprompt${name}`;
  const page = (name) => `${name === "" ? "softprompt" : name.slice(1)}.md`;
  for (const { name, doc, names } of found) {
    const kinds = [
      ["function", "Functions"],
      ["class", "Classes"],
      ["value", "Values"],
      ["type", "Types"],
    ];
    const lines = [
      `# ${title(name)}`,
      "",
      "Made from the doc comments by `npm run docs`; do not edit.",
      "",
      doc,
      "",
      "```ts",
      `import { … } from "${title(name)}";`,
      "```",
    ];
    for (const [kind, heading] of kinds) {
      const some = names.filter((one) => one.kind === kind);
      if (some.length === 0) continue;
      lines.push("", `## ${heading}`);
      for (const one of some)
        lines.push("", `### ${one.name}`, "", ...markdown(one.doc), "", "```ts", ...shortened(one), "```");
    }
    pages[page(name)] = `${lines.join("\n")}\n`;
  }
  pages["README.md"] = `${[
    "# Reference",
    "",
    "Every public name with its doc comment and its declaration, made from the sources by `npm run docs`. What the tasks do, with programs:",
    "[the library](../library.md).",
    "",
    "| import from | names | |",
    "| --- | --: | --- |",
    ...found.map(
      ({ name, doc, names }) =>
        `| [${title(name)}](${page(name)}) | ${names.length} | ${doc.split("\n")[0].replace(/^`[^`]*`: /, "")} |`,
    ),
  ].join("\n")}\n`;
  return pages;
}

/** Doc comments are Markdown but for braces and tags. */
function markdown(doc) {
  return doc.split("\n").map((line) => line.replace(/^@(\w+) ?/, (_, tag) => `*@${tag}* `).replaceAll("<", "&lt;"));
}

/** Longest declaration that is shown whole, in lines. */
const longest = 80;

function shortened({ name, text }) {
  const lines = text.split("\n");
  const options = [...text.matchAll(/^ {4}(\w+): \w+Option</gm)].map(([, key]) => key);
  if (options.length > 3)
    return [
      `const ${name}: {`,
      ...options.map((key) => `  ${key}`),
      "}; // an option table; docs/commands has help, range and default of each",
    ];
  return lines.length <= longest ? lines : [...lines.slice(0, longest), `// … ${lines.length - longest} lines more`];
}

export const referenceFolder = join(root, "docs/reference");

/** Files that lie in docs/reference. */
export const writtenPages = () => readdirSync(referenceFolder);
