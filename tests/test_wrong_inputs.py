"""Wrong input, each with the one message that a person gets: exit status 2, no traceback, no folder, no torch."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from omegaconf import OmegaConf

from launcher import CONF
from launcher.__main__ import main
from launcher.config import compose
from launcher.errors import REFUSED, did_you_mean
from tests.support.harness import ROOT, environment

FILES = {
    "optimizer/typo.yaml": "_target_: torch.optim.AdamW\n_partial_: true\nlr: 0.001\nweight_decy: 0.1\n",
    "optimizer/control.yaml": "_target_: torch.optim.AdamW\n_partial_: true\n_recursiv_: true\nlr: 0.001\n",
    "optimizer/whole.yaml": "_target_: torch.optim.AdamW\nlr: 0.001\n",
    "optimizer/torn.yaml": "_target_: torch.optim.AdamW\nlr: [0.1\n",
    "optimizer/tabs.yaml": "_target_: torch.optim.AdamW\n\tlr: 0.1\n",
    "optimizer/shell.yaml": "_target_: os.system\n_partial_: true\ncommand: 'true'\n",
    "optimizer/nested.yaml": "_target_: torch.optim.SGD\n_partial_: true\nlr:\n  _target_: builtins.eval\n  x: '1'\n",
    "optimizer/aims.yaml": "_target_: torch.optim.SGD\n_partial_: true\nlr: ${optimiser.lr}\n",
    "optimizer/bare.yaml": "lr: 0.1\n",
    "monitor/flat.yaml": "_target_: launcher.monitors.gradient_norm.GradientNorm\n",
    "experiment/option.yaml": "# @package _global_\ndefaults:\n  - override /precision: bf61\n",
    "experiment/group.yaml": "# @package _global_\ndefaults:\n  - override /optimiser: adamw\n",
    "experiment/key.yaml": "# @package _global_\ntraining:\n  batch_size: 16\n  max_epoch: 3\n",
    "experiment/kind.yaml": "# @package _global_\ntraining:\n  batch_size: many\n",
    "experiment/range.yaml": "# @package _global_\ntraining:\n  batch_size: 0\n",
    "experiment/root.yaml": "# @package _global_\ntrainning:\n  batch_size: 3\n",
    "experiment/twice.yaml": "# @package _global_\nseed: 1\nseed: 2\n",
    "experiment/secret.yaml": "# @package _global_\ndata:\n  api_key: abc\n",
}
"""A user's own folder of configs, `mine`."""

TRUST = (
    ", which a config may not run. An installed package can declare it (entry-point group launcher.targets), "
    "or you allow it: LAUNCHER_TRUST="
)


class Case(NamedTuple):
    """What is typed, and what is said after `error: `.

    In the message `<options GROUP>` stands for the entries of conf/GROUP, `<near WORD GROUP>` for what comes nearest,
    so that a new entry changes no test; `<mine>` for the user's folder.
    """

    words: str
    message: str


