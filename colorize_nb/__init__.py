"Colorize gray photographs, train colorizers on your own pictures and measure them honestly."
import lazy_loader

__version__ = '0.1.0' # as in settings.ini; a test compares them

# What `__init__.pyi` lists is imported when it is first asked for: `import colorize_nb` needs no torch
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
