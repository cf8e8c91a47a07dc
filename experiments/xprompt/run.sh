#!/bin/sh
# XPrompt's experiments on t5-nano: sub-prompts on four tasks, FPT × XPrompt on one. Two processes of one thread each are faster on
# two cores than one of two. Stop it at any time; the same command goes on. Needs `npm run build`.
#
#   sh experiments/xprompt/run.sh OUT
#
# From the repository's root; datasets/ holds SST-2, QQP, RTE, CB as their owners publish them.
# Tables: OUT/sub-prompts/result.md, OUT/fpt-xprompt/result.md.
set -eu
out=$1
here=$(dirname "$0")
mkdir -p "$out"
study() { node dist/cli/main.js study "$@" --threads 1 --quiet; }
sub="sub-prompts --config $here/sub-prompts.yaml --output $out/sub-prompts"
fpt="fpt-xprompt --config $here/fpt-xprompt.yaml --output $out/fpt-xprompt"

(study $sub --seeds 0,1; study $fpt --seeds 0) > "$out/first.log" 2>&1 &
one=$!
(study $sub --seeds 2; study $fpt --seeds 1,2) > "$out/second.log" 2>&1 &
two=$!
trap 'kill $one $two 2>/dev/null' INT TERM
wait $one
wait $two
# everything is trained by now: this only puts the tables together
study $sub
study $fpt