UNKNOWN = [
    Case("precision=bf61", "precision=bf61: no such option of the group 'precision'.<near bf61 precision> (conf/precision has: <options precision>)"),
    Case("task=zzz", "task=zzz: no such option of the group 'task'. conf/task has: <options task>"),
    Case("tracker=[tensorboard,tensorbord]", "tracker=[tensorboard,tensorbord]: no such option of the group 'tracker': 'tensorbord'.<near tensorbord tracker> (conf/tracker has: <options tracker>)"),
    Case("optimizer=5", "optimizer=5: no such option of the group 'optimizer'. conf/optimizer has: <options optimizer>"),
    Case("optimizer=", "optimizer=: no such option of the group 'optimizer'. conf/optimizer has: <options optimizer>"),
    Case("precision=[fp32,bf16]", "precision=[fp32,bf16]: the group 'precision' takes one option, not a list"),
    Case("optimizer=null", "optimizer: nothing is chosen; optimizer=<option> does (conf/optimizer has: <options optimizer>)"),
    Case("~model", "model: nothing is chosen; model=<option> does (conf/model has: <options model>)"),
    Case("optimiser=lion", "optimiser=lion: there is no group or key 'optimiser'. Did you mean 'optimizer'?"),
    Case("optimiser.lr=1", "optimiser.lr=1: there is no group or key 'optimiser.lr'. Did you mean 'optimizer'?"),
    Case("lr=0.1", "lr=0.1: there is no group or key 'lr'. Did you mean 'optimizer.lr'?"),
    Case("batch_size=16", "batch_size=16: there is no group or key 'batch_size'. Did you mean 'training.batch_size'?"),
    Case("qqqq=1", "qqqq=1: there is no group or key 'qqqq'. python -m launcher --help lists them."),
    Case("schedule=carbon_aware", "schedule=carbon_aware: there is no group or key 'schedule'. Did you mean 'start=carbon_aware'?"),
    Case("schedule.forecast=day.csv", "schedule.forecast=day.csv: there is no group or key 'schedule.forecast'. Did you mean 'start.forecast'?"),
    Case("schedule=cosine", "schedule=cosine: there is no group or key 'schedule'. Did you mean 'scheduler' or 'procedure'?"),
    Case("optimizer.lrr=1", "optimizer.lrr=1: 'optimizer' has no key 'lrr'. Did you mean 'lr'?"),
    Case("training.max_epoch=3", "training.max_epoch=3: 'training' has no key 'max_epoch'. Did you mean 'max_epochs' or 'max_steps' or 'max_time'?"),
    Case("training.batch_size.x=3", "training.batch_size.x=3: 'training.batch_size' holds a value, no keys"),
    Case("optimizer.amsgrad=true", "optimizer.amsgrad=true: 'optimizer' has no key 'amsgrad'. There are: betas, eps, fused, groups, lr, weight_decay. torch.optim.AdamW knows it: +optimizer.amsgrad=true sets it"),
    Case("+optimizer.amsgrd=true", "+optimizer.amsgrd=true: torch.optim.AdamW has no argument 'amsgrd'. Did you mean 'amsgrad'?"),
    Case("regularization.label_smoothing.smoothing=0.2", "regularization.label_smoothing.smoothing=0.2: no option of the group 'regularization' is chosen; regularization=[label_smoothing] chooses one"),
    Case("data.path=mine.csv", "data.path=mine.csv: 'data' has no key 'path' with this choice; it is one of data=files and data=hub"),
    Case("scheduler.gamma=0.5", "scheduler.gamma=0.5: 'scheduler' has no key 'gamma' with this choice; it is one of scheduler=cyclic and scheduler=step"),
    Case("hydra.run.dirr=x", "hydra.run.dirr=x: 'hydra.run' has no key 'dirr'. Did you mean 'dir'?"),
]  # fmt: skip

