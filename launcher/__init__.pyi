# What type checkers see of `launcher`: each public name from the module that defines it (the table in __init__.py).
from pathlib import Path

from launcher.config.trust import factory as factory
from launcher.core.algorithm import Algorithm as Algorithm
from launcher.core.algorithm import Monitor as Monitor
from launcher.core.communication import Communication as Communication
from launcher.core.loop import Loop as Loop
from launcher.core.loss import Loss as Loss
from launcher.core.parallel import Parallel as Parallel
from launcher.core.procedure import Input as Input
from launcher.core.procedure import Job as Job
from launcher.core.procedure import Procedure as Procedure
from launcher.core.run import Part as Part
from launcher.core.run import Progress as Progress
from launcher.core.run import Run as Run
from launcher.core.task import Task as Task
from launcher.data.samples import Batch as Batch
from launcher.data.samples import Datasets as Datasets
from launcher.data.samples import Samples as Samples
from launcher.data.samples import TensorSamples as TensorSamples
from launcher.data.splits import split_rows as split_rows
from launcher.errors import ConfigError as ConfigError
from launcher.errors import LauncherError as LauncherError
from launcher.errors import TrainingError as TrainingError
from launcher.errors import did_you_mean as did_you_mean
from launcher.trackers.base import Tracker as Tracker

__version__: str
CONF: Path
