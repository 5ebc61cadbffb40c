#!/usr/bin/env bash
# Fails when the contract breaks a rule, breaks its users, or the generated code is stale.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
PATH="$PWD/$bin:$PATH"
buf lint
buf format --diff --exit-code proto
# A checkout may have no main to compare with (a shallow CI clone, the first commit).
if git rev-parse --verify --quiet main >/dev/null && git cat-file -e main:buf.yaml 2>/dev/null; then
    buf breaking --against '.git#branch=main'
fi
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
python -m grpc_tools.protoc -I proto \
    --python_out="$fresh" --grpc_python_out="$fresh" --mypy_out=quiet:"$fresh" --mypy_grpc_out=quiet:"$fresh" \
    proto/biosegment/v1/*.proto
if ! diff -r -q "$fresh/biosegment/v1" clients/biosegment/v1 -x __init__.py -x py.typed -x __pycache__; then
    echo "clients/biosegment/v1 is stale: run 'make proto' and commit the result" >&2
    exit 1
fi
