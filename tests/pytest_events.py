"""A pytest plugin that reports each test to run_tests.py as it runs: one JSON line per event.

run_tests.py needs them as they come, for progress, and to know which test hangs.
Environment: STEPSCOPE_TEST_EVENTS (file descriptor), STEPSCOPE_TEST_SELECT (JSON: patterns,
done; a test runs if its name contains one of the patterns, or there are none, and is not done).
"""

import json
import os

events_fd = int(os.environ["STEPSCOPE_TEST_EVENTS"])
os.set_inheritable(events_fd, False)  # what tests start must not hold the pipe open
events = os.fdopen(events_fd, "w", buffering=1)
select = json.loads(os.environ["STEPSCOPE_TEST_SELECT"])


def emit(**event):
    events.write(json.dumps(event) + "\n")


def name_of(nodeid):
    return nodeid.removeprefix("tests/")


def pytest_collection_modifyitems(config, items):
    def wanted(item):
        name = name_of(item.nodeid)
        if name in select["done"]:
            return False
        return not select["patterns"] or any(
            pattern.lower() in name.lower() for pattern in select["patterns"]
        )

    items[:] = [item for item in items if wanted(item)]
    emit(event="collected", count=len(items))


def pytest_collectreport(report):
    if report.failed:
        emit(event="result", name=name_of(report.nodeid), outcome="failed", seconds=0,
             text=str(report.longrepr))
    elif report.skipped:
        emit(event="result", name=name_of(report.nodeid), outcome="skipped", seconds=0,
             text=reason_of(report))


def reason_of(report):
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return getattr(report, "wasxfail", "") or "no reason given"


def pytest_runtest_logstart(nodeid, location):
    emit(event="start", name=name_of(nodeid))


def text_of(report):
    sections = [str(report.longrepr)]
    sections += [f"--- {title} ---\n{body}" for title, body in report.sections]
    return "\n".join(sections)


def pytest_runtest_logreport(report):
    if report.failed:
        name = name_of(report.nodeid)
        if report.when == "teardown":
            name += " (teardown)"
        emit(event="result", name=name, outcome="failed", seconds=report.duration,
             text=text_of(report))
    elif report.skipped:
        emit(event="result", name=name_of(report.nodeid), outcome="skipped",
             seconds=report.duration, text=reason_of(report))
    elif report.when == "call":
        emit(event="result", name=name_of(report.nodeid), outcome="passed",
             seconds=report.duration, text="")
