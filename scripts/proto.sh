#!/usr/bin/env bash
# Formats the protos and generates clients/biosegment/v1 from them.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
PATH="$PWD/$bin:$PATH"
buf format -w proto
out=clients
find clients/biosegment/v1 -name '*_pb2*' -delete
python -m grpc_tools.protoc -I proto \
    --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" \
    proto/biosegment/v1/*.proto
cat > clients/biosegment/v1/__init__.py <<'PY'
"""Generated from proto/biosegment/v1 by `make proto`; never edited by hand."""
PY
touch clients/biosegment/v1/py.typed
