"""Defines the settings, read from the environment (`HALFLIGHT_*`) and the command line."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from service.sealing.secret_files import SecretFileError, read_secret_files
from service.sealing.sources import KEY_FILE, GivenKeys, KeyFile, KeyService, KeySource
from service.sealing.vault import VaultAddress, VaultTransit

KIB, MIB = 1 << 10, 1 << 20
# Segments of letters that no URL encodes, none of them `.` or `..`.
ROOT_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")
# What the service's own paths begin with: below such a prefix a path would mean two things.
OWN_PATHS = frozenset(
    {"v1", "api", "enroll", "identify", "verify", "embed", "detect", "tracks", "subjects", "admin", "events"}
    | {"unknowns", "watchers", "health", "metrics", "docs", "openapi.json", "assets", "whoami"}
)
CHECKOUT = Path(__file__).resolve().parent.parent
# How far a picture must be turned clockwise, in degrees, where that is known.
TurnChoice = Literal["auto", "0", "90", "180", "270"]
# The bundle below `models/` that everything serves by default; tests hold the images to it.
BUILTIN = "halflight-2"


def cache_root() -> Path:
    """Returns where provisioned models lie: `HALFLIGHT_CACHE`, the checkout's `.halflight` or `~/.cache`."""
    if given := os.environ.get("HALFLIGHT_CACHE"):
        return Path(given)
    if (CHECKOUT / "pyproject.toml").is_file():
        return CHECKOUT / ".halflight"
    return Path.home() / ".cache" / "halflight"


def builtin_bundle() -> Path:
    """Returns the directory of the bundle that comes with the project."""
    return CHECKOUT / "models" / BUILTIN


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _names(given: object) -> object:
    """A JSON list as it is; any other text as names between commas."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        return json.loads(given)
    return tuple(name.strip() for name in given.split(",") if name.strip())


# pydantic-settings would take JSON alone from the environment.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]

SECRETS_DIR = "HALFLIGHT_SECRETS_DIR"


class _SecretFiles(PydanticBaseSettingsSource):
    """The secrets in the files of `HALFLIGHT_SECRETS_DIR`. Raises SettingsError."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        directory = os.environ.get(SECRETS_DIR)
        if not directory:
            return {}
        fields = self.settings_cls.model_fields
        known = {"database_url"} | {name for name, field in fields.items() if _is_secret(field)}
        try:
            found = read_secret_files(Path(directory), known)
        except SecretFileError as error:
            raise SettingsError(f"{SECRETS_DIR}: {error}") from error
        if twice := sorted(name for name in found if os.environ.get(f"HALFLIGHT_{name.upper()}")):
            raise SettingsError(f"HALFLIGHT_{twice[0].upper()} is set, and a file of {SECRETS_DIR} too")
        return found


