"Colorize gray photographs, train colorizers and measure them honestly."
import os

import lazy_loader

__version__ = '0.1.0' # as in settings.ini; a test compares them

os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1') # nothing leaves the machine: ONNX Runtime 1.32 tells its maker else

# What `__init__.pyi` lists is imported when it is first asked for: `import colorize_nb` needs no torch
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_EXTRAS = dict(run_evaluation='evaluate', make_study='study', serve_study='study', export_onnx='export')

def __getattr__(name):
    try: return _load(name)
    except ModuleNotFoundError as e:
        from .cli.app import missing_extra
        if not (extra := missing_extra(e.name or '', _EXTRAS.get(name, ''))): raise
        raise ImportError(f'colorize_nb.{name} needs {e.name}, which is not installed: pip install '
                          f'"colorize_nb[{extra}]"') from None
