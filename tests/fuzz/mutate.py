"""Damage to files: of bytes, of text, and of what a format holds. A seed gives the same damage."""

import gzip
import io
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Rng = np.random.Generator
# Values that files of people and of broken programs hold.
ODD = (
    "", " ", "nan", "NaN", "inf", "-inf", "-1", "0", "1e400", "1e30", "-1e30",
    "9223372036854775807", "9223372036854775808", "1" * 40, "0x10", "1.5", "true", "None", "null",
    "[]", "{}", "[bold]",
    "[/x]", "é", "\ufeff", "\x00", "'", '"', "QSO", "GALAXY", "2.5", "12,5", "a" * 3000, "# no",
)  # fmt: skip
ODD_JSON = (
    None, [], {}, "", "x[/y]", 0, -1, 1.5, 10**30, True, [None], {"a": None}, [[1]], "nan",
)  # fmt: skip
ODD_NUMBERS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e10, 1e30, 3e38, -1e20, 1e-30)


def pick(rng: Rng, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


# --- bytes: any file ---------------------------------------------------------------------------


def flip(raw: bytes, rng: Rng, n: int) -> bytes:
    out = bytearray(raw)
    for place in rng.integers(len(out), size=n).tolist() if out else ():
        out[place] ^= 1 << int(rng.integers(8))
    return bytes(out)


def some_bytes(raw: bytes, rng: Rng) -> bytes:
    """Bits flipped, a piece lost, zeroed, moved or put in twice."""
    a, b = sorted(rng.integers(len(raw) + 1, size=2).tolist())
    b = min(b, a + int(10 ** rng.uniform(0, 4)))
    ways: dict[str, Callable[[], bytes]] = {
        "one": lambda: flip(raw, rng, 1),
        "few": lambda: flip(raw, rng, 4),
        "many": lambda: flip(raw, rng, 60),
        "cut": lambda: raw[:a],
        "lost": lambda: raw[:a] + raw[b:],
        "zeros": lambda: raw[:a] + bytes(b - a) + raw[b:],
        "noise": lambda: raw[:a] + rng.bytes(b - a) + raw[b:],
        "twice": lambda: raw[:b] + raw[a:],
        "junk": lambda: raw + rng.bytes(100),
        "empty": lambda: b"",
    }
    return ways[pick(rng, list(ways))]()


# --- text: CSV, ECSV, JSON, TOML ---------------------------------------------------------------


def some_csv(raw: bytes, rng: Rng) -> bytes:
    lines = raw.decode().splitlines()
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    table = [line.split(",") for line in lines[first:]]
    row, column = int(rng.integers(1, len(table))), int(rng.integers(len(table[0])))
    name = table[0][column]

    def put(value: str, where: list[list[str]]) -> None:
        for cells in where:
            cells[column] = value

    ways: dict[str, Callable[[], Any]] = {
        "cell": lambda: put(pick(rng, ODD), [table[row]]),
        "column": lambda: put(pick(rng, ODD), table[1:]),
        "id": lambda: table[row].__setitem__(0, pick(rng, ODD)),
        "drop": lambda: [cells.pop(column) for cells in table],
        "short": table[row].pop,
        "long": lambda: table[row].append("x"),
        "rename": lambda: put(pick(rng, (name.lower(), f'"{name}"', " " + name, "X")), table[:1]),
        "same name": lambda: put(table[0][0], table[:1]),
        "no rows": lambda: table.__delitem__(slice(1, None)),
        "no header": lambda: table.pop(0),
        "twice": lambda: table.append(table[row]),
    }  # fmt: skip
    way = pick(rng, [*ways, "bom", "cr", "crlf", "latin", "semicolons", "no end"])
    if way in ways:
        ways[way]()
    text = "\n".join([*lines[:first], *map(",".join, table)]) + "\n"
    ends = {"cr": text.replace("\n", "\r"), "crlf": text.replace("\n", "\r\n"),
            "bom": "\ufeff" + text, "semicolons": text.replace(",", ";"),
            "no end": text.rstrip("\n")}  # fmt: skip
    if way == "latin":
        return text.replace("a", "é", 3).encode("latin-1")
    return ends.get(way, text).encode("utf-8", "surrogatepass")


def some_json(raw: bytes, rng: Rng) -> bytes:
    """One value of a JSON file replaced, dropped or buried deep."""
    content = json.loads(raw)
    way = rng.random()
    if way < 0.08:
        return json.dumps(pick(rng, ODD_JSON)).encode()
    if way < 0.12:
        return b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    places = list(_places(content))
    holder, key = pick(rng, places)
    if rng.random() < 0.3 and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = pick(rng, ODD_JSON)
    return json.dumps(content, indent=1).encode()


def _places(value: Any) -> Any:
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(inside):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def some_toml(raw: bytes, rng: Rng) -> bytes:
    lines = raw.decode().splitlines()
    number = pick(rng, [i for i, line in enumerate(lines) if line and not line.startswith("#")])
    line = lines[number]
    if "=" in line and rng.random() < 0.7:
        odd = pick(rng, (*ODD[:20], '"x[/y]"', "[]", "{}", "-3", "1e9", "true", '[""]', "[nan]"))
        lines[number] = f"{line.split('=')[0]}= {odd}"
    else:
        lines[number] = pick(rng, ("", line + line, "[data]", "= 3", "x = 1", "[[", line[:-1]))
    return ("\n".join(lines) + "\n").encode()


# --- FITS --------------------------------------------------------------------------------------


def some_fits(raw: bytes, rng: Rng) -> bytes:
    """A header card changed, or numbers of the data."""
    return (_card if rng.random() < 0.5 else some_numbers)(raw, rng)


def _card(raw: bytes, rng: Rng) -> bytes:
    cards = [
        i for i in range(0, len(raw), 80) if re.match(rb"[A-Z0-9_-]{1,8} *= ", raw[i : i + 11])
    ]
    place = pick(rng, cards)
    key, value = raw[place : place + 8], raw[place + 10 : place + 80].split(b" /")[0].strip()
    number = pick(rng, (b"0", b"-1", b"1", b"7", b"99999999999", b"1.5", b"nan", b"T", b"''", b""))
    words = pick(
        rng, (b"'X'", b"'2E'", b"'8A'", b"'1PE(9)'", b"'D'", b"''", b"3", b"'K'", b"'[/x]'")
    )
    new = words if value.startswith(b"'") else number
    card = pick(rng, (key + b"= " + new, b"COMMENT gone", b"NOTHING = 3", key + b"  " + new))
    return raw[:place] + card.ljust(80)[:80] + raw[place + 80 :]


def some_numbers(raw: bytes, rng: Rng) -> bytes:
    """Between one and a thousand big-endian floats of the data made absurd, headers untouched."""
    data = [i for i in range(0, len(raw), 2880) if b"END     " not in raw[i : i + 2880]
            and not raw[i : i + 8].strip().isalnum()]  # fmt: skip
    out = bytearray(raw)
    block = pick(rng, data) if data else 0
    kind = pick(rng, (">f4", ">f8"))
    size = np.dtype(kind).itemsize
    odd = np.array(pick(rng, ODD_NUMBERS), kind).tobytes()
    for i in range(min(int(10 ** rng.uniform(0, 3)), (len(out) - block) // size)):
        out[block + i * size : block + (i + 1) * size] = odd
    return bytes(out)


def some_gzip(raw: bytes, rng: Rng) -> bytes:
    inside = (some_fits if rng.random() < 0.7 else some_bytes)(gzip.decompress(raw), rng)
    return gzip.compress(inside, compresslevel=1, mtime=0)


# --- Parquet, HDF5, npz, SQLite ----------------------------------------------------------------


def some_parquet(raw: bytes, rng: Rng) -> bytes:
    table = pq.read_table(io.BytesIO(raw))
    index = int(rng.integers(table.num_columns))
    name, column = table.column_names[index], table.column(index)
    way = pick(
        rng, ("drop", "null", "text", "float", "odd", "list", "rename", "rows", "meta", "none")
    )
    if way == "drop":
        table = table.drop_columns([name])
    elif way == "null":
        table = table.set_column(index, name, pa.nulls(len(table), column.type))
    elif way == "text":
        table = table.set_column(index, name, pa.array([pick(rng, ODD)] * len(table), pa.string()))
    elif way == "float":
        table = table.set_column(index, name, pa.array([pick(rng, ODD_NUMBERS)] * len(table)))
    elif way == "odd":
        table = table.set_column(index, name, _odd_values(column, rng))
    elif way == "list":
        table = table.set_column(index, name, pa.array([[1.0, 2.0]] * len(table)))
    elif way == "rename":
        table = table.rename_columns(
            [n if n != name else n.lower() + "X" for n in table.column_names]
        )
    elif way == "rows":
        table = table.slice(0, int(rng.integers(len(table))))
    elif way == "none":
        table = table.replace_schema_metadata(None)
    else:
        metadata = {
            key: some_json(value, rng) if value.startswith(b"{") else value
            for key, value in (table.schema.metadata or {}).items()
        }
        table = table.replace_schema_metadata(metadata)
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def _odd_values(column: pa.ChunkedArray, rng: Rng) -> pa.Array:
    """Values of the same type, one of them odd; of lists, numbers inside them."""
    whole = column.combine_chunks()
    if pa.types.is_fixed_size_list(whole.type):
        flat = whole.flatten().to_numpy(zero_copy_only=False).copy()
        flat[rng.integers(len(flat), size=pick(rng, (1, 10, 400)))] = pick(rng, ODD_NUMBERS)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), whole.type.list_size)
    values = whole.to_pylist()
    place = int(rng.integers(len(values)))
    if pa.types.is_floating(whole.type):
        values[place] = pick(rng, ODD_NUMBERS)
    elif pa.types.is_string(whole.type):
        values[place] = pick(rng, ODD)
    elif pa.types.is_integer(whole.type):
        values[place] = pick(rng, (0, 1, 100))
    return pa.array(values, whole.type)


def some_hdf5(raw: bytes, rng: Rng) -> bytes:
    stream = io.BytesIO(raw)
    with h5py.File(stream, "r+") as file:
        arrays: list[str] = []
        file.visititems(lambda n, o: arrays.append(n) if isinstance(o, h5py.Dataset) else None)
        holders = [file, *(file[n.rsplit("/", 1)[0]] for n in arrays if "/" in n)]
        if rng.random() < 0.5:
            holder = pick(rng, [h for h in holders if len(h.attrs)])
            _odd_attribute(holder.attrs, pick(rng, sorted(holder.attrs)), rng)
        else:
            _odd_dataset(file, pick(rng, arrays), rng)
    return stream.getvalue()


def _odd_attribute(attributes: Any, key: str, rng: Rng) -> None:
    value = attributes[key]
    way = pick(rng, ("gone", "json", "odd", "number"))
    if way == "gone":
        del attributes[key]
    elif way == "json" and isinstance(value, str | bytes) and value[:1] in ("{", b"{"):
        raw = value if isinstance(value, bytes) else value.encode()
        attributes[key] = some_json(raw, rng)[:60_000]
    elif way == "number":
        attributes[key] = float(pick(rng, ODD_NUMBERS))
    else:
        attributes[key] = pick(rng, ODD).replace("\x00", "")


def _odd_dataset(file: Any, name: str, rng: Rng) -> None:
    values = file[name][()]
    way = pick(rng, ("gone", "nan", "one", "shape", "text", "integers", "empty"))
    if way == "nan":
        file[name][...] = np.full_like(values, pick(rng, ODD_NUMBERS))
        return
    if way == "one":
        flat = np.asarray(values).reshape(-1).copy()
        flat[int(rng.integers(len(flat)))] = pick(rng, ODD_NUMBERS)
        file[name][...] = flat.reshape(np.shape(values))
        return
    del file[name]
    if way != "gone":
        new = {"shape": np.reshape(values, -1)[:-1], "text": np.bytes_(b"x"), "empty": np.empty(0)}
        file[name] = new.get(way, np.nan_to_num(values).astype(np.int32))


def some_npz(raw: bytes, rng: Rng) -> bytes:
    with np.load(io.BytesIO(raw)) as opened:
        arrays = dict(opened)
    name = pick(rng, sorted(arrays))
    value = arrays.pop(name)
    way = pick(rng, ("gone", "text", "shape", "odd", "json"))
    if way == "text":
        arrays[name] = np.array("x")
    elif way == "shape":
        arrays[name] = value.reshape(-1)[:-1]
    elif way == "odd" and value.dtype.kind == "f":
        arrays[name] = np.full_like(value, pick(rng, ODD_NUMBERS))
    elif way == "json" and value.tobytes()[:1] == b"{":
        arrays[name] = np.frombuffer(some_json(value.tobytes(), rng), np.uint8)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def some_sqlite(path: Path, rng: Rng) -> None:
    """Drop a table, or put odd values into a column; in place."""
    with sqlite3.connect(path) as opened:
        names = [
            row[0] for row in opened.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        name = pick(rng, sorted(names))
        for (trigger,) in opened.execute("SELECT name FROM sqlite_master WHERE type='trigger'"):
            opened.execute(f'DROP TRIGGER "{trigger}"')
        columns = [row[1] for row in opened.execute(f'PRAGMA table_info("{name}")')]
        column = pick(rng, columns)
        way = pick(rng, ("table", "value", "value", "column", "rows"))
        try:
            if way == "table":
                opened.execute(f'DROP TABLE "{name}"')
            elif way == "value":
                odd = pick(rng, (*ODD[:10], None, -1, 2**62, b"\xff\x00", '{"a":', "[]", "[bold]"))
                opened.execute(f'UPDATE OR IGNORE "{name}" SET "{column}" = ?', (odd,))
            elif way == "column":
                opened.execute(f'ALTER TABLE "{name}" RENAME COLUMN "{column}" TO other')
            else:
                opened.execute(f'DELETE FROM "{name}"')
        except sqlite3.Error:
            opened.execute(f'DELETE FROM "{name}"')
    opened.close()


_WAYS: dict[str, Callable[[bytes, Rng], bytes]] = {
    "csv": some_csv, "ecsv": some_csv, "json": some_json, "toml": some_toml, "fits": some_fits,
    "gz": some_gzip, "parquet": some_parquet, "h5": some_hdf5, "npz": some_npz,
}  # fmt: skip
_BYTES_SHARE = 0.35


def damage(path: Path, kind: str, rng: Rng) -> None:
    """Damage a file in place; links to it elsewhere keep the sound one."""
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw)
    if rng.random() < _BYTES_SHARE or (kind not in _WAYS and kind != "db"):
        path.write_bytes(some_bytes(raw, rng))
    elif kind == "db":
        some_sqlite(path, rng)
    else:
        path.write_bytes(_WAYS[kind](raw, rng))
