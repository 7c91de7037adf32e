"""A plugin of pytest that writes which tests passed, and what each took in seconds."""

import json
import os
from pathlib import Path

import pytest


class Passed:
    """Collects reports, of all processes where there are several."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.others: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if not report.passed:
            self.others.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):
            passed = {k: v for k, v in self.seconds.items() if k not in self.others}
            Path(os.environ["MUTANTS_PASSED"]).write_text(json.dumps(passed, indent=0))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Passed())
