"""numpy as the authority on .npy: writes test/fixtures/npy, one prompt [3, 4] in every form that is read and some that are not.

  python test/oracles/npy.py

The values are exact in 16 bits: i * 4 + j - 5.5, so that all forms hold the same. Checked with numpy 2.4.
"""

import io
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

OUT = Path(__file__).resolve().parent.parent / "fixtures" / "npy"
OUT.mkdir(exist_ok=True)
prompt = np.arange(12, dtype=np.float32).reshape(3, 4) - 5.5


def write(name, array, version=(1, 0)):
    out = io.BytesIO()
    npy.write_array(out, array, version=version, allow_pickle=True)
    (OUT / f"{name}.npy").write_bytes(out.getvalue())


for kind in ("<f4", ">f4", "<f2", ">f2", "<f8", ">f8"):
    write(kind.replace("<", "little-").replace(">", "big-"), prompt.astype(kind))
write("version-2", prompt, (2, 0))
write("version-3", prompt, (3, 0))
write("batch-of-one", prompt[None])
write("fortran", np.asfortranarray(prompt))
write("objects", np.array([[1.5, "a"]], dtype=object))
write("integers", prompt.astype(np.int64))
write("records", np.zeros(2, dtype=[("a", "<f4"), ("b", "<f4")]))
write("vector", prompt[0])
write("scalar", np.float32(1.5))
bad = prompt.copy()
bad[1, 2] = np.nan
write("nan", bad)
