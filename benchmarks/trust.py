"""What labels, folds, curves, familiarity and drift are worth on real photographs; a part a module, trust_PART.py.

python benchmarks/trust.py [duplicates] [labels] [folds] [curve] [unfamiliar] [drift] [add]
"""

import argparse
import tempfile
from importlib import import_module
from pathlib import Path

PARTS = ("duplicates", "labels", "folds", "curve", "unfamiliar", "drift", "add")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, choices=PARTS)
    for part in parser.parse_args().parts:
        with tempfile.TemporaryDirectory() as folder:
            import_module(f"trust_{part}").run(Path(folder))
