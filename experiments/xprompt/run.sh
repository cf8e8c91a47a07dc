#!/bin/sh
# XPrompt's experiments on t5-nano: sub-prompts on four tasks, FPT × XPrompt on one. A study's folder has one process at a time, so the two
# studies go side by side. Stop it at any time; the same command goes on. Needs `npm run build`.
#
#   sh experiments/xprompt/run.sh OUT
#
# From the repository's root; datasets/ holds SST-2, QQP, RTE, CB as their owners publish them.
# Tables: OUT/sub-prompts/result.md, OUT/fpt-xprompt/result.md.
set -eu
out=$1
here=$(dirname "$0")
mkdir -p "$out"
study() { node dist/cli/main.js study "$1" --config "$here/$1.yaml" --output "$out/$1" --threads 1 --quiet > "$out/$1.log" 2>&1; }

study sub-prompts &
one=$!
study fpt-xprompt &
two=$!
trap 'kill $one $two 2>/dev/null' INT TERM
wait $one
wait $two
