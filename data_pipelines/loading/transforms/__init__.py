"""Augmentations of an example's decoded streams: uint8 pictures and int16 sound, before and after.

Each is a frozen dataclass called with an example and a generator. What is drawn holds for all frames of the window and
alike for all of its picture streams, in proportion to their sizes, so that streams still show one and the same take;
none moves a stream against another but those of `timing` that put a detector to the test. Noise and exposure alone
differ from frame to frame, as a camera's do. Absent streams stay zero.
"""

from data_pipelines.loading.transforms.base import Example as Example
from data_pipelines.loading.transforms.base import Range as Range
from data_pipelines.loading.transforms.base import Transform as Transform
from data_pipelines.loading.transforms.pictures import Blur as Blur
from data_pipelines.loading.transforms.pictures import ColourJitter as ColourJitter
from data_pipelines.loading.transforms.pictures import Downscale as Downscale
from data_pipelines.loading.transforms.pictures import Erase as Erase
from data_pipelines.loading.transforms.pictures import Exposure as Exposure
from data_pipelines.loading.transforms.pictures import HorizontalFlip as HorizontalFlip
from data_pipelines.loading.transforms.pictures import Jpeg as Jpeg
from data_pipelines.loading.transforms.pictures import Noise as Noise
from data_pipelines.loading.transforms.pictures import Recompress as Recompress
from data_pipelines.loading.transforms.pictures import ResizedCrop as ResizedCrop
from data_pipelines.loading.transforms.pictures import ShiftScaleRotate as ShiftScaleRotate
from data_pipelines.loading.transforms.sounds import AudioCodec as AudioCodec
from data_pipelines.loading.transforms.sounds import AudioNoise as AudioNoise
from data_pipelines.loading.transforms.sounds import BandLimit as BandLimit
from data_pipelines.loading.transforms.sounds import Gain as Gain
from data_pipelines.loading.transforms.sounds import Pitch as Pitch
from data_pipelines.loading.transforms.sounds import Reverb as Reverb
from data_pipelines.loading.transforms.timing import DropFrames as DropFrames
from data_pipelines.loading.transforms.timing import Late as Late
from data_pipelines.loading.transforms.timing import LowerRate as LowerRate
from data_pipelines.loading.transforms.timing import ShuffleFrames as ShuffleFrames
from data_pipelines.loading.transforms.timing import Speed as Speed
from data_pipelines.loading.transforms.timing import StillFrames as StillFrames
