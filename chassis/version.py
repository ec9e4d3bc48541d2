"""The version of this distribution, where no metadata of installed packages has to be read for it.

>>> __version__.count(".")
2
"""

__version__ = "0.1.0"
