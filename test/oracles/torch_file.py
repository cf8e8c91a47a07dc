"""PyTorch and numpy as the authorities on files that we write.

  python test/oracles/torch_file.py check            prints the version found
  python test/oracles/torch_file.py torch FILE       torch.load(weights_only=True): prints {"shape", "dtype", "contiguous", "values"}
  python test/oracles/torch_file.py npy FILE         numpy.load(allow_pickle=False): the same

Checked with torch 2.13 and numpy 2.4.
"""

import json
import sys

import numpy as np
import torch

if sys.argv[1] == "check":
    print(json.dumps({"torch": torch.__version__}))
elif sys.argv[1] == "torch":
    found = torch.load(sys.argv[2], weights_only=True, map_location="cpu")
    print(
        json.dumps(
            {
                "shape": list(found.shape),
                "dtype": str(found.dtype),
                "contiguous": found.is_contiguous() and not found.is_sparse,
                "values": found.flatten().tolist(),
            }
        )
    )
else:
    array = np.load(sys.argv[2], allow_pickle=False)
    print(json.dumps({"shape": list(array.shape), "dtype": array.dtype.str, "contiguous": True, "values": array.flatten().tolist()}))