class Settings(BaseSettings):
    """Settings of an operator. Sizes are in bytes or pixels, times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="HALFLIGHT_", frozen=True, extra="forbid", env_ignore_empty=True
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    root_path: str = ""
    compreface: bool = False
    data_dir: Path = Path("data")
    database_url: str | None = None
    gallery: Literal["embedded", "pgvector", "milvus"] = "embedded"
    gallery_index: Literal["hnsw", "exact"] = "hnsw"
    gallery_candidates: Annotated[int, Field(ge=1, le=1000)] = 200
    milvus_uri: Annotated[str, Field(pattern=r"^https?://[^/@]+$")] | None = None
    milvus_token: SecretStr | None = None
    bundle_dir: Path = Field(default_factory=builtin_bundle)
    bundles: Path | None = None
    bundle_key: Path | None = None
    bundle_url: SecretStr | None = None
    bundle_token: SecretStr | None = None
    bundle_publish: bool = False

    keep_crops: bool = True
    crop_days: Annotated[float, Field(ge=0)] = 0.0
    subject_retention_days: Annotated[float, Field(ge=0)] = 0.0
    require_consent: bool = False
    crop_key: SecretStr | None = None
    keep_probes_hours: Annotated[float, Field(ge=0, le=24 * 366)] = 0.0
    keep_probes_max: Annotated[int, Field(ge=1)] = 20_000
    master_key: SecretStr | None = None
    master_key_file: Path | None = None
    vault_url: str | None = None
    vault_key: str = "halflight"
    vault_mount: str = "transit"
    vault_namespace: str | None = None
    vault_token: SecretStr | None = None
    vault_token_file: Path | None = None
    vault_ca: Path | None = None

    backup_keys: Path | None = None
    snapshot_templates: Annotated[int, Field(ge=0)] = 20_000
    snapshot_s: Annotated[float, Field(gt=0)] = 60.0

    audit: Literal["batched", "strict"] = "batched"
    audit_flush_s: Annotated[float, Field(ge=0, le=60)] = 0.5
    audit_days: Annotated[float, Field(ge=0)] = 0.0
    audit_key: SecretStr | None = None

    run_jobs: bool = True
    job_lease_s: Annotated[float, Field(ge=1)] = 15.0
    datasets: Path | None = None
    train_python: Path = Path(sys.executable)
    trunk: Path = CHECKOUT / "models" / "standin-trunk" / "trunk.pt"
    facekit: Path = CHECKOUT.parent / "shared" / "data" / "ict_facekit"

    providers: Names = ("CPUExecutionProvider",)
    allow_fallback: bool = False
    tensorrt_half: bool = False
    engine_cache_dir: Path | None = None
    intra_op_threads: Annotated[int, Field(ge=0)] = 0
    max_batch: Annotated[int, Field(ge=1, le=256)] = 8
    max_queue: Annotated[int, Field(ge=1)] = 64
    max_requests: Annotated[int, Field(ge=1)] = 64
    max_event_streams: Annotated[int, Field(ge=0)] = 32
    webhook_url: SecretStr | None = None
    webhook_secret: SecretStr | None = None
    webhook_private: bool = False
    webhook_timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    webhook_retry_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    webhook_attempts: Annotated[int, Field(ge=1, le=100)] = 15
    receivers_file: Path | None = None
    undelivered_days: Annotated[float, Field(ge=0)] = 30.0
    mqtt_url: str | None = None
    mqtt_user: str | None = None
    mqtt_password: SecretStr | None = None
    mqtt_password_file: Path | None = None
    mqtt_ca: Path | None = None
    mqtt_node: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")] = "main"
    mqtt_names: bool = False
    mqtt_discovery: bool = True
    mqtt_discovery_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_/-]{1,64}$")] = "homeassistant"
    doors_file: Path | None = None
    events_kept: Annotated[int, Field(ge=1, le=100_000)] = 1000
    max_connections: Annotated[int, Field(ge=0)] = 0
    max_head_bytes: Annotated[int, Field(ge=1024)] = 32 * KIB
    max_headers: Annotated[int, Field(ge=16)] = 100
    head_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    body_idle_s: Annotated[float, Field(gt=0)] = 10.0
    body_grace_s: Annotated[float, Field(gt=0)] = 10.0
    min_body_bytes_per_s: Annotated[float, Field(gt=0)] = 8.0 * KIB
    max_body_memory_bytes: Annotated[int, Field(ge=1024)] = 256 * MIB

    max_image_bytes: Annotated[int, Field(ge=1024)] = 16 * MIB
    max_image_pixels: Annotated[int, Field(ge=4096)] = 50_000_000
    max_work_pixels: Annotated[int, Field(ge=4096)] = 64_000_000
    decode_workers: Annotated[int, Field(ge=1, le=64)] = 2
    decode_cpu_s: Annotated[float, Field(gt=0)] = 8.0
    decode_wall_s: Annotated[float, Field(gt=0)] = 30.0
    decode_wait_s: Annotated[float, Field(gt=0)] = 10.0
    decode_memory_bytes: Annotated[int, Field(ge=64 * MIB)] = 1024 * MIB
    max_body_bytes: Annotated[int, Field(ge=1024)] = 64 * MIB
    max_archive_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * MIB
    max_unpacked_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * MIB
    max_archive_ratio: Annotated[float, Field(ge=1)] = 20.0
    disk_reserve_bytes: Annotated[int, Field(ge=0)] = 1024 * MIB
    max_images: Annotated[int, Field(ge=1, le=16)] = 16
    track_agree: Annotated[int, Field(ge=1, le=16)] = 2
    max_faces: Annotated[int, Field(ge=1)] = 32

    min_detection_score: Annotated[float | None, Field(ge=0.3, lt=1)] = None
    camera_turn: TurnChoice = "auto"
    min_inter_eye_px: Annotated[float, Field(ge=4)] = 16.0
    duplicates: Literal["refuse", "report", "ignore"] = "refuse"
    duplicate_fpir: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    mismatch_fmr: Annotated[float, Field(gt=0, lt=1)] = 0.2
    mismatch_fnmr: Annotated[float, Field(ge=0, lt=1)] = 0.03
    min_enrol_quality: Annotated[int, Field(ge=0, le=100)] = 20
    rate_limit_per_s: Annotated[float, Field(ge=0)] = 100.0
    rate_limit_burst: Annotated[int, Field(ge=1)] = 200
    failed_logins_per_s: Annotated[float, Field(ge=0)] = 1.0
    failed_logins_burst: Annotated[int, Field(ge=1)] = 30
    trusted_proxies: Names = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_poll_s: Annotated[float, Field(gt=0)] = 0.5
    drain_s: Annotated[float, Field(ge=0)] = 10.0
    log_level: str = "info"
    otel_endpoint: str | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - none is configured
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - it would skip unknown names
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SecretFiles(settings_cls)

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        known = [name.lower() for name in logging.getLevelNamesMapping() if name != "NOTSET"]
        if level.lower() not in known:
            raise ValueError(f"{level} is no level; levels: {', '.join(sorted(known))}")
        return level

    @field_validator("root_path")
    @classmethod
    def _one_prefix(cls, path: str) -> str:
        path = path.rstrip("/")
        if path and not ROOT_PATH.fullmatch(path):
            raise ValueError("write the prefix of the proxy as /NAME or /NAME/NAME, such as /faces")
        if path.split("/")[1:] and path.split("/")[1] in OWN_PATHS:
            raise ValueError(f"/{path.split('/')[1]} is a path of the service itself: choose another prefix")
        return path

    @model_validator(mode="after")
    def _room_for_one_image(self) -> Settings:
        if self.max_body_bytes < self.max_image_bytes:
            raise ValueError("max_body_bytes must hold at least one image of max_image_bytes")
        if self.max_work_pixels < self.max_image_pixels:
            raise ValueError("max_work_pixels must hold at least one image of max_image_pixels")
        if self.master_key is not None and self.master_key_file is not None:
            raise ValueError("master_key and master_key_file both give the master key: choose one")
        if self.vault_url is not None:
            if self.master_key is not None:
                raise ValueError("master_key gives the master key, so there is none for vault_url to wrap")
            if not re.fullmatch(r"https?://[^/].*", self.vault_url):
                raise ValueError("vault_url is an address such as https://vault:8200")
            if (self.vault_token is None) == (self.vault_token_file is None):
                raise ValueError("vault_url needs vault_token or vault_token_file: give one of them")
        if self.otel_endpoint is not None and not re.fullmatch(
            r"https?://[^/@\s]+(/[^@#?\s]*)?", self.otel_endpoint
        ):
            raise ValueError("otel_endpoint is an address such as http://collector:4318")
        if self.webhook_url is not None and not re.fullmatch(
            r"https?://[^/@#\s]+(/[^#\s]*)?", self.webhook_url.get_secret_value()
        ):
            raise ValueError("webhook_url is an address such as https://host/path, without a user")
        if self.webhook_secret is not None and not re.fullmatch(
            r"whsec_[A-Za-z0-9+/]{32,88}={0,2}", self.webhook_secret.get_secret_value()
        ):
            raise ValueError("webhook_secret is whsec_ and 24 to 64 bytes in base64")
        if (self.webhook_url is None) != (self.webhook_secret is None):
            raise ValueError("webhook_url and webhook_secret belong together: give both or neither")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: give both or neither")
        if self.max_body_memory_bytes < self.max_body_bytes:
            raise ValueError("max_body_memory_bytes must hold at least one body of max_body_bytes")
        return self

    @property
    def bundle_registry(self) -> Path:
        """Directory of registered bundles, by default in the data directory."""
        return self.bundles or self.data_dir / "bundles"

    @property
    def engine_cache(self) -> Path:
        """Directory of TensorRT's engines, by default in the data directory."""
        return self.engine_cache_dir or self.data_dir / "engines"

    @property
    def given_crop_key(self) -> str | None:
        """The crop key of older releases; None to look for it in the data directory."""
        return None if self.crop_key is None else self.crop_key.get_secret_value()

    @property
    def given_audit_key(self) -> str | None:
        """The given key that signs the audit log; None to use the one in the data directory."""
        return None if self.audit_key is None else self.audit_key.get_secret_value()

    @property
    def key_source(self) -> KeySource:
        """Where the master key lies, by default in the data directory."""
        if self.master_key is not None:
            return GivenKeys(self.master_key.get_secret_value())
        return KeyFile(self.master_key_file or self.data_dir / KEY_FILE, self._key_service)

    @property
    def _key_service(self) -> KeyService | None:
        """What wraps the master key in its file; None: nothing does."""
        if self.vault_url is None:
            return None
        token = self.vault_token
        return VaultTransit(
            VaultAddress(
                url=self.vault_url,
                key=self.vault_key,
                mount=self.vault_mount,
                namespace=self.vault_namespace,
                token=None if token is None else token.get_secret_value(),
                token_file=self.vault_token_file,
                ca=self.vault_ca,
            )
        )

    @property
    def sqlalchemy_url(self) -> str:
        """URL of the database, by default SQLite in the data directory."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{(self.data_dir / 'halflight.db').resolve()}"
        for plain in ("postgresql://", "postgres://"):
            if self.database_url.startswith(plain):
                return "postgresql+psycopg://" + self.database_url.removeprefix(plain)
        return self.database_url


# Variables that hold a key, or a password in a URL. Child processes must not inherit them.
SECRETS = (
    "HALFLIGHT_DATABASE_URL",
    "HALFLIGHT_BACKUP_PASSPHRASE",
    *(f"HALFLIGHT_{name.upper()}" for name, field in Settings.model_fields.items() if _is_secret(field)),
)
