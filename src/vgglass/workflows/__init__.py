"""The workflows: train, evaluate, predict, export, calibrate, check, convert, report. The API of CLI and server."""

from vgglass.inference import complete as is_complete
from vgglass.inference import write as write_rows
from vgglass.replication.lab import about as describe_lab
from vgglass.replication.lab import lines as lab_costs
from vgglass.replication.lab import sheets as lab_tables
from vgglass.training.process import first as is_first_process
from vgglass.training.process import prepare as prepare_process
from vgglass.workflows.bench import bench, describe_machine, draw_bench, require_pictures
from vgglass.workflows.calibrate import calibrate
from vgglass.workflows.card import card_page, has_card
from vgglass.workflows.check import (
    between_splits,
    check,
    quarantine,
    require_manifest_place,
    require_quarantine_place,
    write_audit_page,
    write_manifest,
)
from vgglass.workflows.clip import clip
from vgglass.workflows.convert import (
    architecture,
    convert_from_foreign,
    convert_to_foreign,
    is_model_file,
    is_pretrained_name,
)
from vgglass.workflows.curve import curve, write_curve
from vgglass.workflows.data import limit_pixels, read_training_data
from vgglass.workflows.drift import drift
from vgglass.workflows.evaluate import (
    compare,
    draw_confusion,
    evaluate,
    evaluation_predictor,
    predictions_of,
    predictions_on_split,
)
from vgglass.workflows.export import export, verify
from vgglass.workflows.labels import (
    apply_labels,
    check_labels,
    plan_moves,
    undo_moves,
    write_label_page,
    write_suspects,
)
from vgglass.workflows.models import (
    Model,
    engine,
    features,
    is_foreign,
    load,
    load_parent,
    load_record,
    open_source,
    parent_path,
    predictor,
    pretrained,
    require_torch,
    starting_model,
)
from vgglass.workflows.paper import paper
from vgglass.workflows.predict import predict, stream_predictions
from vgglass.workflows.report import report
from vgglass.workflows.shrink import draw_shrinking, shrink
from vgglass.workflows.teach import Classroom, cached_weights, classroom, files_of
from vgglass.workflows.train import preview, train, write_digits

__all__ = [
    "Classroom", "Model", "apply_labels", "architecture", "bench", "between_splits", "cached_weights", "calibrate",
    "card_page", "check", "check_labels", "classroom", "clip", "compare", "convert_from_foreign", "convert_to_foreign",
    "curve", "describe_lab", "describe_machine", "draw_bench", "draw_confusion", "draw_shrinking", "drift", "engine",
    "evaluate", "evaluation_predictor", "export", "features", "files_of", "has_card", "is_complete", "is_first_process",
    "is_foreign", "is_model_file", "is_pretrained_name", "lab_costs", "lab_tables", "limit_pixels", "load",
    "load_parent", "load_record", "open_source", "paper", "parent_path", "plan_moves", "predict", "predictions_of",
    "predictions_on_split", "predictor", "prepare_process", "pretrained", "preview", "quarantine", "read_training_data",
    "report", "require_manifest_place", "require_pictures", "require_quarantine_place", "require_torch", "shrink",
    "starting_model", "stream_predictions", "train", "undo_moves", "verify", "write_audit_page", "write_curve",
    "write_digits", "write_label_page", "write_manifest", "write_rows", "write_suspects",
]  # fmt: skip
