"""Counts slowly as the process of a job, and resumes: `python -m tests.service.jobs.counting DIR`.

The request: `steps`, `pause_s`, and `fail` for one that says why it cannot be done.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from training.jobs.job_directory import JobFailed, open_job
from training.jobs.job_files import Result


def main(directory: Path) -> None:
    with open_job(directory) as job:
        if job is None:
            return
        asked = job.request
        kept = directory / "count"
        done = int(kept.read_text()) if kept.is_file() else 0
        (directory / "environ").write_text("\n".join(os.environ))
        with (directory / "starts").open("a") as starts:
            starts.write(f"{os.getpid()}\n")
        if asked.get("fail"):
            raise JobFailed("this cannot be counted")
        job.report_progress(0.0, "counting")
        for step in range(done, asked["steps"]):
            time.sleep(asked["pause_s"])
            (directory / "count.partial").write_text(str(step + 1))
            (directory / "count.partial").replace(kept)
            job.report_progress((step + 1) / asked["steps"], "counting", f"{step + 1} of {asked['steps']}")
        job.write_result(Result(state="succeeded", message="counted", metrics={"counted": asked["steps"]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
