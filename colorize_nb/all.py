"Everything at once, for notebooks and research, as in fastai: `from colorize_nb.all import *` brings fastai's names and ours."
from fastai.vision.all import *

from .color import *
from .lite import *
from .photos import *
from .colorizer import *
from .samples import *
from .folders import *
from .files import *
from .augment import *
from .data import *
from .generators import *
from .critics import *
from .losses import *
from .metrics import *
from .learner import *
from .checkpoints import *
from .schedules import *
from .gan import *
from .nogan import *
from .recipes import *
from .demo import *
