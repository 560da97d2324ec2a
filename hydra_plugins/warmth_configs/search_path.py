"""This project's configs and schemas for `hydra.compose`, in a program that imported `warmth`."""

import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class WarmthConfigs(SearchPathPlugin):
    """Adds `conf/` and the schemas behind whatever else a program searches.

    Hydra loads the plugins of all that is installed, so other programs of the same environment come
    here too: without `import warmth` they get nothing.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra before anything is composed."""
        if "warmth" not in sys.modules:
            return
        from warmth.paths import ROOT
        from warmth.schemas import register

        register()
        folder = str(ROOT / "conf")
        known = [str(element.path).removeprefix("file://") for element in search_path.get_path()]
        if folder not in known:
            search_path.append("warmth", f"file://{folder}")
