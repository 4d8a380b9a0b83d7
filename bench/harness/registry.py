"""All figures, and what their groups are about."""

import importlib
import os
import pkgutil
from types import ModuleType

from .figure import Figure


def modules() -> list[ModuleType]:
    """Every module figures_*.py beside this one."""
    names = sorted(each.name for each in pkgutil.iter_modules([os.path.dirname(__file__)]))
    return [importlib.import_module(f".{name}", __package__) for name in names
            if name.startswith("figures_")]


def all_figures() -> list[Figure]:
    return [figure for module in modules() for figure in module.FIGURES]


def all_groups() -> dict[str, tuple[str, str]]:
    """The heading and the paragraph of each group, from the modules' GROUPS."""
    found: dict[str, tuple[str, str]] = {}
    for module in modules():
        found |= getattr(module, "GROUPS", {})
    return found
