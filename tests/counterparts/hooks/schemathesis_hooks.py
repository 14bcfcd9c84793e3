"""Checks for schemathesis of what is particular to this API: a refused command is HTTP 200 with `error`, which its own
checks of good and bad data would take for success."""

import copy
import re

import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection

# What a parser says. A command that was understood may still fail, for want of a bridge or a register.
NOT_UNDERSTOOD = re.compile(r"unknown (member|field)|invalid type|^\w+: (missing|must be)|is not a JSON object")
# Addresses, names and keys whose grammar is not that of a schema.
BEYOND_SCHEMA = {"/cmd/test-email", "/cmd/test-remote"}
BEYOND_SCHEMA_MEMBERS = ("key: ", "ssid: ")


def refusal(response):
    try:
        reply = response.json()
    except ValueError:
        return None
    return reply.get("error") if isinstance(reply, dict) else None


@schemathesis.check
def bad_data_is_refused(ctx, response, case):
    seen = copy.copy(response)
    if refusal(response):
        seen.status_code = 400
    return negative_data_rejection(ctx, seen, case)


@schemathesis.check
def good_data_is_understood(ctx, response, case):
    is_good = case.meta and case.meta.generation.mode.is_positive
    text = refusal(response) or ""
    if is_good and case.path not in BEYOND_SCHEMA and not text.startswith(BEYOND_SCHEMA_MEMBERS):
        assert not NOT_UNDERSTOOD.search(text), text


@schemathesis.check
def described_operations_exist(ctx, response, case):
    """`4XX` in the description stands for what the door refuses, which a path and a method that it lists never are."""
    if case.meta and case.meta.generation.mode.is_positive:
        assert response.status_code not in (404, 405), response.status_code
