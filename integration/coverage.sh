#!/usr/bin/env bash
# Runs the unit tests and prints how much of each file they execute: by cargo-llvm-cov where it is installed, else by the
# tools that rustup has for the compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly DIR=target/coverage
# Tests themselves, and what others have written.
readonly NOT_OURS='/tests(\.rs|/)|target/|/\.cargo/|/rustc/|/rustlib/'

if command -v cargo-llvm-cov >/dev/null; then
    exec cargo llvm-cov --ignore-filename-regex "$NOT_OURS"
fi

host=$(rustc -vV | sed -n 's/host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
if [[ ! -x $tools/llvm-profdata || ! -x $tools/llvm-cov ]]; then
    echo "coverage: the tools are missing; install them by: rustup component add llvm-tools" >&2
    exit 1
fi

# In a folder of its own: other flags for the compiler would have everything built again, here and the next time.
export RUSTFLAGS="-C instrument-coverage" CARGO_TARGET_DIR=$PWD/$DIR LLVM_PROFILE_FILE=$PWD/$DIR/profiles/%p-%m.profraw
rm -rf "$DIR/profiles"
objects=()
while read -r program; do
    objects+=(--object "$program")
done < <(cargo test --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
cargo test --quiet
"$tools/llvm-profdata" merge --sparse "$DIR"/profiles/*.profraw --output="$DIR/all.profdata"
"$tools/llvm-cov" report --instr-profile="$DIR/all.profdata" --ignore-filename-regex="$NOT_OURS" \
    --show-functions=false --show-branch-summary=false --show-region-summary=false "${objects[@]}"