MISUSED = [
    Case("optimizer", "optimizer: expected key=value, such as optimizer.lr=0.01, or group=option, such as optimizer=adamw"),
    Case("=3", "=3: expected key=value; the key is missing"),
    Case("'optimizer.lr =3'", "optimizer.lr =3: 'optimizer.lr ' can not be a key: keys are words with dots between them, and there is no space around '='"),
    Case("tags=[a", "tags=[a: the value can not be read: '[' and ']' do not match; a text with special characters needs quotes: 'tags=\"[a\"'"),
    Case("name=a:{", "name=a:{: the value can not be read: '{' and '}' do not match; a text with special characters needs quotes: 'name=\"a:{\"'"),
    Case("precision=fp32,bf16", "precision=fp32,bf16: several values are a sweep: add -m. A list is written precision=[fp32,bf16]"),
    Case("optimizer.lr=0.1,0.2", "optimizer.lr=0.1,0.2: several values are a sweep: add -m. A list is written optimizer.lr=[0.1,0.2]"),
    Case("seed=range(1,3)", "seed=range(1,3): a range of values is a sweep: add -m"),
    Case("search=grid", "search=grid: a search needs -m: python -m launcher -m search=grid ..."),
    Case("hydra.sweeper.n_trials=5", "hydra.sweeper.n_trials=5: that is a sweep's, and there is one with -m alone"),
    Case("worker=true", "worker=true: that is a sweep's, and there is one with -m alone"),
    Case("-m seed=1,2 resume=half", "resume=… continues a single run, without -m; a sweep goes on by its own command, or its hydra.sweeper.study_name"),
    Case("hydra.mode=MULTIRUN", "hydra.mode=MULTIRUN: -m starts a sweep; leave the mode to it"),
    Case("-m seed=1,2 hydra/sweeper=basic", "hydra/sweeper=basic: a sweep is run by hydra/sweeper=launcher; leave it out"),
    Case("-m precision=fp32,bf61", "precision=fp32,bf61: no such option of the group 'precision'.<near bf61 precision> (conf/precision has: <options precision>)"),
    Case("seed=1 seed=2", "seed=2: 'seed' is given twice (also seed=1)"),
    Case("precision=fp32 precision=bf16", "precision=bf16: 'precision' is given twice (also precision=fp32)"),
    Case("+optimizer=sgd", "+optimizer=sgd: an option of 'optimizer' is chosen already; leave out the '+'"),
    Case("+optimizer.lr=1", "+optimizer.lr=1: 'optimizer.lr' is there already; leave out the '+'"),
    Case("optimizer@x=sgd", "optimizer@x=sgd: nothing chooses from 'optimizer@x'; leave out '@x'"),
    Case("~optimiser", "~optimiser: there is no key 'optimiser' to delete. Did you mean 'optimizer'?"),
    Case("~training", "~training: 'training' belongs to every run and can not be deleted; a value that is not wanted is null"),
    Case("~training.max_steps", "~training.max_steps: 'training.max_steps' belongs to every run and can not be deleted; a value that is not wanted is null"),
    Case("+training.patience=1", "+training.patience=1: 'training' has no key 'patience'"),
    Case("+optimzer.lr=1", "+optimzer.lr=1: there is no group or key 'optimzer'. Did you mean 'optimizer'?"),
    Case("training=3", "training=3: 'training' holds keys (training.max_epochs, training.max_steps, training.max_time, training.stop_after, ...), not a value"),
    Case("--config-dirr x", "--config-dirr: no such flag. Did you mean '--config-dir' or '--config-path' or '--config-name'?"),
    Case("--cfg", "--cfg/-c: expected one argument"),
    Case("--cfg jobs", "--cfg/-c: invalid choice: 'jobs' (choose from 'job', 'hydra', 'all')"),
    Case("--cfg job -m", "--cfg and --multirun do not go together"),
    Case("--resolve", "--resolve goes with --cfg or --help"),
    Case("--config-dir mein", "--config-dir=mein: no such folder. Did you mean 'mine'?"),
    Case("--config-name confg", "--config-name=confg: no such file in conf. Did you mean 'config'?"),
    Case("--config-path mine", "--config-path=mine would leave out the launcher's own groups; --config-dir=mine adds a folder to them"),
    Case("--experimental-rerun x", "--experimental-rerun=x: a run is continued with resume=<its folder>"),
    Case("--cfg job optimizer.lrr=1", "optimizer.lrr=1: 'optimizer' has no key 'lrr'. Did you mean 'lr'?"),
    Case("--help precision=bf61", "precision=bf61: no such option of the group 'precision'.<near bf61 precision> (conf/precision has: <options precision>)"),
]  # fmt: skip

