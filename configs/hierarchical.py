"""10 Hierarchical detection: fake or not, of which type, and where, in time and in the picture, in one model.

    python -m experiments.main --config=configs/hierarchical.py
    python -m experiments.main --config=configs/hierarchical.py:data=fakeavceleb,size=base --config.data.root=DIR

Each prints the test AUC; the macro-F1 over the types, with a flat softmax and three binary labels beside it; average
precision and recall of the segments, overall and per method, and the frame AUC within partial fakes; and how well the
map of the picture finds what was manipulated, with Grad-CAM beside it; all with 95 % intervals. figures/verdict_*.png
show single clips.

Arguments: data=talking_heads|folder|<reader>, size=tiny (a laptop's CPU, minutes) | base (the paper's size);
pseudo_fakes=true also trains on fakes, most of them short, that are made of real clips as they are read.

What each part brings, one line each:

    --config.task.fake_weight=0                              no stage 1 (the type's own `flat_*` columns still answer)
    --config.task.type_weight=0                              no stage 2
    --config.task.type_weight=0 --config.model.detached=False    the flat softmax and the three labels train the trunk
    --config.task.frame_weight=0 --config.task.distance_weight=0    no stage 3 in time
    --config.task.distance_weight=0                          frames alone: no ends are learnt
    --config.task.map_weight=0                               no map; Grad-CAM of stage 1 alone
    --config.task.stream_weight=0                            the streams answer for nothing by themselves
    --config.task.alignment_weight=0                         the comparison learns from labels alone
    --config.task.pooled_weight=0                            no matching of whole windows over the batch
    --config.model.compare="()"                              no sync tokens and no difference of the streams
    --config.train.select=ap_50                              the checkpoint with the best segments (auc, macro_f1, …)
"""

from ml_collections import ConfigDict

from configs import common, cross_attn

# {data: the types}, `real` first. In place of a name may stand several methods that are one type.
VOCABULARIES = {
    "talking_heads": (
        *("real", "face_swap", "lip_reenactment", "voice_clone", "face_swap_voice_clone"),
        ("dubbing", "dubbing_other_voice"),
    ),
    "fakeavceleb": (
        *("real", "faceswap", "fsgan", "wav2lip", "rtvc"),
        ("faceswap-wav2lip", "fsgan-wav2lip"),
    ),
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, data="talking_heads", size="tiny")
    tiny = args.size == "tiny"
    # The streams, their encoders and how they look at each other are those of 06.
    config = cross_attn.get_config(f"data={args.data},size={args.size},pseudo_fakes={args.pseudo_fakes}")
    config.data.streams.image.frames = 4 if tiny else 8
    config.data.targets = ConfigDict(
        {
            "frame_labels": {"feather": 0.0},
            "method": {"vocabulary": VOCABULARIES.get(args.data, VOCABULARIES["talking_heads"])},
            "spans": {"max": 6},
            "face_mask": {"size": 8 if tiny else 14},
        }
    )
    vocabulary = config.data.targets.method.get_ref("vocabulary")
    for spec in config.data.pseudo_fakes:
        spec |= {"partial": 0.75, "span": (0.2, 0.8)}

    config.model.name = "mmdf_jax.models.hierarchical"
    config.model.vocabulary = vocabulary
    # The maps have the image encoder's own positions: 8 x 8 and 14 x 14.
    if tiny:
        config.model.encoders.image.strides = (1, 2, 2, 1)
    config.model.width = 96 if tiny else 256
    config.model.depth = 2
    config.model.levels = 1 if tiny else 3
    config.model.detached = True

    config.task = ConfigDict(
        {
            "name": "mmdf_jax.tasks.hierarchical",
            "vocabulary": vocabulary,
            "fake_weight": 1.0,
            "type_weight": 1.0,
            "frame_weight": 2.0,
            "distance_weight": 0.5,
            "map_weight": 1.0,
            "empty_weight": 0.25,
            "stream_weight": 5.0,  # one for each of the five heads
            "alignment_weight": 0.5,
            "pooled_weight": 0.1,
            "beside_weight": 0.5,
            "smoothing": 0.05,
            "ranges": () if tiny else (0.8, 1.6),
            "decoder": ConfigDict({"low": 0.05, "high": 0.5, "smooth": 3, "alone": 0.5, "sigma": 0.3, "agree": 1.0}),
            "unknown": 0.4,
        }
    )
    config.train.select = "overall"
    if tiny:
        config.train.steps = 400
        config.train.eval_steps = 100
    config.evaluate.stride = config.data.window / 2  # s; windows overlap by half, so that every end is seen whole
    return config
