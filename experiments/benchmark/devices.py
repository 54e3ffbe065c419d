"""Peak arithmetic rates of accelerators, for model FLOP utilisation."""

# Dense bfloat16 products with fp32 sums, FLOP/s; the first name that JAX's `device_kind` contains decides. NVIDIA:
# the cards' datasheets (half of figures given "with sparsity"); TPU: cloud.google.com/tpu/docs, system architecture.
PEAKS = (
    ("B200", 2250e12),
    ("H200", 989.4e12),
    ("GH200", 989.4e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989.4e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("A10", 125e12),
    ("TPU v6 lite", 918e12),
    ("TPU v5p", 459e12),
    ("TPU v5 lite", 197e12),
    ("TPU v4", 275e12),
)


def peak(device_kind: str, dtype: str) -> float | None:
    """FLOP/s, or None for devices that are not listed and for other dtypes than bfloat16."""
    if dtype != "bfloat16":
        return None
    return next((rate for name, rate in PEAKS if name in device_kind), None)
