/** @file How an example ends: what it promised holds, or it exits with 1. */
export function check(holds, promise) {
  if (!holds) {
    console.error(`not so: ${promise}`);
    process.exit(1);
  }
  console.log(`✓ ${promise}`);
}

/** Steps of a tuning: as many as the example wants, or fewer where EXAMPLE_STEPS says so (the tests run all examples short). */
export const steps = (wanted) => Math.min(wanted, Number(process.env.EXAMPLE_STEPS ?? wanted));
