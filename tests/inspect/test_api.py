"""What the page asks and tells, as JSON."""

import base64

import numpy as np
import pytest

BIG_ID = 39627945488154697
PATH = f"/api/objects/{BIG_ID}"


def _save(base=0, save_id="save-0001", note="", seconds=0.0, **verdict):
    given = {"spectype": "QSO", "z": 2.5, "quality": 4, **verdict}
    return {
        "verdict": given,
        "base_version": base,
        "save_id": save_id,
        "note": note,
        "seconds": seconds,
    }


def test_target_ids_travel_as_text(client):
    ada = client("ada")
    rows = ada.get("/api/list").json()["objects"]
    assert [row["target_id"] for row in rows] == [str(BIG_ID + i) for i in range(3)]
    assert ada.get(PATH).json()["target_id"] == str(BIG_ID)
    assert ada.get(f"{PATH}/spectrum").json()["target_id"] == str(BIG_ID)


def test_a_label_is_stored_with_its_history(client):
    ada = client("ada")
    first = ada.put(f"{PATH}/label", _save(quality=None, seconds=2.0)).json()
    assert first["version"] == 1
    assert ada.get("/api/progress").json()["done"] == 0
    comment = "Lyα, broad"
    second = ada.put(f"{PATH}/label", _save(1, "save-0002", seconds=6.5, comment=comment)).json()
    assert second["version"] == 2
    assert second["verdict"]["comment"] == "Lyalpha; broad"
    third = ada.put(f"{PATH}/label", _save(2, "save-0003", note="undo", quality=None)).json()
    thing = ada.get(PATH).json()
    assert [h["version"] for h in thing["history"]] == [1, 2, 3]
    assert [h["note"] for h in thing["history"]] == ["", "", "undo"]
    assert thing["label"] == third
    assert thing["seconds"] == 6.5
    assert thing["state"] == "todo", "undone: to do again"


def test_a_save_sent_twice_and_a_stale_one(client):
    ada = client("ada")
    first = ada.put(f"{PATH}/label", _save())
    assert ada.put(f"{PATH}/label", _save()).json() == first.json()
    stale = ada.put(f"{PATH}/label", _save(0, "save-0002", quality=1))
    assert stale.status_code == 409
    assert stale.json()["version"] == 1
    assert stale.json()["verdict"]["quality"] == 4
    assert len(ada.get(PATH).json()["history"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": 5},
        {"quality": -1},
        {"quality": 2.5},
        {"z": 11},
        {"z": "two"},
        {"spectype": "AGN"},
        {"issues": "X"},
        {"comment": "x" * 401},
        {"more": 1},
    ],
)
def test_impossible_labels_are_refused(client, wrong):
    ada = client("ada")
    assert ada.put(f"{PATH}/label", _save(**wrong)).status_code == 422
    assert ada.get(PATH).json()["history"] == []


@pytest.mark.parametrize("target", ["x", "1e5", "99999999999999999999", "9223372036854775808", "٣"])
def test_things_that_are_no_target_are_refused(client, target):
    assert client("ada").get(f"/api/objects/{target}").status_code in (404, 422)


def test_the_spectrum_has_full_resolution(client):
    payload = client("ada").get(f"{PATH}/spectrum").json()
    arm = payload["arms"][0]
    wave = np.frombuffer(base64.b64decode(arm["wave"]), "<f4")
    assert len(wave) == arm["n"]
    assert wave[0] == 3600
    assert payload["notice"] == ""


def test_a_spectrum_that_is_missing_says_why_and_the_next_one_works(client):
    ada = client("ada")
    answer = ada.get(f"/api/objects/{BIG_ID + 2}/spectrum")
    assert answer.status_code == 404
    assert "gone.fits is missing" in answer.json()["detail"]
    assert ada.get(f"{PATH}/spectrum").status_code == 200
    assert ada.post(f"/api/objects/{BIG_ID + 2}/fit", {"z": 1.0}).status_code == 422


def test_fits_near_and_over_all(client):
    ada = client("ada")
    near = ada.post(f"{PATH}/fit", {"z": 2.49, "spectype": "QSO"}).json()["fits"]
    assert near[0]["z"] == pytest.approx(2.5, abs=2e-3)
    assert {fit["spectype"] for fit in near} == {"QSO"}
    found = ada.post(f"{PATH}/fit").json()
    best = found["fits"][0]
    assert (best["spectype"], best["delta_chi2"], best["at_edge"]) == ("QSO", 0, False)
    assert best["z"] == pytest.approx(2.5, abs=2e-3)
    assert 0 < best["z_err"] < 0.01
    assert len(found["fits"]) <= 3
    assert min(found["profile"]["delta_chi2"]) == 0


def test_the_reference_has_a_template_of_every_kind(client):
    sent = client("ada").get("/api/reference").json()
    assert set(sent["templates"]) == {"QSO", "GALAXY", "STAR"}
    assert all(sent["usual"][word] in kinds for word, kinds in sent["templates"].items())
    assert {"BAL", "reddened"} < set(sent["templates"]["QSO"])


