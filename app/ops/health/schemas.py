"""Shapes of the health answers; they tell nothing of versions or hosts."""

import marshmallow as ma

from app.core.http import Schema


class AliveOut(Schema):
    """The process answers."""

    status = ma.fields.String(required=True, metadata={"example": "alive"})


class ChecksOut(Schema):
    """Each part that Coffer needs."""

    database = ma.fields.Boolean(required=True)
    migrations = ma.fields.Boolean(
        required=True, metadata={"description": "The schema is the one that this code needs"}
    )
    redis = ma.fields.Boolean(required=True)
    queue = ma.fields.Boolean(required=True, metadata={"description": "The broker takes messages"})


class ReadyOut(Schema):
    """All parts together."""

    status = ma.fields.String(required=True, metadata={"enum": ["ready", "not ready"]})
    checks = ma.fields.Nested(ChecksOut, required=True)
