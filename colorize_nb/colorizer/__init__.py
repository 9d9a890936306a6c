"""Colorize photographs: a model, its engine, guided upsampling, folders. Each name imports its module when first used.

    from colorize_nb.colorizer import Colorizer
"""
from importlib import import_module

_MODULES = dict( # module of this package: the names that it lends
    core=['Colorizer', 'ChromaModel', 'working_shape', 'predict_chroma', 'average_chroma'],
    engines=['load_engine', 'OnnxEngine', 'TorchEngine'],
    hints=['Hint', 'Hints'],
    upsample=['guided_upsample', 'merge_chroma', 'merge_chroma_exact'],
    batch=['colorize_files', 'colorize_in_processes'],
    compare=['side_by_side', 'sizes_sheet'],
    onnx=['export_onnx'],
    restore=['colorize_tiles', 'fill_color'],
    video=['colorize_film'])
_WHERE = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_WHERE)

def __getattr__(name):
    if name not in _WHERE: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(f'{__name__}.{_WHERE[name]}'), name)
    globals()[name] = value # the next look-up finds it and does not come here
    return value

def __dir__(): return sorted({*globals(), *__all__})
