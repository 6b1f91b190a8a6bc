"""The proxy: a frozen backbone, its features in a bank, and the short training on them."""

from nas_fpn.proxy.backbone import Backbone, build_backbone
from nas_fpn.proxy.bank import Bank, Split, open_bank
from nas_fpn.proxy.building import Built, Fold, build_bank
from nas_fpn.proxy.checkpoint import Checkpoint, checkpoint_file, keep_only
from nas_fpn.proxy.feeding import let_go
from nas_fpn.proxy.packing import Packing, best_packing, candidate_packings, measure_packing
from nas_fpn.proxy.settings import BackboneSettings, DataSettings, ProxySettings
from nas_fpn.proxy.timing import Timing, measure_trial
from nas_fpn.proxy.train import make_detector, pick_device, train
from nas_fpn.proxy.views import VIEWS, Seen, View, see
from nas_fpn.proxy.warmup import Images, load_images, train_end_to_end, warm_up

__all__ = [
    "VIEWS",
    "Backbone",
    "BackboneSettings",
    "Bank",
    "Built",
    "Checkpoint",
    "DataSettings",
    "Fold",
    "Images",
    "Packing",
    "ProxySettings",
    "Seen",
    "Split",
    "Timing",
    "View",
    "best_packing",
    "build_backbone",
    "build_bank",
    "candidate_packings",
    "checkpoint_file",
    "keep_only",
    "let_go",
    "load_images",
    "make_detector",
    "measure_packing",
    "measure_trial",
    "open_bank",
    "pick_device",
    "see",
    "train",
    "train_end_to_end",
    "warm_up",
]
