"""The DataJoint tables. Each module of tables is one database schema, and every ``make()`` calls ``pipeline``.

``schemas.server.binding.MODULES`` lists the modules of tables. Nothing connects to a database before ``activate()``:

    import schemas
    schemas.activate()
    schemas.ROI & "is_neuron"
"""

import warnings

with warnings.catch_warnings():
    from schemas.server import config_file, quick_import

    config_file.guard()  # before DataJoint is imported
    # DataJoint warns at its first import when there is no datajoint.json: then the embedded database is used
    warnings.filterwarnings("ignore", message="No datajoint.json found")
    with quick_import.without_garbage_collection():
        quick_import.import_datajoint()

with quick_import.without_garbage_collection():
    from pipeline.errors import (
        ArgumentError,
        ArgumentTypeError,
        ConfigError,
        DamagedError,
        DataError,
        MesoError,
        NotFoundError,
        OutOfRangeError,
        SettingsError,
    )
    from schemas.behavior import ChoiceModel
    from schemas.days.tables import DaysParams, SharedEmbedding, SharedEmbeddingTask
    from schemas.decoding.tables import (
        NDCCohort,
        NDCComparison,
        NDCFamily,
        NDCParams,
        NDCPopulation,
        NDCResult,
        NDCTask,
        TransferMatrix,
        TransferResult,
        TransferTask,
        TrialFeatures,
    )
    from schemas.embedding import Embedding, EmbeddingParams, ImportedOrder, RasterTiles
    from schemas.imaging.activity import CellActivity, activity
    from schemas.imaging.signals import Signal, SignalParams, SignalTask
    from schemas.imaging.tables import FOV, ROI, Activity, AtlasOutline, BrainRegion, Recording
    from schemas.labels import LabelSet
    from schemas.provenance import Deletion, Environment, FormerResult, SchemaVersion, SourceUpdate
    from schemas.responses.tables import (
        CellResponse,
        CellTask,
        ResponseTask,
        SelectivityParams,
        Stability,
        StabilityParams,
        StabilityTask,
        TrialTypeMean,
        WindowSet,
    )
    from schemas.server.connection import connect
    from schemas.session import Behavior, FOVFolder, Session, SessionTag, Subject, Wheel
    from schemas.setup.activation import activate
    from schemas.tracking import (
        RegisteredUIDs,
        SessionSet,
        SharedCells,
        TrackedCell,
        TrackedFOV,
        TrackingFile,
        TrackingRun,
    )
    from schemas.upkeep.deletion import delete_sessions

__all__ = [
    "FOV",
    "ROI",
    "Activity",
    "ArgumentError",
    "ArgumentTypeError",
    "AtlasOutline",
    "Behavior",
    "BrainRegion",
    "CellActivity",
    "CellResponse",
    "CellTask",
    "ChoiceModel",
    "ConfigError",
    "DamagedError",
    "DataError",
    "DaysParams",
    "Deletion",
    "Embedding",
    "EmbeddingParams",
    "Environment",
    "FOVFolder",
    "FormerResult",
    "ImportedOrder",
    "LabelSet",
    "MesoError",
    "NDCCohort",
    "NDCComparison",
    "NDCFamily",
    "NDCParams",
    "NDCPopulation",
    "NDCResult",
    "NDCTask",
    "NotFoundError",
    "OutOfRangeError",
    "RasterTiles",
    "Recording",
    "RegisteredUIDs",
    "ResponseTask",
    "SchemaVersion",
    "SelectivityParams",
    "Session",
    "SessionSet",
    "SessionTag",
    "SettingsError",
    "SharedCells",
    "SharedEmbedding",
    "SharedEmbeddingTask",
    "Signal",
    "SignalParams",
    "SignalTask",
    "SourceUpdate",
    "Stability",
    "StabilityParams",
    "StabilityTask",
    "Subject",
    "TrackedCell",
    "TrackedFOV",
    "TrackingFile",
    "TrackingRun",
    "TransferMatrix",
    "TransferResult",
    "TransferTask",
    "TrialFeatures",
    "TrialTypeMean",
    "Wheel",
    "WindowSet",
    "activate",
    "activity",
    "connect",
    "delete_sessions",
]
