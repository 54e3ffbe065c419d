"""Every size that a config offers is a variant of its encoder."""

import importlib

import pytest

OFFERED = [
    (encoder, size, *choice)
    for name in ("image", "audio", "video")
    for encoder, sizes in importlib.import_module(f"configs.{name}").ENCODERS.items()
    for size, choice in sizes.items()
]


@pytest.mark.parametrize(("encoder", "size", "variant", "source"), OFFERED)
def test_the_variant_exists(encoder, size, variant, source):
    module = importlib.import_module(f"mmdf_jax.encoders.{encoder}")
    assert variant in module.VARIANTS
    assert not source or (size != "tiny" and module.RULES)
