"""The peer's side: answer calls, one JSON object a line, until the asking process is gone."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any


def serve(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer each line {"call": name, "arguments": {...}} with {"result": ...}.

    Whatever the libraries print goes to stderr: stdout belongs to the answers.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        result = functions[request["call"]](**request["arguments"])
        print(json.dumps({"result": result}), file=answers, flush=True)
