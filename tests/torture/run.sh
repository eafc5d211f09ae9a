#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The long forms of killing and breaking, one after the other; "make torture" calls this, and
# "make check" runs the same programs in their short form.  Ends at the first that fails.
#
#   run.sh [short|long] [FOLDER]
#
# FOLDER has the programs (the folder this is in, when they were built there).  The lines that
# count what was done are the ones that documents/evidence.md quotes.
set -eu

mode=${1:-long}
built=${2:-${top_builddir:-.}/tests}

run() {
    echo "== $*"
    "$@"
}

case $mode in
short)
    run "$built/torture/kill"
    run "$built/torture/crash"
    run "$built/torture/many"
    run "$built/torture/soak"
    run "$built/torture/threads"
    run "$built/fault/faults"
    run "$built/corruption/flip"
    ;;
long)
    run "$built/torture/kill" --kills 10000
    run "$built/torture/kill" --kills 2000 --workers 8 --seed 3
    run "$built/torture/crash" --all
    run "$built/torture/many" --seconds 30
    run "$built/torture/soak" --cycles 200000
    run "$built/torture/threads" --seconds 30 --threads 16
    run "$built/fault/faults"
    run "$built/fault/faults" --lasting
    run "$built/corruption/flip" --all
    run "$built/torture/kill" --stock --kills 300
    run "$built/torture/kill" --stock-latest --kills 300
    ;;
*)
    echo "run.sh: '$mode' is neither short nor long" >&2
    exit 2
    ;;
esac
