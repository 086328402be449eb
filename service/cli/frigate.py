"""Implements `halflight frigate`: names the people whom Frigate tracks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from service.cli.frigate_api import FrigateApi, Login
from service.cli.frigate_events import People
from service.cli.options import DEFAULT_URL, Json, Key, Url
from service.cli.output import Failure


def frigate(
    frigate_url: Annotated[
        str,
        typer.Option(
            "--frigate", envvar="HALFLIGHT_FRIGATE_URL", help="Frigate, such as http://frigate:5000."
        ),
    ],
    mqtt: Annotated[
        str, typer.Option("--mqtt", envvar="HALFLIGHT_MQTT_URL", help="Its broker, mqtt://HOST:PORT.")
    ],
    mqtt_user: Annotated[
        str | None, typer.Option(envvar="HALFLIGHT_MQTT_USER", help="Who we are at the broker.")
    ] = None,
    mqtt_password: Annotated[
        str | None,
        typer.Option(envvar="HALFLIGHT_MQTT_PASSWORD", help="Better in the environment than here."),
    ] = None,
    mqtt_password_file: Annotated[
        Path | None, typer.Option(envvar="HALFLIGHT_MQTT_PASSWORD_FILE", help="File that holds it.")
    ] = None,
    mqtt_ca: Annotated[
        Path | None,
        typer.Option(envvar="HALFLIGHT_MQTT_CA", help="PEM file of the authority of an mqtts:// broker."),
    ] = None,
    frigate_user: Annotated[
        str | None,
        typer.Option(envvar="HALFLIGHT_FRIGATE_USER", help="Who we are at Frigate's port 8971."),
    ] = None,
    frigate_password: Annotated[
        str | None,
        typer.Option(envvar="HALFLIGHT_FRIGATE_PASSWORD", help="Better in the environment than here."),
    ] = None,
    frigate_ca: Annotated[
        Path | None,
        typer.Option(envvar="HALFLIGHT_FRIGATE_CA", help="PEM file of the authority of its certificate."),
    ] = None,
    topic: Annotated[str, typer.Option(help="Frigate's topic_prefix.")] = "frigate",
    camera: Annotated[
        list[str] | None, typer.Option(help="Look at this camera of Frigate alone; repeat for more.")
    ] = None,
    label: Annotated[str, typer.Option(help="Look at tracked objects of this label.")] = "person",
    snapshots: Annotated[
        int, typer.Option(min=2, max=16, help="Keep so many snapshots of a person at most.")
    ] = 8,
    spectrum: Annotated[
        Literal["auto", "nir", "vis"],
        typer.Option(help="Of the snapshots; auto recognises it from the pixels."),
    ] = "auto",
    ids: Annotated[
        bool, typer.Option("--ids", help="Show subject ids in Frigate, and no display names.")
    ] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Name the people whom Frigate tracks, until Ctrl-C: identify their snapshots and set the sub label.

    Several snapshots of a person have to agree (`HALFLIGHT_TRACK_AGREE` of the service); one that another
    program has named is left alone. A probe key suffices.
    """
    # Loaded here: no other command needs a broker.
    from service.cli.frigate_watch import Asked, FrigateWatch
    from service.delivery.broker import Broker, BrokerError

    try:
        broker = Broker(
            url=mqtt,
            user=mqtt_user,
            password=mqtt_password,
            password_file=mqtt_password_file,
            ca=mqtt_ca,
        )
        broker.check_files()
    except BrokerError as error:
        raise Failure(str(error), exit_code=2) from error
    except OSError as error:
        raise Failure(f"{error.filename} cannot be read: {error.strerror}", exit_code=2) from error
    if (frigate_user is None) != (frigate_password is None):
        raise Failure("a login at Frigate needs a user and a password", exit_code=2)
    login = None
    if frigate_user is not None and frigate_password is not None:
        login = Login(frigate_user, frigate_password)
    api = FrigateApi(frigate_url, login, frigate_ca)
    people = People(label, frozenset(camera) if camera else None, snapshots)
    asked = Asked(topic=topic.rstrip("/"), spectrum=spectrum, ids=ids, as_json=as_json)
    watch = FrigateWatch(broker, api, people, asked, url=url, key=key)
    asyncio.run(watch.run())
