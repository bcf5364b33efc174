# doula run --workers lines python3 square.py ::: 1 2 3
import json, sys

for line in sys.stdin:
    task = json.loads(line)
    try:
        answer = {"id": task["id"], "output": int(task["input"]) ** 2}
    except Exception as error:
        answer = {"id": task["id"], "error": repr(error)}
    print(json.dumps(answer), flush=True)
