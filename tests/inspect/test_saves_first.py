"""Saves come through while spectra are read and others save."""

import asyncio
import threading

import pytest

from quasarloop.inspect.spectra_files import SpectrumCache

httpx = pytest.importorskip("httpx", reason="requests at once need the package httpx")

BIG_ID = 39627945488154697
PATH = f"/api/objects/{BIG_ID}"
MANY = 60  # more than there are threads for requests
PATIENCE_S = 60


def test_a_save_does_not_wait_for_the_spectra_of_others(campaign, client, monkeypatch):
    read = threading.Event()

    def slow(*_place):
        assert read.wait(PATIENCE_S)
        return b"{}"

    monkeypatch.setattr(SpectrumCache, "json_of", slow)
    ada = client("ada")
    headers = {"X-CSRF-Token": ada.csrf}
    verdict = {"spectype": "QSO", "z": 2.5, "quality": 4}
    save = {"verdict": verdict, "base_version": 0, "save_id": "save-0001"}

    async def story():
        inner = httpx.ASGITransport(campaign)
        cookies = dict(ada.http.cookies)
        async with httpx.AsyncClient(transport=inner, base_url="http://testserver") as http:
            http.cookies.update(cookies)
            asked = [asyncio.create_task(http.get(f"{PATH}/spectrum")) for _ in range(MANY)]
            await asyncio.sleep(0.2)
            put = http.put(f"{PATH}/label", json=save, headers=headers)
            try:
                saved = await asyncio.wait_for(put, PATIENCE_S / 2)
            finally:
                read.set()
            return saved, await asyncio.gather(*asked)

    saved, spectra = asyncio.run(story())
    assert saved.status_code == 200
    assert {answer.status_code for answer in spectra} == {200}


def test_writers_of_one_server_wait_for_their_turn_and_not_inside_sqlite(database):
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL has many writers")
    order = []

    def write(number):
        with database.write() as session:
            session.connection()
            order.append(number)

    with database.write() as session:
        session.connection()
        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        threads[0].join(0.2)
        assert order == []
        assert database.engine.pool.checkedout() == 1, "the others have not begun"
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(order) == [0, 1, 2]