VALUES = [
    Case("optimizer.lr=", "optimizer.lr=: expected a number"),
    Case("optimizer.lr=fast", "optimizer.lr=fast: expected a number"),
    Case("optimizer.lr=-1", "optimizer.lr=-1: expected a number above 0"),
    Case("optimizer.lr=nan", "optimizer.lr=nan: expected a number above 0"),
    Case("optimizer.lr=???", "optimizer.lr: a value is needed (conf/optimizer/adamw.yaml:4 leaves it open): give optimizer.lr=..."),
    Case("optimizer.betas=0.9", "optimizer.betas=0.9: expected a list of 2 numbers"),
    Case("optimizer.betas=[0.9]", "optimizer.betas=[0.9]: expected a list of 2 numbers"),
    Case("optimizer.fused=maybe", "optimizer.fused=maybe: expected true or false or null"),
    Case("model.width=1.5", "model.width=1.5: expected a whole number"),
    Case("model.dropout=1", "model.dropout=1: expected a number at least 0 and below 1"),
    Case("precision.dtype=float8", "precision.dtype=float8: expected float32, bfloat16, float16"),
    Case("validation.fraction=2", "validation.fraction=2: expected a number above 0 and below 1"),
    Case("training.max_steps=1.5", "training.max_steps=1.5: expected a whole number or null"),
    Case("training.max_steps=0", "training.max_steps=0: expected at least 1"),
    Case("training.max_epochs=-1", "training.max_epochs=-1: expected more than 0"),
    Case("training.max_epochs=inf", "training.max_epochs=inf: expected a finite number"),
    Case("training.batch_size=null", "training.batch_size=null: expected a whole number"),
    Case("training.compile=maybe", "training.compile=maybe: expected true or false"),
    Case("training.log_every=1epoc", "training.log_every=1epoc: expected a number of steps, or epochs as in '1epoch' (0 or null: never)"),
    Case("training.eval_every=1.5", "training.eval_every=1.5: a number of steps is whole; a part of an epoch is written '0.5epoch'"),
    Case("training.max_time=10minutes", "training.max_time=10minutes: expected seconds, or a duration as in '90s', '10m', '1h30m', '2d'"),
    Case("training.max_time=0", "training.max_time=0: a duration is more than zero seconds"),
    Case("tags=x", "tags=x: expected a list of texts"),
    Case("seed=-1", "seed=-1: expected at least 0"),
    Case("format=3", "format=3: expected 2"),
    Case("cluster=slurm cluster.nodes=0", "cluster.nodes=0: expected a whole number at least 1"),
    Case("cluster=slurm cluster.gpus_per_node=-1", "cluster.gpus_per_node=-1: expected a whole number at least 0"),
    Case("num_seeds=0", "num_seeds=0: expected at least 1"),
    Case("action=trian", "action=trian: expected compare or evaluate or export or lr_find or plan or replay or report or status or train. Did you mean 'train'?"),
    Case("objective.direction=max", "objective.direction=max: expected minimize or maximize"),
    Case("scheduler.warmup=1.5", "scheduler.warmup=1.5: expected a share of the run below 1, or a whole number of steps"),
    Case("scheduler.warmup=1.0", "scheduler.warmup=1.0: expected a share of the run below 1, or a whole number of steps"),
    Case("scheduler.warmup=-1", "scheduler.warmup=-1: expected a share of the run below 1, or a whole number of steps"),
    Case("scheduler.warmup_shape=square", "scheduler.warmup_shape=square: expected linear or cosine"),
    Case("optimizer.lr='${training.batchsize}'", "optimizer.lr=${training.batchsize}: ${training.batchsize} names no key. Did you mean 'training.batch_size' or 'training.find_batch_size' or 'training.eval_batch_size'?"),
    Case("optimizer.lr='${oc.env:NO_SUCH_VARIABLE}'", "optimizer.lr=${oc.env:NO_SUCH_VARIABLE}: Environment variable 'NO_SUCH_VARIABLE' not found"),
    Case("optimizer.lr='${half:1}'", "optimizer.lr=${half:1}: ${half:...} is no resolver of the launcher's"),
    Case("hydra.run.dir='${nme}'", "hydra.run.dir=${nme}: ${nme} names no key. Did you mean 'name'?"),
]  # fmt: skip

