"""The paper's sizes on one GPU within minutes: pre-training, fine-tuning and their speed, on the synthetic world.

    python benchmarks/paper_size.py --minutes 9 --out OUT

Tiles of 448 px with 12 channels; ViT-Tiny/16 pre-trained on Europe and ViT-Base/16 on Europe, CONUS and
China; every row of the paper's Tables 1 and 2 on a few label fractions, one seed. What is not the paper's
is the number of tiles and of steps: what fits in the minutes, recorded with the results. Written after each
stage: paper_size.json (everything), paper_size_rows.json (speed, as benchmark rows), paper_size.md (tables).
Needs the layers below `sardino.study` only, and none of the tile store's libraries.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # As a script it finds its modules, and the package, in the checkout that it lies in.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks.at_paper_size.command import main

    raise SystemExit(main(__doc__))
