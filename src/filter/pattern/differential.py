"""Answers what Python's `re` finds: one JSON request per line, one answer per line.

Request: {"pattern": str, "multiline": bool, "texts": [str]}
Answer:  {"error": str}, or {"found": [null or [[start, end] or null, …]]}, the
whole match first, then each group, in characters.
"""
import json
import re
import sys
import warnings

warnings.simplefilter("ignore")
sys.setrecursionlimit(10000)


def answer(request):
    try:
        compiled = re.compile(request["pattern"], re.M if request["multiline"] else 0)
    except (re.error, OverflowError, ValueError, RecursionError) as error:
        return {"error": str(error)}
    found = []
    for text in request["texts"]:
        match = compiled.search(text)
        spans = match and [match.span(group) for group in range(compiled.groups + 1)]
        found.append(spans and [None if start < 0 else (start, end) for start, end in spans])
    return {"found": found}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))))