TOGETHER = [
    Case("scheduler=step scheduler.step_size=often", "scheduler.step_size=often: expected a whole number, or one of decay_steps, total_steps, steps_per_epoch, warmup_steps"),
    Case("training.max_epochs=null", "training: nothing says how long: give training.max_epochs, training.max_steps or training.max_time"),
    Case(
        "training.max_epochs=null training.max_time=1h",
        "conf/scheduler/cosine.yaml:4: scheduler.T_max: depends on the run's length in steps, which training.max_time does not tell: give training.max_epochs or training.max_steps too\n"
        "error: conf/scheduler/cosine.yaml:6: scheduler.warmup: depends on the run's length in steps, which training.max_time does not tell: give training.max_epochs or training.max_steps too",
    ),
    Case("scheduler.warmup=100 training.max_steps=50", "scheduler.warmup=100: 100 steps of warm-up in a run of training.max_steps=50"),
    Case("objective.metric=val/acuracy", "objective.metric=val/acuracy: ImageClassification has no metric 'val/acuracy'. Did you mean 'val/accuracy' or 'val/ece'? It has: val/loss, val/accuracy, val/f1, val/ece, train/loss"),
    Case("task=text_classification augment=[cutmix]", "augment=[cutmix]: cutmix needs images, and TextClassification has none. Of conf/task these have: image_classification"),
    Case("regularization=[stochastic_depth]", "regularization=[stochastic_depth]: stochastic_depth needs residual blocks, and CNN has none. Of conf/model these have: transformer, vit"),
    Case("task=tabular regularization=[ema]", "regularization=[ema]: RandomForestClassifier is fitted in one call; there are no steps that ema could change"),
    Case("stopping=[val_loss] stopping.val_loss.metric=loss", "stopping.val_loss.metric=loss: ImageClassification has no metric 'loss'. Did you mean 'val/loss' or 'train/loss'? It has: val/loss, val/accuracy, val/f1, val/ece, train/loss"),
    Case("training.accumulate=3", "training.accumulate=3: a step of training.batch_size=32 samples can not be cut into training.accumulate=3 x 1 process(es); training.batch_size=30 or 33 can"),
    Case("parallel=ddp training.batch_size=33", "training.batch_size=33: a step of training.batch_size=33 samples can not be cut into training.accumulate=1 x 2 process(es); training.batch_size=32 or 34 can"),
    Case("parallel.num_processes=2", "parallel.num_processes=2: expected 1"),
    Case("communication=powersgd", "communication=powersgd: Single has nothing that PowerSGD could send. Of conf/parallel these have: ddp, zero1"),
    Case("parallel=ddp communication=diloco regularization=[ema]", "regularization=[ema]: ema needs full params, which no rank has with DiLoCo; communication=allreduce leaves it to each"),
    Case("communication=async", "communication=async: Single has nothing that Asynchronous could send. Of conf/parallel these have: ddp, zero1"),
    Case("parallel=zero1 communication=async", "communication=async: with Asynchronous each rank moves all weights by itself, and with Zero1 a part of them; parallel=ddp goes with it"),
    Case("parallel=ddp communication=async scheduler=plateau", "scheduler=plateau: Plateau cuts the rate after evaluations, and with Asynchronous the main rank alone judges: the others would never hear of it; scheduler=cosine does without, communication=local_sgd tells all"),
    Case("parallel=ddp communication=async deterministic=true", "deterministic=true: with Asynchronous the result follows from which rank comes first; communication=local_sgd sends as little and repeats bit for bit"),
    Case("parallel=ddp communication=local_sgd optimizer=schedule_free", "optimizer: what ScheduleFree judges is put together of weights and state, and with LocalSGD each rank has its own; communication=allreduce does not, optimizer=adamw needs no state for it"),
    Case("parallel=ddp communication=local_sgd communication.period=0", "communication.period=0: expected a whole number at least 1"),
    Case("parallel=pipeline parallel.num_processes=4 parallel.num_stages=3", "parallel.num_processes=4 can not be laid out as pipeline 3: parallel.num_processes=3 can, or other sizes (parallel.num_stages)"),
    Case("parallel=pipeline parallel.num_processes=4 parallel.num_microbatches=5", "parallel.num_microbatches=5: a step of training.batch_size=32 samples can not be cut into 5 portions; training.batch_size=30 or 35 can"),
    Case("parallel=pipeline parallel.num_processes=4 parallel.num_microbatches=2", "parallel.num_microbatches=2: schedule=1f1b over 4 stages needs as many micro-batches at least, and there are 2"),
    Case("parallel=ddp parallel.num_processes=0", "parallel.num_processes=0: expected a whole number at least 1"),
    Case("data=stdlib_snippets", "data: ImageClassification learns from images, and StdlibSnippets is texts. Of conf/data these fit: <fits data>"),
    Case("model=random_forest", "model: RandomForestClassifier is a scikit-learn estimator, and ImageClassification trains torch modules. Of conf/model these fit: <fits model>"),
    Case("model=llama", "model: llama needs vocab_size, max_length, eos_token_id, which ImageClassification does not provide. Of conf/model these fit: <fits model>"),
    Case("task=tabular data=wine model=svm objective.metric=val/ece", "objective.metric=val/ece: SVC has no metric 'val/ece'. Did you mean 'val/f1'? It has: val/accuracy, val/f1, train/accuracy, train/f1"),
    Case("validation=kfold validation.n_splits=1", "validation.n_splits=1: cross-validation needs folds, and KFold holds rows out once: validation=kfold, stratified_kfold, group_kfold, repeated_kfold, time_series or nested"),
    Case("debug=slow", "debug=slow: no such option of the group 'debug'. conf/debug has: <options debug>"),
    Case("action=evaluate", "action=evaluate: of which run? run=<its folder> says so"),
    Case("run=mine", "run=mine: run=<folder> goes with action=evaluate, export, report or replay; to go on training: resume=mine"),
    Case("+optimizer.params=[1]", "+optimizer.params=[1]: the launcher itself gives 'params' to torch.optim.AdamW; leave it out"),
    Case("optimizer._target_=os.system", f"optimizer._target_=os.system: os.system{TRUST}os.system"),
    Case("data._target_=builtins.exec", f"data._target_=builtins.exec: builtins.exec{TRUST}builtins.exec"),
    Case("model._target_=transformers.AutoModel.from_pretrained", f"model._target_=transformers.AutoModel.from_pretrained: transformers.AutoModel.from_pretrained{TRUST}transformers.AutoModel.from_pretrained"),
    Case("data._target_=no_such_package.Data", f"data._target_=no_such_package.Data: no_such_package.Data{TRUST}no_such_package.Data"),
    Case("+data.token=abc", "data.token: looks like a secret, and a config is written to disk and to trackers. Leave it out, and put it into the environment or the service's own key file"),
    Case("name=http://me:word@host", "name: looks like a secret, and a config is written to disk and to trackers. Leave it out, and put it into the environment or the service's own key file"),
]  # fmt: skip

