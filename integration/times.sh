#!/usr/bin/env bash
# Says at the end of `make test` what took long.
#
#   times.sh phase NAME COMMAND...  runs a command and records how long it took; its status is that of the command
#   times.sh report                 prints the slowest tests and all phases
#
# The file that LAB_TEST_TIMES names holds the records: the lab appends seconds and a name for each test
# (integration/src/stopwatch.rs), this script does so for each phase, as the test "phase NAME".
set -euo pipefail
readonly SLOWEST=10
times=${LAB_TEST_TIMES:?names the file of records}

phase() {
    local name=$1 status=0 started=$EPOCHREALTIME
    shift
    "$@" || status=$?
    # Without the dot, the two are numbers of microseconds.
    local took=$((${EPOCHREALTIME/[.,]/} - ${started/[.,]/}))
    printf '%d.%02d phase %s\n' $((took / 1000000)) $((took / 10000 % 100)) "$name" >>"$times"
    return $status
}

# A test that makes several labs has several lines.
report() {
    touch "$times"
    echo "the slowest tests:"
    grep -v ' phase ' "$times" | awk '{ total[$2] += $1 } END { for (name in total) print total[name], name }' |
        sort -rn | head -n $SLOWEST | awk '{ printf "%8.1f s  %s\n", $1, $2 }' || true
    echo "all together:"
    awk '$2 == "phase" { printf "%8.1f s  %s\n", $1, $3 }' "$times"
}

case ${1-} in
phase | report) "$@" ;;
*) sed -n '2,8s/^# \?//p' "$0" >&2 && exit 64 ;;
esac
