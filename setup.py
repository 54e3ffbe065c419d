"""Kept so that tools which look for setup.py find one; everything is declared in pyproject.toml."""

from setuptools import setup

setup()
