"""The command line answers `--help` without loading what is slow to load."""

import subprocess
import sys

HEAVY = {"torch", "transformers", "langgraph", "langchain_core", "gymnasium", "minigrid", "numpy"}
HELP = f"""
import sys
sys.argv = ["gedanken", "--help"]
from gedanken.cli import main
try:
    main()
finally:
    print("loaded:", *sorted({HEAVY} & sys.modules.keys()), file=sys.stderr)
"""


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert done.stderr.strip() == "loaded:"


EARLY = """
import sys
class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
from gedanken.__main__ import main
main()
"""


def test_ctrl_c_while_importing_is_an_interruption() -> None:
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130 and done.stderr == "\nInterrupted.\n"


def test_the_client_of_the_service_loads_no_model() -> None:
    code = "import sys, gedanken.tools.client; print(*{'torch', 'transformers', 'langgraph'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "" and done.returncode == 0, done.stderr