OWN_FILES = [
    Case("optimizer=typo", "<mine>/optimizer/typo.yaml:4: optimizer.weight_decy: torch.optim.AdamW has no argument 'weight_decy'. Did you mean 'weight_decay'?"),
    Case("optimizer=control", "<mine>/optimizer/control.yaml:3: optimizer._recursiv_: no word of Hydra's. Did you mean '_recursive_'?"),
    Case("optimizer=whole", "optimizer=whole: '_partial_: true' is missing; the launcher calls torch.optim.AdamW later, with what only a run knows"),
    Case("optimizer=torn", "<mine>/optimizer/torn.yaml:3: this is no YAML: did not find expected ',' or ']'"),
    Case("optimizer=tabs", "<mine>/optimizer/tabs.yaml:2: this is no YAML: found a tab character that violates indentation"),
    Case("optimizer=shell", f"<mine>/optimizer/shell.yaml:1: optimizer._target_: os.system{TRUST}os.system"),
    Case("optimizer=nested", f"<mine>/optimizer/nested.yaml:4: optimizer.lr._target_: builtins.eval{TRUST}builtins.eval"),
    Case("optimizer=aims", "<mine>/optimizer/aims.yaml:3: optimizer.lr: ${optimiser.lr} names no key. Did you mean 'optimizer.lr'?"),
    Case("optimizer=bare", "optimizer=bare: there is no _target_ that says what it is"),
    Case("monitor=[flat]", "<mine>/monitor/flat.yaml:1: monitor._target_: there is no _target_ that says what it is (an entry of monitor is one key that names it, with a node below)"),
    Case("experiment=option", "<mine>/experiment/option.yaml:3: precision: bf61: no such option of the group 'precision'.<near bf61 precision> (conf/precision has: <options precision>)"),
    Case("experiment=group", "<mine>/experiment/group.yaml: override /optimiser: nothing before it chooses from such a group. Did you mean 'optimizer'?"),
    Case("experiment=key", "<mine>/experiment/key.yaml:4: 'training' has no key 'max_epoch'. Did you mean 'max_epochs' or 'max_steps' or 'max_time'?"),
    Case("experiment=kind", "<mine>/experiment/kind.yaml:3: training.batch_size: expected a whole number"),
    Case("experiment=range", "<mine>/experiment/range.yaml:3: training.batch_size: expected at least 1"),
    Case("experiment=root", "<mine>/experiment/root.yaml:2: there is no group or key 'trainning'. Did you mean 'training'?"),
    Case("experiment=twice", "<mine>/experiment/twice.yaml:3: this is no YAML: the same key twice: seed"),
    Case("experiment=secret", "data.api_key: looks like a secret, and a config is written to disk and to trackers. Leave it out, and put it into the environment or the service's own key file"),
]  # fmt: skip

SWEPT = [
    Case("-m seed=1,2 hydra.sweeper.pruner=halving", "hydra.sweeper.pruner: hydra/sweeper/pruner=halving (or another of its options) chooses one"),
    Case("-m seed=1,2 hydra.sweeper.direction=up", "hydra.sweeper.direction=up: expected minimize or maximize"),
    Case("-m search=random optimizer.lr=0.1", "there is nothing to search: every trial would be the same run. A key with several values, such as optimizer.lr=1e-3,1e-2, or an interval of them, optimizer.lr=interval(1e-4,1e-2), is searched"),
]  # fmt: skip
"""What the sweeper alone can know, which has to import Optuna."""

