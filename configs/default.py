"""The list of all config fields: unit, meaning and default. The other configs override some of them.

    python main.py --config configs/default.py

It is ResNet-20 of He et al. 2015 on CIFAR-10; configs/cifar10_resnet.py takes other depths.
A field written `placeholder(type)` is unset until a config or the command line sets it; there
`None` unsets it again.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    """The default of every field."""
    config = ConfigDict()
    config.seed = 0  # of initialisation, order, augmentation and dropout
    config.num_epochs = 164.0  # epochs, the length of the run;
    # steps = round(epochs * images / batch_size)
    config.num_steps = placeholder(int)  # steps; wins over num_epochs when set
    config.batch_size = 128  # images a step, over all devices
    config.accumulation = 1  # micro-batches a step; each has its own batch statistics
    config.eval_batch_size = 500  # images, over all devices
    config.precision = "float32"  # of the computation: float32 | bfloat16; parameters, statistics
    # and loss are float32 in both
    config.conv_backend = "auto"  # convolutions on a CPU: auto, native where it can be built | xla
    # | native; not part of the model: parameters and checkpoints are the same
    config.augment = "crop(4) flip"  # tokens, left to right: crop(pixels, zero | reflect) | flip |
    # cutout(pixels) | erase(probability, smallest, largest) | rotate(degrees) | translate(share) |
    # shear(share) | zoom(share) | jitter(strength) | randaugment(operations, magnitude) |
    # mixup(alpha, probability) | cutmix(alpha, probability); "" for none; docs/augmentation.md
    config.eval_augment = ""  # views of an image whose probabilities an evaluation averages: flip |
    # crops(count, pixels); "" for the image alone
    config.label_smoothing = 0.0  # share of the target spread over all classes
    config.ema_decay = 0.0  # per step, of an average of parameters and statistics that is evaluated
    # instead of the last ones; at most (1 + step) / (10 + step); 0: none
    config.log_every = 100  # steps between rows of metrics.jsonl; a row is the mean since the last
    config.eval_every = placeholder(int)  # steps between evaluations on the validation images,
    # which data.validation holds out; unset: once an epoch
    config.early_stopping = 0  # evaluations in a row without a better accuracy on the validation
    # images that end the run; the best network is then the result; 0: none, and the last one is
    config.tensorboard = False  # also write TensorBoard event files into WORKDIR/tensorboard
    config.profile = False  # trace some steps into WORKDIR/profile and print what costs most

    config.data = data = ConfigDict()
    data.name = "cifar10"  # a file of resnet_jax/data/datasets | folder, images of your own in
    # data.dir (docs/folder.md) | none, of weights from elsewhere
    data.dir = placeholder(str)  # TFDS's data_dir, which contains cifar10/3.0.2; unset:
    # TFDS_DATA_DIR, else TFDS's own default; of a folder: what contains train/CLASS/*.png or *.jpg
    data.prepare = False  # download and prepare the data set if it is missing
    data.validation = 0  # images held out of `train`, the same ones for every seed; 0: train on all
    data.resize = placeholder(int)  # pixels, height and width of the images that the network sees:
    # resized on the device, behind augmentation; unset: those of the data set
    data.fraction = 1.0  # share of the remaining training images that is used, of each class alike
    data.fraction_seed = 0  # of that draw; not the run's seed, so that all runs see the same images
    data.mix = placeholder(str)  # another data set whose training images are learnt too, with
    # classes of their own behind those of data.name; unset: none
    data.mix_fraction = 1.0  # share of its images, of each class alike
    data.placement = "device"  # where the images are: device, decoded, in device memory
    data.image_size = placeholder(int)  # of a folder: pixels, to which images are resized and cut
    data.test_fraction = 0.2  # of a folder without test/: share of each class that is for testing
    data.broken = 0.01  # of a folder: share of images that may be unreadable; they are left out

    config.model = model = ConfigDict()
    model.design = "original"  # a row of resnet_jax/models/designs.py: original | bn_after_add |
    # relu_before_add | relu_only_preact | full_preact | fixup | skipinit | rezero | nf | depth_mup
    # The next seven override columns of the design's row. Unset: the row's own; "", (): nothing.
    model.branch = placeholder(str)  # tokens of the residual branch
    model.after = placeholder(str)  # tokens after shortcut and branch have met
    model.stem = placeholder(str)  # cifar | imagenet (7x7 at stride 2, max-pool) | resnet_c (three
    # 3x3 in its place) | tokens, where conv may be conv(kernel, stride, features), pool is
    # pool(window, stride) and blur is blur(size, stride)
    model.final = placeholder(str)  # tokens after the last unit
    model.head = ""  # tokens between global pooling and the last layer: dense(features), a hidden
    # layer | act, act(kind) | drop(rate); "": none
    model.init = placeholder(tuple)  # (pattern, rule) pairs on initial values, in order; a rule is
    # mul, fill, normal(deviation), fan_in(gain) or fan_out(gain) of L, units, and m, their convs
    model.weight_standardization = placeholder(str)  # of every kernel: none | plain | scaled, over
    # sqrt(fan_in) and with a learned gain per channel
    model.scaled_activation = placeholder(bool)  # give act unit variance on normal inputs
    model.depth = 20  # layers: three stages: 6n+2, bottleneck 9n+2, wide 6n+4; four: 18, 34, ...
    model.width = 1.0  # factor on stage_widths, but not on the stem
    model.stage_widths = (16, 32, 64)  # channels of each stage; 4 stages: networks for ImageNet
    model.stage_sizes = placeholder(tuple)  # residual units of each stage; wins over depth when set
    model.bottleneck = False  # units of 1x1, 3x3 and 1x1 convolutions, four times as wide outside
    model.bottleneck_width = placeholder(int)  # inner channels a group in the first stage; unset:
    # the stage's width
    model.groups = 1  # groups of the convolutions larger than 1x1 (the cardinality of ResNeXt)
    model.kernels = placeholder(tuple)  # kernel sizes of a unit, pixels; unset: (3, 3), or
    # (1, 3, 1) in a bottleneck
    model.stride_on = "3x3"  # which convolution has a unit's stride: 3x3, the first of that size or
    # larger | first
    model.shortcut = "identity"  # identity | none (a plain net) | scale(shortcut, branch) |
    # exclusive_gate(bias) | shortcut_gate(bias) | conv(none | norm), 1x1 in every unit | drop(rate)
    model.projection = "A"  # where the shape changes: A zero-padding | B 1x1 convolution |
    # D 2x2 average pool, then B without its stride
    model.downsampling = "stride"  # stride | blur(size), a low-pass filter of 2 to 7 pixels behind
    # the activation that follows a convolution without its stride, and in the shortcut
    model.drop_path = 0.0  # probability that an image skips the branch of the last unit in training
    model.drop_path_schedule = "linear"  # drop_path of unit l of L: linear, l/L of it | constant
    model.zero_init = False  # start the scale of each branch's last norm at 0
    model.combine = "add"  # how the two paths meet: add(shortcut, branch), fixed factors |
    # learned(shortcut, branch), learned from there | subtract | orthogonal(position | tensor)
    model.shared_preact = placeholder(str)  # units whose shortcut starts behind the pre-activation:
    # paper, the first and those that change the shape | none | all | reshaping, those that change
    # the shape | projected, those that do so by a convolution; unset: the design's, mostly paper
    model.norm = "batch"  # what the token norm stands for: batch | ghost(images), which divides the
    # micro-batch | group(groups) | layer | frn | dyt(alpha) | none
    model.activation = "relu"  # what the token act stands for: relu | leaky_relu | silu | gelu, its
    # tanh approximation | elu | softplus | identity
    model.remat = False  # compute units again in the backward pass instead of keeping what is in
    # them: less memory, more time, the same results

    model.plugins = ()  # modules whose functions and linen modules are tokens too (docs/plugins.md)
    model.unit = placeholder(str)  # my_pkg.my_unit:MyUnit, a class of residual units; unset: the
    # one that the strings describe

    config.optimizer = optimizer = ConfigDict()
    optimizer.name = "sgd"  # sgd | adamw
    optimizer.learning_rate = 0.1  # the peak of the schedule
    optimizer.schedule = "cosine"  # after the warm-up: cosine to 0 | linear to 0 | step | constant
    optimizer.milestones = (0.5, 0.75)  # of `step`, fractions of the run at which the rate is ...
    optimizer.step_factor = 0.1  # ... multiplied by this factor
    optimizer.warmup = 0.0  # fraction of the run
    optimizer.warmup_shape = "linear"  # linear, from 0 | constant, at warmup_factor
    optimizer.warmup_factor = 0.1  # of the learning rate, for a constant warm-up
    optimizer.momentum = 0.9  # of sgd
    optimizer.nesterov = False  # of sgd
    optimizer.beta1 = 0.9  # of adamw
    optimizer.beta2 = 0.999  # of adamw
    optimizer.epsilon = 1e-8  # of adamw
    optimizer.weight_decay = 1e-4  # coefficient
    optimizer.decay_coupling = placeholder(str)  # coupled, the L2 penalty of the papers, before the
    # momentum | decoupled, after it; unset: coupled for sgd, decoupled for adamw
    optimizer.decayed = (".*/kernel",)  # patterns of the parameters that decay; ".*": all
    optimizer.rates = placeholder(tuple)  # (pattern, factor) pairs on the learning rate; a factor
    # may use L, units, and adam, 1 or 0; several multiply; unset: those of the design's row
    optimizer.clip_norm = 0.0  # global norm to which gradients are clipped; 0: not
    optimizer.adaptive_clip = 0.0  # of each output channel, gradient norm over weight norm at most,
    # but for the head; 0: not

    config.finetune = finetune = ConfigDict()
    finetune.init_from = placeholder(str)  # start from the weights of this workdir, of
    # WORKDIR/checkpoints/STEP or of a .pth or .safetensors file, at step 0 and with a fresh optimizer;
    # unset: from initial values
    finetune.reinit = ()  # patterns on parameters or subtrees that stay as initialised: ("head",)
    finetune.drop = ()  # the same of the source, for what this network does not have
    finetune.freeze = ()  # patterns on parameters or subtrees that are not trained, or all_but_head
    # | batchnorm_only | stages_until=N
    finetune.frozen_norms = "running"  # norms that are frozen as a whole normalise by their running
    # statistics, and keep them | batch, as if they were not frozen
    finetune.cache_features = False  # where the head alone is trained: compute once what the frozen
    # body makes of each image, and train on that; needs augment "" or "flip"
    finetune.l2_sp = 0.0  # coefficient of a decay towards the loaded weights, which takes the place
    # of weight_decay for all but what is initialised anew; 0: none
    finetune.teacher = placeholder(str)  # learn from the outputs of this workdir's network too; its
    # newest checkpoint, or WORKDIR/checkpoints/STEP
    finetune.teacher_temperature = 4.0  # by which both networks' logits are divided for that
    finetune.teacher_weight = 0.9  # of the teacher in the loss; the labels have the rest
    finetune.phases = ()  # (name, ((field, value), ...)) pairs: runs one after another, each from
    # the weights of the one before, with these fields changed; (): one run

    config.probe = probe = ConfigDict()
    probe.every = 0  # steps between rows of probes.jsonl: per unit, norms of both paths, gradient
    # and output; each costs about a step, and a second program to compile; 0: none

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every = 2000  # steps between checkpoints; the last step is always saved
    checkpoint.keep = 2  # newest ones kept; the best by validation accuracy is kept beside them
    return config
