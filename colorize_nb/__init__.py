"Colorize gray photographs, train colorizers and measure them honestly."
from importlib.metadata import PackageNotFoundError, version

try: __version__ = version('colorize_nb')
except PackageNotFoundError: __version__ = '0+unknown'
