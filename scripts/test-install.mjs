/**
 * @file `npm run test:install [-- FILE.tgz]`: does the published file install and work in an empty project?
 *
 * In an empty project with an empty npm cache and npm's default settings (install scripts enabled), with no host reachable
 * except the npm registry as far as npm is concerned: install the packed file, run `npx softprompt doctor`, open the studio, run the
 * README's program. Exits 1 at the first thing that does not hold. Takes about a minute; needs the npm registry.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const place = mkdtempSync(join(tmpdir(), "softprompt-install-"));
const project = join(place, "project");
// Nothing of the environment may help: neither ignore-scripts nor the engine's own skip switch.
const env = Object.fromEntries(
  Object.entries(process.env).filter(([key]) => !/^npm_|^ONNXRUNTIME_|^INIT_CWD$|^NODE_ENV$/i.test(key)),
);
const run = (command, args, cwd = project) => {
  console.log(`$ ${command} ${args.join(" ")}`);
  return execFileSync(command, args, {
    cwd,
    env: { ...env, npm_config_cache: join(place, "cache") },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 300_000,
  });
};
const check = (fact, what) => {
  if (!fact) throw new Error(`does not hold: ${what}`);
  console.log(`ok: ${what}`);
};

/** Every file of the studio's page is answered, as a browser would ask for them. */
async function openStudio() {
  console.log("$ softprompt studio --port 0");
  const program = join(project, "node_modules/softprompt/dist/cli/main.js");
  const studio = spawn("node", [program, "studio", "--port", "0"], { cwd: project, stdio: ["ignore", "pipe", "pipe"] });
  try {
    const told = new Promise((found) => {
      let text = "";
      for (const stream of [studio.stdout, studio.stderr])
        stream.on("data", (piece) => {
          text += piece;
          const address = /http:\S+\?token=\S+/.exec(text)?.[0];
          if (address !== undefined) found(address);
        });
    });
    const address = await Promise.race([
      told,
      once(studio, "exit").then(() => Promise.reject(new Error("the studio ended"))),
    ]);
    const first = await fetch(address);
    const cookie = first.headers.get("set-cookie")?.split(";")[0];
    for (const name of ["page.js", "style.css", "api/state"]) {
      const { status } = await fetch(new URL(name, address), { headers: { cookie } });
      check(status === 200, `the studio answers /${name}`);
    }
  } finally {
    studio.kill("SIGTERM");
  }
}

try {
  const tarball = process.argv[2]
    ? resolve(process.argv[2])
    : run("node", [join(root, "scripts/pack.mjs"), place], root)
        .trim()
        .split("\n")
        .at(-1);
  run("mkdir", ["-p", project], place);
  writeFileSync(join(project, "package.json"), '{ "name": "empty-project", "private": true, "type": "module" }\n');
  check(run("npm", ["config", "get", "ignore-scripts"]).trim() === "false", "install scripts are enabled");
  const started = Date.now();
  run("npm", ["install", "--no-audit", "--no-fund", tarball]);
  console.log(`installed in ${((Date.now() - started) / 1000).toFixed(1)} s`);
  const engine = join(project, "node_modules/softprompt/node_modules/onnxruntime-node");
  check(existsSync(engine), "the engine came inside the package");
  check(!JSON.parse(readFileSync(join(engine, "package.json"), "utf8")).scripts, "the engine has no install script");
  check(!readdirSync(join(project, "node_modules")).includes("onnxruntime-node"), "no second engine from the registry");
  const doctor = JSON.parse(run("npx", ["softprompt", "doctor", "--json"]));
  check(doctor.ok, "softprompt doctor finds no fault");
  await openStudio();
  const [, program] =
    /```ts\n([\s\S]*?)```/.exec(readFileSync(join(project, "node_modules/softprompt/README.md"), "utf8")) ?? [];
  check(program !== undefined, "README shows a program");
  writeFileSync(join(project, "program.mjs"), program);
  console.log(run("node", ["program.mjs"]));
  console.log("the published file installs and works");
} finally {
  rmSync(place, { recursive: true, force: true });
}
