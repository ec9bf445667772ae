#!/bin/sh
# Builds the fuzz targets with coverage counters, on the stable compiler, and runs one of them: run.sh TARGET [SECONDS]
# What it finds it writes to ./artifacts; fixed, the file goes into corpus/TARGET.
set -eu
cd "$(dirname "$0")"
target=$1
seconds=${2:-300}
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}"
# With a target named, build scripts and macros are left without counters: they have no fuzzer that would take them.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$host" --bin "$target"
mkdir -p artifacts "found/$target"
# What is found on the way goes to ./found, not to the committed corpus.
exec "$CARGO_TARGET_DIR/$host/release/$target" "found/$target" "corpus/$target" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -artifact_prefix=artifacts/
