/** @file Takes a folder's lock, says whether it got it, and holds it until its input closes. */
import { lockFolder } from "../../src/base/lock.js";

process.stdin.resume();
process.stdin.once("data", () => {
  try {
    const lock = lockFolder(process.argv[2]!);
    process.stdout.write("got\n");
    process.stdin.once("end", () => lock.release());
  } catch (error) {
    process.stdout.write(`${(error as { kind?: string }).kind}\n`);
  }
});
process.stdout.write("ready\n");
