"""09 Temporal consistency: whether the frames of a face follow each other as those of a real one do.

    python -m experiments.main --config=configs/temporal_consistency.py
    python -m experiments.main --config=configs/temporal_consistency.py:data=celeb_df,size=base --config.data.root=DIR

Each prints the test AUC with its 95 % interval, judged by the video label; one line per manipulation method; what each
branch says alone, and a logistic regression on twelve statistics, with paired intervals of the detector over each; how
well fake frames are told within partial fakes; and the AUC with frames shuffled and with one frame alone.
README.md has the AUC.

Arguments: data=talking_heads|folder|<reader>; size=tiny (a laptop's CPU, minutes) | base (the paper's size);
robustness=true scores the test split also under exposure jitter, H.264, JPEG, lost frames and 12.5 frames a second.

What each part brings, one line each:

    --config.model.branches="('flow',)"            optical flow and its warp error alone
    --config.model.branches="('differences',)"     first and second differences alone
    --config.model.branches="('statistics',)"      twelve statistics alone, through two layers
    --config.model.branches="('ftcn',)"            frames through a network without spatial kernels, and a transformer
    --config.model.encoders.differences.name=mmdf_jax.encoders.temporal_difference
    --config.model.encoders.differences.variant=tiny_differences      (both) the temporal difference network reads them
    --config.task.frame_weight=0                   windows are labelled, frames are not
    --config.task.branch_weight=0                  branches have no loss of their own
    --config.optimizer.alternate.spatial=1 --config.optimizer.alternate.temporal=20      AltFreezing

experiments/figures/ablation.py draws such runs beside each other.
"""

from ml_collections import ConfigDict

from configs import common

TRANSFORMS = "data_pipelines.loading.transforms"


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, data="talking_heads", size="tiny", robustness=False)
    tiny = args.size == "tiny"
    config = common.base(args)
    # Every frame: what flickers does so from one to the next.
    config.data.streams = ConfigDict({"video": {"fps": 25.0, "size": 64 if tiny else 112}})
    config.data.targets = ConfigDict({"frame_labels": {"feather": 0.12}})
    config.data.balance = "video_label"
    config.data.batch_size = 12 if tiny else 64
    config.train.steps = 240 if tiny else 20_000
    config.train.eval_steps = config.train.checkpoint_steps = 80 if tiny else 1_000

    config.model = ConfigDict()
    config.model.name = "mmdf_jax.models.temporal_consistency"
    config.model.encoders = ConfigDict(
        {
            "flow": {
                "name": "mmdf_jax.encoders.lip_resnet",
                "variant": "motion_tiny" if tiny else "motion_resnet18",
            },
            "differences": {
                "name": "mmdf_jax.encoders.lip_resnet",
                "variant": "differences_tiny" if tiny else "differences_resnet18",
            },
            "ftcn": {"name": "mmdf_jax.encoders.ftcn", "variant": "tiny" if tiny else "resnet50"},
        }
    )
    config.model.branches = ("flow", "differences", "statistics")
    config.model.width = 32 if tiny else 256
    config.model.kernel = 5
    config.model.dropout = 0.2
    config.model.flow_size = 32 if tiny else 56
    config.model.flow_gradient = False
    config.model.baselines = True
    config.pretrained.update({branch: common.weights("") for branch in config.model.encoders})

    config.task = ConfigDict(
        {
            "name": "mmdf_jax.tasks.temporal",
            "detection": {
                "name": "mmdf_jax.tasks.detection",
                "target": "video_label",
                "stream_weight": 0.0,
                "smoothing": 0.05,
            },
            "frame_weight": 0.5,
            "branch_weight": 0.5,
        }
    )
    if not tiny:
        config.optimizer.learning_rate = 5e-4  # from scratch
    config.optimizer.alternate = ConfigDict({"spatial": 0, "temporal": 0})
    # The test split is scored once more under each: {name: transforms of every window}.
    config.evaluate.conditions = ConfigDict(
        {
            "shuffled": ({"name": f"{TRANSFORMS}.ShuffleFrames", "p": 1.0},),
            "still": ({"name": f"{TRANSFORMS}.StillFrames", "p": 1.0},),
        }
    )
    if args.robustness:
        config.evaluate.conditions.update(
            {
                "exposure": ({"name": f"{TRANSFORMS}.Exposure", "p": 1.0, "sigma": (0.01, 0.01)},),
                "h264_crf30": ({"name": f"{TRANSFORMS}.Recompress", "p": 1.0, "crf": (30, 30)},),
                "jpeg_50": ({"name": f"{TRANSFORMS}.Jpeg", "p": 1.0, "quality": (50, 50)},),
                "lost_frames": ({"name": f"{TRANSFORMS}.DropFrames", "p": 1.0, "share": (0.1, 0.1)},),
                "fps_12_5": ({"name": f"{TRANSFORMS}.LowerRate", "p": 1.0, "every": 2},),
            }
        )
    return config
