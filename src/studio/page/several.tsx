/** @file Something of several runs, though some of them cannot be read. In: paths. Out: what was found, and why the rest was not. */
import { Refusal } from "./api.js";

export interface Found<T> {
  readonly found: readonly T[];
  readonly missing: readonly { readonly path: string; readonly problem: string }[];
}

/** @throws Refusal where the studio itself does not answer. */
export async function found<T>(paths: readonly string[], ask: (path: string) => Promise<T>): Promise<Found<T>> {
  const answers = await Promise.allSettled(paths.map((path) => ask(path)));
  const away = answers.find((one) => one.status === "rejected" && !isOfRun(one.reason));
  if (away?.status === "rejected") throw away.reason;
  return {
    found: answers.flatMap((one) => (one.status === "fulfilled" ? [one.value] : [])),
    missing: answers.flatMap((one, i) =>
      one.status === "rejected" ? [{ path: paths[i]!, problem: (one.reason as Refusal).message }] : [],
    ),
  };
}

/** Only what is said of the one run: it is not there, leads elsewhere, or its files cannot be read. */
const isOfRun = (error: unknown) => error instanceof Refusal && [400, 404, 422].includes(error.status);

export function Missing({ of: { missing } }: { readonly of: Found<unknown> }) {
  return (
    <>
      {missing.map(({ path, problem }) => (
        <p class="bad" role="alert" key={path}>
          {path}: {problem}
        </p>
      ))}
    </>
  );
}
