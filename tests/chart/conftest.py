"""KUBE_CONTEXT names a cluster for the tests that need one; without it they are not collected."""

import os

collect_ignore = [] if os.environ.get("KUBE_CONTEXT") else ["test_chart_server.py"]
