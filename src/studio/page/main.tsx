/** @file The page: its bar, and the view of the place that the address names. */
import { render } from "preact";
import { useEffect } from "preact/hooks";
import type { JobStatus } from "../protocol.js";
import { api } from "./api.js";
import { Compare } from "./compare.jsx";
import { New } from "./form.jsx";
import { Home } from "./home.jsx";
import { Job } from "./job.jsx";
import { Problem } from "./parts.jsx";
import { Run } from "./run.jsx";
import { linkTo, type Place, StayContext, Studio, useAsked, usePlace } from "./state.js";
import { Try } from "./try.jsx";

/** Milliseconds between two looks at the runs and commands. */
const lookEvery = 2000;

const views = {
  "": { title: "runs", show: (_, visit) => <Home key={visit} /> },
  run: { title: "run", show: ({ query }, visit) => <Run path={query.get("path") ?? ""} key={visit} /> },
  new: { title: "new", show: ({ query }, visit) => <New query={query} key={visit} /> },
  job: { title: "command", show: ({ query }, visit) => <Job id={query.get("id") ?? ""} key={visit} /> },
  compare: { title: "compare", show: ({ query }, visit) => <Compare paths={query.getAll("path")} key={visit} /> },
  try: { title: "try", show: ({ query }, visit) => <Try paths={query.getAll("path")} key={visit} /> },
} satisfies Record<string, { title: string; show: (place: Place, visit: string) => preact.JSX.Element }>;

export function App() {
  const { place, stay } = usePlace();
  const { value: state, error, again } = useAsked(() => api.state(), "state", lookEvery);
  const view = Object.hasOwn(views, place.name) ? views[place.name as keyof typeof views] : views[""];
  useEffect(() => {
    document.title = `${place.query.get("path") ?? view.title} – softprompt studio`;
  }, [place.query, view]);
  const count = (...statuses: readonly JobStatus[]) =>
    state?.jobs.filter(({ status }) => statuses.includes(status)).length ?? 0;
  const [running, waiting] = [count("running", "stopping"), count("waiting")];
  return (
    <>
      <header>
        <a href={linkTo("")} class="name">
          softprompt studio
        </a>
        <code class="soft" title={state?.folder}>
          {state?.folder.split(/[\\/]/).at(-1)}
        </code>
        <nav>
          {running > 0 && <span class="badge running">{running} running</span>}
          {waiting > 0 && <span class="badge">{waiting} waiting</span>}
          {state?.readOnly === false && <a href={linkTo("new")}>New</a>}
          <a href={linkTo("try")}>Try</a>
        </nav>
      </header>
      <main>
        <Problem error={error} />
        {state !== null && (
          <StayContext.Provider value={stay}>
            <Studio.Provider value={{ state, again }}>{view.show(place, stay.visit)}</Studio.Provider>
          </StayContext.Provider>
        )}
      </main>
    </>
  );
}

// the cookie has the token now: the address, which the history keeps, needs it no more
if (location.search !== "") history.replaceState(null, "", location.pathname + location.hash);
const root = document.getElementById("page");
if (root !== null) {
  root.replaceChildren();
  render(<App />, root);
}
