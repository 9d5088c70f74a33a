import importlib.util
import sys

if importlib.util.find_spec("ggl_lightning.audit.statistics") is None:
    from tests.audit.report import stub_statistics

    sys.modules["ggl_lightning.audit.statistics"] = stub_statistics