ALLOWED = "a resumed run keeps its config; what may change is memory, parallel, communication, cluster, tracker, loading, debug, training.max_epochs, training.max_steps, training.max_time, training.stop_after"
RESUMED = [
    Case("resume=nowhere", "resume=nowhere: no such folder; a run's folder is wanted, such as outputs/<date>/<time>-<id>"),
    Case("resume=mine", "resume=mine: no run is here (there is no config.yaml)"),
    Case("resume=done/config.yaml", "resume=done/config.yaml: that is a file; a run's folder is wanted, such as outputs/<date>/<time>-<id>"),
    Case("resume=study", "resume=study: that is a sweep's folder; the same command with -m and the same hydra.sweeper.study_name continues a sweep"),
    Case("resume=old", "resume=old: the run was written in format 0; this launcher reads format 2"),
    Case("resume=edited", "edited/config.yaml:3: there is no group or key 'sed'. Did you mean 'seed'?"),
    Case("resume=torn", "torn/config.yaml: no YAML (line 3: did not find expected ',' or ']'); nothing is left beside it"),
    Case("resume=done", "resume=done: the run is complete (completed; 1350 steps, 30 epochs). It goes on with a larger training.max_epochs than 30"),
    Case("resume=done training.max_epochs=20", "resume=done: the run is complete (completed; 1350 steps, 30 epochs). It goes on with a larger training.max_epochs than 20"),
    Case("resume=done training.max_epochs=60 training.max_steps=1000", "resume=done: the run is complete (completed; 1350 steps, 30 epochs). It goes on with a larger training.max_steps than 1000"),
    Case("resume=stopped", "resume=stopped: the run is complete (stopped: val/loss has not improved; 450 steps, 10 epochs). It goes on with a larger training.max_epochs than 30"),
    Case("resume=half optimizer.lr=0.1 seed=3", f"optimizer.lr=0.1, seed=3: {ALLOWED}"),
    Case("resume=half optimizer=sgd", f"optimizer=sgd: {ALLOWED}"),
    Case("resume=half training.batch_size=64", f"training.batch_size=64: {ALLOWED}"),
    Case("resume=half training.max_epoch=64", f"training.max_epoch=64: {ALLOWED}"),
    Case("resume=half parallel.num_process=1", "parallel.num_process=1: 'parallel' has no key 'num_process'. Did you mean 'num_processes'?"),
    Case("resume=half training.max_epochs=many", "training.max_epochs=many: expected a number or null"),
    Case("resume=half training.max_steps=0", "training.max_steps=0: expected at least 1"),
    Case("resume=half tracker=[tensorbord]", "tracker=[tensorbord]: no such option of the group 'tracker'.<near tensorbord tracker> (conf/tracker has: <options tracker>)"),
]  # fmt: skip

