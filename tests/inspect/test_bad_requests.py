"""Whatever is sent to any route, by anybody: an answer, never an internal error."""

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

schemathesis = pytest.importorskip(
    "schemathesis", reason="the fuzzing of the API needs the package schemathesis"
)

BIG_ID = 39627945488154697
# Leaving is tried by test_authorization; here it would end every other request.
NOT_HERE = {("post", "/logout")}


def _operations(app):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schema = schemathesis.openapi.from_dict(app.openapi())
        for result in schema.get_all_operations():
            operation = result.ok()
            if (operation.method.lower(), operation.path) not in NOT_HERE:
                yield operation


def _send(person, case):
    sent = case.as_transport_kwargs(base_url="http://testserver")
    sent["headers"] = {**dict(sent.get("headers") or {}), "X-CSRF-Token": person.csrf}
    sent.pop("cookies", None)  # ours
    return person.http.request(**sent)


EVERYBODY = [None, "ada", "max", "root"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [("ada", "positive"), ("ada", "negative"), ("max", "positive"), ("root", "negative")],
)
def test_no_request_breaks_the_server(campaign, client, name, mode):
    _try_everything(campaign, client, name, mode, examples=2)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("name", EVERYBODY)
def test_many_requests_do_not_break_the_server(campaign, client, name, mode):
    _try_everything(campaign, client, name, mode, examples=25)


def _try_everything(campaign, client, name, mode, *, examples):
    person = client(name)
    real = {"target_id": str(BIG_ID), "user_id": "1"}
    tried = []
    for operation in _operations(campaign):

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
        def sends(case):
            # Invented paths first; then the same on an object and a person that exist.
            for parameters in (case.path_parameters, {**(case.path_parameters or {}), **real}):
                wanted = {k: v for k, v in (parameters or {}).items() if k in case.path}
                case.path_parameters = wanted
                answer = _send(person, case)
                tried.append(answer.status_code)
                assert answer.status_code < 500, answer.text

        try:
            sends()
        except Unsatisfiable:  # a route that takes nothing cannot be sent anything wrong
            continue
    assert len(tried) > 50
    if mode == "positive" and name is not None:
        assert 200 in tried
