from .color.lab import lab2rgb as lab2rgb, rgb2lab as rgb2lab
from .colorizer.batch import colorize_files as colorize_files
from .colorizer.core import Colorizer as Colorizer
from .colorizer.onnx import export_onnx as export_onnx
from .evaluate.run import run_evaluation as run_evaluation
from .models.registry import list_models as list_models
from .study.app import serve_study as serve_study
from .study.make import make_study as make_study
from .train.data import ColorizeDataLoaders as ColorizeDataLoaders, TensorL as TensorL, TensorLab as TensorLab
from .train.gan import ColorGANLearner as ColorGANLearner
from .train.learner import colorize_learner as colorize_learner
from .train.recipe import list_recipes as list_recipes
from .train.run import run_recipe as run_recipe

__version__: str
