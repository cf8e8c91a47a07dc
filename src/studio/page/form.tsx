/** @file A form for a command, made of its option tables: shows rows as the model would read them, the command line, and starts it. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { flagWords, type Option } from "../../base/options.js";
import { shellWord } from "../../base/shell-word.js";
import type { Form, Preview } from "../protocol.js";
import { api } from "./api.js";
import { Choice, Problem, Search, Section } from "./parts.jsx";
import { linkTo, useAction, useAsked, useStudio } from "./state.js";
import { fieldText, fieldValue, usualText } from "./values.js";

type Texts = Readonly<Record<string, string>>;
type FormOption = Form["sections"][number]["options"][number];

/** Options that the studio sets itself. */
const hidden: ReadonlySet<string> = new Set(["resume"]);
/** Options of a run that another like it does not take over. */
const own: ReadonlySet<string> = new Set(["resume", "output"]);

export function New({ query }: { readonly query: URLSearchParams }) {
  const { value: forms, error } = useAsked(() => api.forms(), "forms", null);
  const [command, setCommand] = useState(query.get("command") ?? "train");
  const { given, error: unread } = useGiven(query);
  if (forms === null || given === null) return <Problem error={error ?? unread} />;
  const form = forms.find((one) => one.command === command) ?? forms[0]!;
  return (
    <>
      <h1>New</h1>
      <Choice label="command" values={forms.map((one) => one.command)} value={form.command} choose={setCommand} />
      <p class="lead">{form.summary}</p>
      <CommandForm form={form} given={given} key={`${form.command} ${query}`} />
    </>
  );
}

/** Values that the form begins with: of a run, of a command that was started here, or none. */
function useGiven(query: URLSearchParams) {
  const { state } = useStudio();
  const [like, from, job] = ["like", "from", "job"].map((name) => query.get(name));
  const { value, error } = useAsked<Readonly<Record<string, unknown>>>(
    async () => {
      if (like) return (await api.run(like)).options;
      if (job) return state.jobs.find(({ id }) => id === job)?.options ?? {};
      return from ? { from: `${state.folder}/${from}` } : {};
    },
    String(query),
    null,
  );
  return { given: value, error };
}

function CommandForm({ form, given }: { readonly form: Form; readonly given: Readonly<Record<string, unknown>> }) {
  const { state, again } = useStudio();
  const { busy, error, run } = useAction();
  const [words, setWords] = useState("");
  const all = useMemo(
    () => form.sections.flatMap(({ options }) => options).filter(({ key }) => !hidden.has(key)),
    [form],
  );
  const [texts, setTexts] = useState<Texts>(() => textsOf(all, given));
  const set = (key: string, text: string) => setTexts((old) => ({ ...old, [key]: text }));
  const values = valuesOf(all, texts);
  const wrong = error?.param?.replace(/^options\./, "") ?? null;
  const start = (event: Event) => {
    event.preventDefault();
    run(async () => {
      const job = await api.start(form.command, values);
      again();
      location.hash = linkTo("job", [["id", job.id]]);
    });
  };
  const found = (option: FormOption) =>
    words === "" || `${option.key} ${option.flag} ${option.help}`.toLowerCase().includes(words.toLowerCase());
  return (
    <form onSubmit={start}>
      <div class="bar">
        <Search placeholder="find an option" label="find an option" words={words} set={setWords} />
        <span class="soft">
          files are looked for in <code>{state.cwd}</code>
        </span>
      </div>
      <Suggestions />
      {sectionsOf(form).map(({ name, options }, i) => {
        const shown = options.filter((option) => !hidden.has(option.key) && found(option));
        const changed = shown.some(({ key }) => (texts[key] ?? "") !== "");
        return shown.length === 0 ? null : (
          <details class="options" key={name} open={i === 0 || changed || words !== ""}>
            <summary>
              {name} <span class="soft">{shown.length}</span>
            </summary>
            {shown.map((option) => (
              <Field
                key={option.key}
                option={option}
                text={texts[option.key] ?? ""}
                set={(text) => set(option.key, text)}
                wrong={wrong === option.key}
              />
            ))}
          </details>
        );
      })}
      <div class="bar">
        <button type="submit" class="main" disabled={busy || state.readOnly}>
          {busy ? "starting …" : "Start"}
        </button>
        {state.readOnly && <span class="soft">this studio only reads</span>}
      </div>
      <Problem error={error} />
      <pre class="soft">{commandLine(form, all, values)}</pre>
      {all.some(({ key }) => key === "template") && <Rows values={values} />}
    </form>
  );
}

/** The essential options first; each option once. */
function sectionsOf({ essentials, sections }: Form): Form["sections"] {
  const first = new Set(essentials);
  const all = sections.flatMap(({ options }) => options);
  return [
    { name: "Essentials", options: essentials.flatMap((key) => all.find((option) => option.key === key) ?? []) },
    ...sections.map(({ name, options }) => ({ name, options: options.filter(({ key }) => !first.has(key)) })),
  ];
}