@pytest.mark.parametrize(
    ("blind", "before", "asking"),
    [("open", "shown", 200), ("ask", "hidden", 200), ("verdict", "closed", 403)],
)
def test_what_the_machines_think_is_hidden_as_the_campaign_says(client, blind, before, asking):
    assert client("root").put("/api/settings", {"blind": blind}).status_code == 200
    ada = client("ada")
    assert ada.get(PATH).json()["machine"] == before
    assert "entropy" not in ada.get(PATH).text
    assert "entropy" not in ada.get("/api/list").text
    assert ada.post(f"{PATH}/machine").status_code == asking
    ada.put(f"{PATH}/label", _save())
    assert ada.get(PATH).json()["machine"] == "shown"
    assert ada.post(f"{PATH}/machine").json()["predictions"]["entropy"] == 1.5


def test_lists_and_filters(client):
    ada = client("ada")
    ada.put(f"{PATH}/label", _save(issues="R", quality=2))
    ada.put(f"/api/objects/{BIG_ID + 1}/skip", {"skipped": True})

    def listed(query):
        return [
            int(r["target_id"]) - BIG_ID for r in ada.get(f"/api/list?{query}").json()["objects"]
        ]

    assert listed("state=done") == [0]
    assert listed("state=skipped") == [1]
    assert listed("state=todo") == [2]
    assert listed("spectype=QSO") == [0]
    assert listed("spectype=STAR") == []
    assert listed("max_quality=1") == []
    assert listed("max_quality=2&issue=R") == [0]
    assert listed("issue=S") == []
    assert ada.get("/api/list?state=nonsense").status_code == 422


def test_merging_by_itself_and_by_the_merger(client):
    for number, name in enumerate(("ada", "bea", "cyd")):
        person = client(name)
        person.put(f"{PATH}/label", _save(save_id=f"a-{number:06}"))
        other = _save(save_id=f"b-{number:06}", spectype="STAR" if name == "cyd" else "QSO")
        person.put(f"/api/objects/{BIG_ID + 1}/label", other)
    merger = client("max")
    queue = merger.get("/api/merge").json()
    counts = {"open": 1, "merged": 1, "conflict": 1, "returned": 0, "decided": 0}
    assert queue["counts"] == counts
    (waiting,) = queue["objects"]
    assert waiting["target_id"] == str(BIG_ID + 1)
    assert waiting["disagree_in"] == ["class"]
    path = f"/api/merge/{waiting['target_id']}"
    sides = merger.get(path).json()
    assert [v["inspector"] for v in sides["verdicts"]] == ["ada", "bea", "cyd"]
    assert [v["verdict"]["spectype"] for v in sides["verdicts"]] == ["QSO", "QSO", "STAR"]
    incomplete = merger.put(path, _save(quality=None))
    assert incomplete.status_code == 422
    decided = merger.put(path, _save(save_id="decision-1", comment="Mg II", quality=3))
    assert decided.json()["version"] == 1
    stale = merger.put(path, _save(save_id="decision-2"))
    assert stale.status_code == 409
    after = merger.get(path).json()
    assert after["state"] == "decided"
    assert after["merged"]["comment"] == "Mg II"
    assert after["merged"]["quality"] == 3
    agreed = merger.get(f"/api/merge/{BIG_ID}").json()["merged"]
    assert (agreed["z"], agreed["quality"], agreed["n_inspections"]) == (2.5, 4, 3)
    nobody = merger.put(f"/api/merge/{BIG_ID + 2}", _save(save_id="decision-3"))
    assert nobody.status_code == 409
    statistics = merger.get("/api/statistics").json()
    assert statistics["n_objects"] == 2
    assert statistics["confusion"] == [[0, 0, 2], [0, 0, 0], [2, 0, 8]]
    assert len(statistics["pairs"]) == 3
    figure = merger.get("/api/statistics/figure.svg")
    assert figure.headers["content-type"].startswith("image/svg+xml")
    assert "<svg" in figure.text


def test_statistics_before_anybody_said_anything(client):
    merger = client("max")
    empty = merger.get("/api/statistics").json()
    assert (empty["alpha_class"], empty["n_objects"], empty["people"]) == (None, 0, [])
    assert merger.get("/api/statistics/figure.svg").status_code == 200


def test_settings_change_how_many_look_at_each_object(client):
    admin = client("root")
    assert admin.get("/api/people").json()["settings"]["per_object"] == "3"
    assert admin.put("/api/settings", {"per_object": "2"}).json()["per_object"] == "2"
    todo = [
        p["todo"] for p in admin.get("/api/people").json()["people"] if p["role"] == "inspector"
    ]
    assert sorted(todo) == [2, 2, 2]
    for bad in ("0", "2+", 2, "9+1"):
        assert admin.put("/api/settings", {"per_object": bad}).status_code == 422
    assert admin.put("/api/settings", {"title": "../x"}).status_code == 422
    assert admin.post("/api/invites", {"name": "a b", "role": "inspector"}).status_code == 422
    assert admin.post("/api/balance").json() == {"added": 0, "dropped": 0, "short": 0}
