#!/bin/sh
# XPrompt's experiments on t5-nano: sub-prompts on four tasks, FPT × XPrompt on one. Two processes of one thread each are faster on
# two cores than one of two. Stop it at any time; the same command goes on. Needs `npm run build`.
#
#   sh experiments/xprompt/run.sh DATASETS OUT
#
# DATASETS holds SST-2, QQP, RTE, CB as their owners publish them. Tables: OUT/sub-prompts/result.md, OUT/fpt-xprompt/result.md.
set -eu
data=$(cd "$1" && pwd)
out=$2
here=$(dirname "$0")
mkdir -p "$out"
# 2000 rows of the large tasks are plenty for so few steps; t5-nano learnt QQP with "duplicate", FPT's words are "is_duplicate"
printf 'data: "%s"\nfewShot: 2000\n' "$data/SST-2" > "$out/sst2.yaml"
printf 'data: "%s"\nfewShot: 2000\nformat: t5\n' "$data/QQP" > "$out/qqp.yaml"
study() { node dist/cli/main.js study "$@" --threads 1 --quiet; }
first="--tasks sst2=$out/sst2.yaml --tasks rte=$data/RTE"
second="--tasks qqp=$out/qqp.yaml --tasks cb=$data/CB"
sub="sub-prompts --config $here/sub-prompts.yaml --output $out/sub-prompts"
fpt="fpt-xprompt --config $here/fpt-xprompt.yaml --output $out/fpt-xprompt --tasks sst2=$out/sst2.yaml"

(study $sub $first; study $fpt --seeds 0) > "$out/first.log" 2>&1 &
one=$!
(study $sub $second; study $fpt --seeds 1,2) > "$out/second.log" 2>&1 &
two=$!
trap 'kill $one $two 2>/dev/null' INT TERM
wait $one
wait $two
# everything is trained by now: this only puts the tables together
study $sub $first $second
study $fpt
