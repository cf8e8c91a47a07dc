/** @file One question for several prompts of one base model, and for the frozen model without a prompt. */
import { scoreText, secondText } from "../../report/format.js";
import type { Answers, GivenAnswer, RunDetails } from "../protocol.js";
import { api } from "./api.js";
import { Heading, Problem, Section } from "./parts.jsx";
import { found as foundOf, Missing } from "./several.jsx";
import { linkTo, useAction, useAsked, useKept, useStudio } from "./state.js";

export function Try({ paths }: { readonly paths: readonly string[] }) {
  const { value, error } = useAsked(() => foundOf(paths, api.run), paths.join("\n"), null);
  if (paths.length === 0) return <Choose />;
  if (value === null) return error === null ? <p class="soft">reading …</p> : <Problem error={error} />;
  return (
    <>
      <Heading>Try</Heading>
      <Missing of={value} />
      {value.found.length > 0 && <Asking runs={value.found} />}
    </>
  );
}

function Choose() {
  const { state } = useStudio();
  const done = state.runs.filter(({ kind, state }) => state === "done" && kind !== "study run");
  return (
    <>
      <Heading>Try</Heading>
      {done.length === 0 && <p>No run under this folder has ended yet.</p>}
      <ul>
        {done.map(({ path }) => (
          <li key={path}>
            <a href={linkTo("try", [["path", path]])}>{path}</a>
          </li>
        ))}
      </ul>
    </>
  );
}

function Asking({ runs }: { readonly runs: readonly RunDetails[] }) {
  const { busy, error, run } = useAction();
  const [input, setInput] = useKept<Readonly<Record<string, string>>>("input", () => ({}));
  const [frozen, setFrozen] = useKept("frozen", () => true);
  const [found, setFound] = useKept<{ readonly answers: Answers; readonly asked: string } | null>(
    "answers",
    () => null,
  );
  const fields = [...new Set(runs.flatMap(({ task }) => task?.fields ?? []))];
  const unread = runs.filter(({ task }) => task === null);
  const paths = runs.filter(({ task }) => task !== null).map((one) => one.run.path);
  const question = JSON.stringify([paths, input, frozen]);
  return (
    <>
      <p class="lead">
        {runs.map(({ run: one, task }) => (
          <span key={one.path}>
            <a href={linkTo("run", [["path", one.path]])}>{one.path}</a> <code>{task?.template}</code>{" "}
          </span>
        ))}
      </p>
      {unread.map((one) => (
        <p class="bad" key={one.run.path}>
          {one.run.path} has no adapter that says its task.
        </p>
      ))}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          // Ctrl+Enter comes here too
          if (busy || paths.length === 0) return;
          run(async () => setFound({ answers: await api.answers({ paths, input, frozen }), asked: question }));
        }}
      >
        {fields.map((field) => (
          <div class="field" key={field}>
            <label for={`field-${field}`}>{field}</label>
            <textarea
              id={`field-${field}`}
              rows={fields.length > 1 ? 2 : 4}
              value={input[field] ?? ""}
              onInput={(event) => setInput({ ...input, [field]: event.currentTarget.value })}
              onKeyDown={(event) => {
                if (event.key === "Enter" && (event.ctrlKey || event.metaKey))
                  event.currentTarget.form?.requestSubmit();
              }}
            />
          </div>
        ))}
        <div class="bar">
          <button type="submit" class="main" disabled={busy || paths.length === 0}>
            {busy ? "answering …" : "Ask"}
          </button>
          <label>
            <input type="checkbox" checked={frozen} onChange={(event) => setFrozen(event.currentTarget.checked)} /> the
            frozen model without a prompt too
          </label>
          <button type="button" onClick={() => run(async () => void (await api.closeAnswers()))}>
            Free its memory
          </button>
        </div>
      </form>
      <Problem error={error} />
      {found !== null && (
        <Section title="Answers">
          {found.asked !== question && <p class="bad">These are the answers to what was asked before.</p>}
          <div class="answers">
            {found.answers.answers.map((answer) => (
              <AnswerCard answer={answer} key={`${answer.path} ${answer.frozen}`} />
            ))}
          </div>
          <p class="soft">{secondText(found.answers.seconds)}, a model that was not open yet included.</p>
        </Section>
      )}
    </>
  );
}

/** Most labels that are shown. */
const mostLabels = 8;

function AnswerCard({ answer }: { readonly answer: GivenAnswer }) {
  const { path, frozen, label, text, probabilities, truncated, error } = answer;
  const ranked = Object.entries(probabilities ?? {}).sort(([, a], [, b]) => b - a);
  return (
    <div class={`card ${frozen ? "frozen" : ""}`}>
      <p class="soft">{frozen ? `no prompt, task of ${path}` : path}</p>
      {error !== null ? <p class="bad">{error}</p> : <p class="answer">{label ?? text}</p>}
      {ranked.slice(0, mostLabels).map(([name, probability]) => (
        <div class="share" key={name}>
          <span>{name}</span>
          <span class="progress">
            <span style={`width:${100 * probability}%`} />
          </span>
          <span class="n">{scoreText(probability)}</span>
        </div>
      ))}
      {ranked.length > mostLabels && <p class="soft">and {ranked.length - mostLabels} more</p>}
      {truncated && <p class="soft">The text was too long and was shortened.</p>}
    </div>
  );
}
