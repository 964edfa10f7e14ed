"""The document that clients are made from, and the page that shows it."""

import re

import pytest
from flask import Flask

from tests.api.client import ApiClient


def test_every_route_is_in_the_document_and_the_reverse(api: ApiClient, app: Flask) -> None:
    outside = {
        "static",
        "api-docs.openapi_json",
        "api-page.page",
        "api-page.asset",
        "registration-pages.verify_page",
        "mailbox.mailbox",
    }
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in outside
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    paths = (api.http.get("/api/openapi.json").json or {})["paths"]
    assert {(path, method) for path, operations in paths.items() for method in operations} == routes


def test_every_operation_has_a_summary_answers_and_one_form_of_refusals(api: ApiClient) -> None:
    document = api.http.get("/api/openapi.json").json or {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method} {path}"
            assert operation["summary"], name
            assert {"500", "503"} <= set(operation["responses"]), name
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and not path.startswith("/readyz"):
                    assert "application/problem+json" in answer["content"], (name, status)
            if "requestBody" in operation:
                assert {"400", "413", "415", "422"} <= set(operation["responses"]), name
            if operation.get("security"):
                assert {"401", "403"} <= set(operation["responses"]), name


def test_references_lead_somewhere(api: ApiClient) -> None:
    document = api.http.get("/api/openapi.json")
    for reference in set(re.findall(r'"\$ref": ?"#/([^"]+)"', document.get_data(as_text=True))):
        found = document.json or {}
        for step in reference.split("/"):
            found = found[step]


@pytest.mark.parametrize("path", ["/api/docs", "/verify-email", "/dev/mailbox"])
def test_pages_load_nothing_from_elsewhere(api: ApiClient, path: str) -> None:
    page = api.http.get(path).get_data(as_text=True)
    for address in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert address.startswith("/")
        assert not address.startswith("//")
        with api.http.get(address) as asset:
            assert asset.status_code == 200
    assert not re.search(r"<script(?![^>]*\ssrc=)", page), "inline scripts are refused by the policy"
