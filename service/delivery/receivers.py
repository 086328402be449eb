"""The receivers of events that the settings name: one webhook, those of a file, an MQTT broker."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, model_validator

from faces.strict import Strict, strip_prefix
from service.delivery.channel import Pace, Receiver
from service.delivery.signing import secret_bytes
from service.delivery.target import Target
from service.delivery.webhook import WebhookChannel
from service.settings import Settings

FIRST = "webhook"
MQTT = "mqtt"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
MAX_BYTES = 1 << 20


class ReceiversError(ValueError):
    """The file of the receivers, a receiver in it, or the broker, cannot be used. The text quotes no address
    and no secret."""


class _Webhook(Strict):
    """One table of the file, as the settings of the first webhook have it."""

    url: SecretStr
    secret: SecretStr | None = None
    secret_file: Path | None = None
    private: bool = False
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    retry_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    attempts: Annotated[int, Field(ge=1, le=100)] = 15

    @model_validator(mode="after")
    def _one_secret(self) -> _Webhook:
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("give secret or secret_file")
        return self

    def secret_text(self, beside: Path) -> str:
        """Raises OSError, UnicodeError."""
        if self.secret is not None:
            return self.secret.get_secret_value()
        assert self.secret_file is not None  # noqa: S101 - one of both is there
        return (beside / self.secret_file).read_text(encoding="ascii").strip()


def receivers_of(
    settings: Settings, *, show_mqtt: Callable[[bool], None] = lambda _up: None
) -> tuple[Receiver, ...]:
    """Every receiver that the settings name, the first webhook before others, the broker last.

    `show_mqtt`: told whenever the broker lets us in, and when the connection ends. Raises ReceiversError.
    """
    found = []
    if settings.webhook_url is not None and settings.webhook_secret is not None:
        one = _Webhook(
            url=settings.webhook_url,
            secret=settings.webhook_secret,
            private=settings.webhook_private,
            timeout_s=settings.webhook_timeout_s,
            retry_s=settings.webhook_retry_s,
            attempts=settings.webhook_attempts,
        )
        found.append(_receiver(FIRST, one, Path()))
    if settings.receivers_file is not None:
        found += _of_file(settings.receivers_file)
    if settings.mqtt_url is not None:
        found.append(_mqtt(settings, settings.mqtt_url, show_mqtt))
    elif settings.mqtt_user or settings.mqtt_password or settings.mqtt_password_file or settings.mqtt_ca:
        raise ReceiversError("the settings name a user, a password or an authority of MQTT, and no mqtt_url")
    return tuple(found)


def _mqtt(settings: Settings, url: str, show: Callable[[bool], None]) -> Receiver:
    # Loaded where there is a broker alone: a start without one is not slowed down by it.
    from service.delivery.broker import Broker, BrokerError
    from service.delivery.home_assistant import Discovery
    from service.delivery.mqtt import MqttChannel
    from service.delivery.topics import Topics

    topics, pace = Topics(settings.mqtt_node, settings.mqtt_names), Pace()
    given = settings.mqtt_password
    try:
        broker = Broker(
            url=url,
            user=settings.mqtt_user,
            password=None if given is None else given.get_secret_value(),
            password_file=settings.mqtt_password_file,
            ca=settings.mqtt_ca,
        )
        # What is missing now would look like a broker that is away.
        broker.check_files()
    except BrokerError as error:
        raise ReceiversError(str(error)) from error
    except OSError as error:
        name = Path(error.filename or "").name
        raise ReceiversError(f"the file {name} cannot be read: {error.strerror}") from error
    discovery = Discovery(settings.mqtt_discovery_prefix, topics) if settings.mqtt_discovery else None
    channel = MqttChannel(broker, topics, discovery, pace.timeout_s, show)
    return Receiver(name=MQTT, kind="mqtt", pace=pace, channel=channel)


def _of_file(path: Path) -> list[Receiver]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        tables = tomllib.loads(text[:MAX_BYTES].decode())
    except OSError as error:
        raise ReceiversError(f"the file {path.name} cannot be read: {error.strerror}") from error
    except (UnicodeError, tomllib.TOMLDecodeError) as error:
        raise ReceiversError(f"the file {path.name} is no TOML") from error
    if len(text) > MAX_BYTES:
        raise ReceiversError(f"the file {path.name} is larger than 1 MiB")
    return [_receiver(name, _table(path.name, name, table), path.parent) for name, table in tables.items()]


def _table(file: str, name: str, table: object) -> _Webhook:
    if not NAME.fullmatch(name) or name in (FIRST, MQTT):
        raise ReceiversError(
            f"a receiver in {file} has a name of up to 32 small letters, digits and hyphens, and is not"
            f" called {FIRST} or {MQTT}"
        )
    if not isinstance(table, Mapping):
        raise ReceiversError(f"{file}: {name} is a table: write [{name}]")
    try:
        return _Webhook.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in (name, *first["loc"]))
        raise ReceiversError(f"{file}: {place}: {strip_prefix(first['msg'])}") from None


def _receiver(name: str, one: _Webhook, beside: Path) -> Receiver:
    pace = Pace(timeout_s=one.timeout_s, retry_s=one.retry_s, attempts=one.attempts)
    try:
        target = Target(one.url.get_secret_value(), one.private)
        channel = WebhookChannel(target, secret_bytes(one.secret_text(beside)), one.timeout_s)
    except OSError as error:
        raise ReceiversError(f"receiver {name}: its secret cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise ReceiversError(f"receiver {name}: its secret is not ASCII") from error
    except ValueError as error:
        raise ReceiversError(f"receiver {name}: {error}") from error
    return Receiver(name=name, kind="webhook", pace=pace, channel=channel)
