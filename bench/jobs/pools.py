"""pools.py POOL WORKERS: each line of standard input is a task for one of Python's own pools; its results are printed.

POOL is `map`, `unordered` (multiprocessing.Pool, chunksize 1) or `executor` (ProcessPoolExecutor, chunksize 1).
"""
import concurrent.futures
import multiprocessing
import sys


def same(text):
    return text


def main():
    name, workers = sys.argv[1], int(sys.argv[2])
    tasks = [line.rstrip("\n") for line in sys.stdin]
    write = sys.stdout.write
    if name == "executor":
        with concurrent.futures.ProcessPoolExecutor(workers) as pool:
            for result in pool.map(same, tasks, chunksize=1):
                write(result + "\n")
        return
    with multiprocessing.Pool(workers) as pool:
        results = pool.map(same, tasks, chunksize=1) if name == "map" else pool.imap_unordered(same, tasks, chunksize=1)
        for result in results:
            write(result + "\n")


if __name__ == "__main__":
    main()
