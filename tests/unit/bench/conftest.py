"""The bench is no package: its modules are found beside each other."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "bench"))
