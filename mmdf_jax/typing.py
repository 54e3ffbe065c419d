"""Array aliases, and the axis letters that every shape in this project is written with.

b batch · t time · h height · w width · c channels · n tokens or frames · d features · s audio samples
"""

from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray
Batch = dict[str, Array]
Outputs = dict[str, Any]
Dtype = Any
