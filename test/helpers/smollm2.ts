/**
 * @file The real SmolLM2-135M-Instruct as a Hugging Face folder, where ../shared/models and a Python with gguf are at hand.
 *
 * Out: the folder, or null after saying why tests are skipped. It is written once into the system's temporary folder (269 MB)
 * and used by all tests after that. The Python is $SOFTPROMPT_PYTHON, else python3.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(
  new URL("../../../shared/models/smollm2-135m-instruct/to_huggingface.py", import.meta.url),
);
export const python = process.env.SOFTPROMPT_PYTHON ?? "python3";

/** Whether that Python can import these packages. */
export const pythonHas = (...packages: string[]): boolean =>
  spawnSync(python, ["-c", `import ${packages.join(", ")}`]).status === 0;

export function smollm2Folder(): string | null {
  const skipped = (why: string) => {
    console.warn(`tests on the real SmolLM2 are SKIPPED: ${why}`);
    return null;
  };
  const folder = join(process.env.SOFTPROMPT_TESTS_KEPT ?? tmpdir(), "softprompt-smollm2-135m-instruct-bf16");
  if (existsSync(folder)) return folder;
  if (!existsSync(script)) return skipped("../shared/models is not there");
  if (!pythonHas("gguf", "numpy")) return skipped(`${python} has no gguf and numpy (set SOFTPROMPT_PYTHON)`);
  const made = mkdtempSync(`${folder}-`);
  const { status, stderr } = spawnSync(python, [script, made], { encoding: "utf8" });
  if (status !== 0) {
    rmSync(made, { recursive: true });
    return skipped(stderr);
  }
  try {
    renameSync(made, folder);
  } catch {
    rmSync(made, { recursive: true }); // another test was faster
  }
  return folder;
}