const textsOf = (options: readonly FormOption[], given: Readonly<Record<string, unknown>>): Texts =>
  Object.fromEntries(
    options.flatMap((option) => {
      const { key } = option;
      if (own.has(key) || given[key] === undefined) return [];
      const text = fieldText(option, given[key]);
      // a run's configuration holds every default
      return text === fieldText(option, option.default) ? [] : [[key, text]];
    }),
  );

const valuesOf = (options: readonly FormOption[], texts: Texts): Record<string, unknown> =>
  Object.fromEntries(
    options.flatMap((option) => {
      const value = fieldValue(option, texts[option.key] ?? "");
      return value === undefined ? [] : [[option.key, value]];
    }),
  );

/** As it would be typed; where a value cannot be written, the reason. */
export function commandLine(
  { command }: Pick<Form, "command">,
  options: readonly FormOption[],
  values: Readonly<Record<string, unknown>>,
): string {
  const table = Object.fromEntries(options.map((option) => [option.key, option as Option]));
  try {
    return ["softprompt", command, ...flagWords(table, values)].map(shellWord).join(" ");
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Names for fields that take a model. */
function Suggestions() {
  const { state } = useStudio();
  const models = [...new Set([...state.bundled, ...state.runs.flatMap(({ model }) => model ?? [])])];
  return (
    <datalist id="models">
      {models.map((model) => (
        <option value={model} key={model} />
      ))}
    </datalist>
  );
}

function Field({
  option,
  text,
  set,
  wrong,
}: {
  readonly option: FormOption;
  readonly text: string;
  readonly set: (text: string) => void;
  readonly wrong: boolean;
}) {
  const { key, flag, help, unit, source, required } = option;
  return (
    <div class={`field ${text === "" ? "" : "changed"} ${wrong ? "wrong" : ""}`}>
      <label for={`option-${key}`}>
        {key}
        {required && <span class="bad"> required</span>}
        <code class="soft">{flag}</code>
      </label>
      <Control option={option} text={text} set={set} />
      <p class="soft">
        {help}
        {unit !== undefined && ` (${unit})`}
        {source !== undefined && ` [${source}]`}
      </p>
    </div>
  );
}

function Control({
  option,
  text,
  set,
}: {
  readonly option: FormOption;
  readonly text: string;
  readonly set: (text: string) => void;
}) {
  const id = `option-${option.key}`;
  const usual = usualText(option);
  const words = option.kind === "boolean" ? ["true", "false"] : option.kind === "choice" ? option.values : null;
  if (words !== null)
    return (
      <select id={id} value={text} onChange={(event) => set(event.currentTarget.value)}>
        <option value="">{usual === "" ? "not given" : `${usual} (default)`}</option>
        {words.map((word) => (
          <option value={word} key={word}>
            {word}
          </option>
        ))}
      </select>
    );
  const lines =
    option.kind === "map" ||
    (option.kind === "list" && option.whole) ||
    (option.kind === "string" && option.placeholder === undefined);
  if (lines)
    return (
      <textarea
        id={id}
        rows={Math.max(option.kind === "string" ? 1 : 2, text.split("\n").length)}
        placeholder={option.kind === "map" ? "name=text, one a line" : usual}
        value={text}
        onInput={(event) => set(event.currentTarget.value)}
      />
    );
  return (
    <input
      id={id}
      type={option.kind === "number" || option.kind === "integer" ? "number" : "text"}
      step={option.kind === "integer" ? 1 : "any"}
      placeholder={usual === "" && option.kind === "string" ? (option.placeholder ?? "") : usual}
      list={option.key === "model" ? "models" : undefined}
      value={text}
      onInput={(event) => set(event.currentTarget.value)}
    />
  );
}

/** Some rows as the model would read them, before anything is trained. */
function Rows({ values }: { readonly values: Readonly<Record<string, unknown>> }) {
  const { busy, error, run } = useAction();
  const [preview, setPreview] = useState<Preview | null>(null);
  const key = JSON.stringify(values);
  // rows of other options are not these
  useEffect(() => setPreview(null), [key]);
  return (
    <Section title="Rows">
      <button type="button" disabled={busy} onClick={() => run(async () => setPreview(await api.preview(values)))}>
        {busy ? "reading the rows …" : "Show rows as the model will read them"}
      </button>
      <Problem error={error} />
      {preview?.splits.map(({ split, rows, labels, examples }) => (
        <div key={split}>
          <h3>
            {split}: {rows} rows
          </h3>
          <p class="soft">
            {Object.entries(labels)
              .slice(0, 12)
              .map(([label, count]) => `${label} ${count}`)
              .join(" · ")}
          </p>
          {examples.map(({ input, target }) => (
            <p class="example" key={input}>
              {input} <b>{target}</b>
            </p>
          ))}
        </div>
      ))}
      {preview?.notices.map((notice) => (
        <p class="soft" key={notice}>
          {notice}
        </p>
      ))}
    </Section>
  );
}