LIGHT = [*UNKNOWN, *MISUSED, *VALUES, *TOGETHER, *RESUMED]
CASES = [*LIGHT, *(Case(f"--config-dir mine {case.words}", case.message) for case in OWN_FILES)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's own configs and with runs in every state; the current one."""
    make_place(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@cache
def default_config() -> str:
    with compose.session() as hydra:
        return OmegaConf.to_yaml(compose.compose(hydra, []).config)


def make_place(folder: Path) -> None:
    for name, text in FILES.items():
        path = folder / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    config = default_config()
    done = {
        "status": "completed",
        "reason": "30 epochs",
        "steps": 1350,
        "epochs": 30.0,
        "wall_s": 12.0,
        "objective": {},
        "metrics": {},
    }
    runs = {
        "half": (config, None),
        "done": (config, done),
        "stopped": (
            config,
            done | {"status": "stopped", "reason": "val/loss has not improved", "steps": 450, "epochs": 10.0},
        ),
        "old": ("format: 0\nseed: 1\n", None),
        "edited": ("format: 2\nname: null\nsed: 1\n", None),
        "torn": ("format: 2\nseed: [1", None),
    }
    for name, (text, result) in runs.items():
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_text(text)
        if result:
            (folder / name / "result.json").write_text(json.dumps(result))
    (folder / "study").mkdir()
    (folder / "study" / "trials.csv").write_text("number\n")


def message(case: Case, folder: Path) -> str:
    """The message with its placeholders filled in."""

    def fill(match: re.Match[str]) -> str:
        kind, *rest = match[1].split()
        if kind == "mine":
            return "mine"
        mine = "--config-dir" in case.words
        group = rest[-1]
        options = {
            path.stem
            for root in ([CONF, folder / "mine"] if mine else [CONF])
            for path in (root / group).glob("*.yaml")
        }
        if kind == "options":
            return ", ".join(sorted(options))
        return did_you_mean(rest[0], options)

    return re.sub(r"<((?:options|near|mine)[^>]*)>", fill, case.message)


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def words_of(case: Case) -> list[str]:
    return shlex.split(case.words)


@pytest.mark.parametrize("case", [*CASES, *SWEPT], ids=lambda case: case.words)
def test_one_message(case: Case, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = listing(place)
    status = main(words_of(case))
    printed = capsys.readouterr()
    wanted = f"error: {message(case, place)}\n"
    fits = re.fullmatch(r"(.*these fit: )<fits (\w+)>\n", wanted, re.DOTALL)
    if fits:  # a new entry may join the list; that those which are there fit is what test_conf shows
        assert printed.err.startswith(fits[1])
        assert {"data": "digits", "model": "cnn"}[fits[2]] in printed.err.removeprefix(fits[1]).strip().split(", ")
    else:
        assert printed.err == wanted
    assert printed.out == ""
    assert status == REFUSED
    assert listing(place) == before, "a refusal leaves nothing behind"


def test_the_table_is_long_enough() -> None:
    assert len({case.words for case in CASES}) == len(CASES) >= 60


def test_what_the_catalogue_knows_is_refused_without_torch(tmp_path: Path) -> None:
    """All cases in one fresh interpreter, which has not imported torch or a library as heavy at the end."""
    make_place(tmp_path)
    program = (
        "import json, sys\n"
        "from launcher.__main__ import main\n"
        "statuses = [main(words) for words in json.load(sys.stdin)]\n"
        "print(json.dumps([statuses, sorted({'torch', 'accelerate', 'sklearn', 'transformers', 'numpy'} & set(sys.modules))]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(),
        input=json.dumps([words_of(case) for case in CASES]),
        capture_output=True,
        text=True,
        timeout=240,
    )
    statuses, heavy = json.loads(done.stdout)
    assert heavy == []
    assert statuses == [REFUSED] * len(CASES)
    assert "Traceback" not in done.stderr
    assert len(re.findall(r"^error: ", done.stderr, re.MULTILINE)) >= len(CASES)


@pytest.mark.parametrize(
    "words",
    ["precision=bf61", "optimizer.lrr=1", "training.max_steps=0", "--config-dir mine optimizer=typo", "resume=done"],
)
def test_the_real_command_refuses(words: str, place: Path) -> None:
    case = next(case for case in CASES if case.words == words)
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *words.split()], cwd=place, env=environment(), capture_output=True, text=True
    )
    assert done.stderr == f"error: {message(case, place)}\n"
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert not (place / "outputs").exists()


def test_debug_adds_the_traceback(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["debug=true", "optimizer.lrr=1"]) == REFUSED
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback (most recent call last):")
    assert printed.endswith("\nerror: optimizer.lrr=1: 'optimizer' has no key 'lrr'. Did you mean 'lr'?\n")
    assert main(["debug=false", "optimizer.lrr=1"]) == REFUSED
    assert "Traceback" not in capsys.readouterr().err


def test_several_problems_are_told_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["training.max_steps=0", "optimizer.lr=fast", "model.width=0"]) == REFUSED
    assert capsys.readouterr().err.splitlines() == [
        "error: training.max_steps=0: expected at least 1",
        "error: model.width=0: expected a whole number at least 1",
        "error: optimizer.lr=fast: expected a number",
    ]


def test_a_name_that_leads_out_of_a_trusted_package(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """torch.optim.* is trusted; what its modules merely import is not. (Only the import shows where a name leads.)"""
    assert main(["optimizer._target_=torch.optim.lr_scheduler.partial"]) == REFUSED
    name = "torch.optim.lr_scheduler.partial"
    assert (
        capsys.readouterr().err
        == f"error: optimizer._target_={name}: {name} is another name of functools.partial{TRUST}functools.partial\n"
    )


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("torch.optim.AdamWW", "torch.optim has no 'AdamWW'. Did you mean 'AdamW' or 'Adam' or 'RAdam'?"),
        ("torch.optim", None),
        ("launcher.optim.nothing.Here", "launcher.optim has no 'nothing'."),
    ],
)
def test_a_target_that_is_not_there(
    target: str, said: str | None, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"optimizer._target_={target}"]) == REFUSED
    printed = capsys.readouterr().err
    if said is None:
        assert printed == f"error: optimizer._target_={target}: {target}{TRUST}{target}\n"
    else:
        assert printed.startswith(f"error: optimizer._target_={target}: {target}: {said}")


def test_the_current_folder_shadows_nothing(place: Path) -> None:
    """A `conf` and a `tasks` of the user's own where the command is started are not taken for ours."""
    for name in ("conf", "tasks", "launcher_is_elsewhere"):
        (place / name).mkdir()
    (place / "conf" / "config.yaml").write_text("nonsense: true\n")
    (place / "tasks" / "__init__.py").write_text("raise SystemExit('the wrong tasks')\n")
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "--cfg", "job", "--package", "task"],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout == "# @package task\n_target_: launcher.tasks.image_classification.ImageClassification\n"
    assert done.returncode == 0
    assert ROOT not in place.parents
