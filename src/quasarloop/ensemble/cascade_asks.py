"""Questions of a cascade: which members are asked about which rows, and what they said.

Answers are kept on disk, step by step and chunk by chunk of the store, until the votes are
written: a cascade that was killed goes on with the answers it has.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import check_folder, write_atomically
from quasarloop.engine import Session
from quasarloop.ensemble.pieces import PIECE_ROWS, Piece
from quasarloop.ensemble.vote import Voters, apply_members
from quasarloop.ensemble.votes import MemberFinds
from quasarloop.spectra import RebinnedSpectra, concatenate
from quasarloop.store import read_shard

__all__ = ["CHUNK_ROWS", "Answer", "Answers", "Question", "answer"]

# Rows whose answers stand in one file of every step. Source: our choice.
CHUNK_ROWS: Final = 4096
# Chunks whose answers stay in memory: 10 MB each for 200 members. Source: our choice.
_KNOWN_CHUNKS: Final = 16
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """Members ``first`` to ``stop`` are asked about some rows of some chunks.

    Attributes:
        rows: chunk and row numbers in it, one pair per chunk.
        first, stop: members.
    """

    rows: tuple[tuple[Piece, Rows], ...]
    first: int
    stop: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(len(rows) for _, rows in self.rows)

    def name(self) -> str:
        """Return which rows, for messages."""
        return f"{self.rows[0][0].name()}, members {self.first} to {self.stop - 1}"


@dataclass(frozen=True)
class Answer:
    """What members said of some rows of one chunk."""

    chunk: int
    rows: Rows
    finds: MemberFinds


@dataclass
class Answers:
    """The answers of one cascade, on disk.

    Attributes:
        folder: where they stand.
        chunks: of the store.
        n_networks: members there are.
        n_lines: lines of every member.
        session: workers that have the members and run `answer`.
        on_step: called with a step's name, questions answered and questions in all
            (one question: one member, one spectrum).
    """

    folder: Path
    chunks: Sequence[Piece]
    n_networks: int
    n_lines: int
    session: Session[Question, list[Answer]]
    on_step: Callable[[str, int, int], None]
    n_steps: int = 0
    _known: dict[int, "_Known"] = field(default_factory=dict)

    @property
    def chunk_sizes(self) -> list[int]:
        """Rows of every chunk."""
        return [len(chunk) for chunk in self.chunks]

    def ask(self, name: str, rows: dict[int, Rows], first: int, stop: int) -> int:
        """Ask about rows of chunks, unless the answers are there; return the questions asked.

        Args:
            name: of the step, for the progress bar.
            rows: chunk number -> rows in it, increasing.
            first: first member.
            stop: one past the last.
        """
        step = check_folder(self.folder / f"{self.n_steps:03d}")
        self.n_steps += 1
        wanted = {chunk: chosen for chunk, chosen in rows.items() if len(chosen)}
        total = sum(map(len, wanted.values())) * (stop - first)
        questions = list(_cut_questions(self.chunks, wanted, first, stop)) if stop > first else []
        todo = [q for q in questions if not all(_file(step, c.number).exists() for c, _ in q.rows)]
        left = sum(map(len, todo)) * (stop - first)
        collector = _Collector(step, wanted)
        self.on_step(name, total - left, total)

        def take(question: Question, answers: list[Answer]) -> None:
            nonlocal left
            left -= len(question) * (stop - first)
            collector.take(question, answers)
            self.on_step(name, total - left, total)

        self.session.run(todo, name_of=Question.name, on_result=take, keep=False).complete()
        return total

    def finds(self, chunk: int) -> MemberFinds:
        """Return all answers on one chunk so far; NaN where a member was not asked."""
        known = self._known.pop(chunk, None) or _Known.nothing(
            self.n_networks, len(self.chunks[chunk]), self.n_lines
        )
        while len(self._known) >= _KNOWN_CHUNKS:
            self._known.pop(next(iter(self._known)))  # the one not asked for longest
        self._known[chunk] = known
        for step in range(known.n_steps, self.n_steps):
            path = _file(self.folder / f"{step:03d}", chunk)
            if path.exists():
                known.add(path)
        known.n_steps = self.n_steps
        return known.finds()


@dataclass
class _Known:
    """All answers on one chunk, read once each."""

    confidence: NDArray[np.float32]  # (n_networks, n)
    z_best: NDArray[np.float64]
    line_sum: NDArray[np.float64]  # (n, n_lines)
    n_asked: NDArray[np.float64]  # (n,)
    n_steps: int = 0

    @classmethod
    def nothing(cls, n_networks: int, n: int, n_lines: int) -> "_Known":
        return cls(
            np.full((n_networks, n), np.nan, dtype=np.float32),
            np.full((n_networks, n), np.nan),
            np.zeros((n, n_lines)),
            np.zeros(n),
        )

    def add(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as stored:
            rows, members = stored["rows"], slice(*stored["members"].tolist())
            self.confidence[members, rows] = stored["confidence"]
            self.z_best[members, rows] = stored["z_best"]
            # NaN of unusable rows stays NaN.
            self.line_sum[rows] += stored["line_mean"] * (members.stop - members.start)
            self.n_asked[rows] += members.stop - members.start

    def finds(self) -> MemberFinds:
        return MemberFinds(self.confidence, self.z_best, self.line_sum / self.n_asked[:, None])


def answer(question: Question, voters: Voters) -> list[Answer]:
    """Ask members about rows: the task of a worker."""
    spectra = concatenate([_read_rows(chunk, rows) for chunk, rows in question.rows])
    members = voters.members[question.first : question.stop]
    finds = apply_members(spectra, members, voters.rule)
    answers, start = [], 0
    for chunk, rows in question.rows:
        part = slice(start, start + len(rows))
        start = part.stop
        answers.append(Answer(chunk.number, rows, finds.rows(part)))
    return answers


@dataclass
class _Collector:
    """Puts the answers on one chunk together and writes them once they are all there."""

    step: Path
    wanted: dict[int, Rows]
    waiting: dict[int, list[Answer]] = field(default_factory=dict)

    def take(self, question: Question, answers: list[Answer]) -> None:
        for answer in answers:
            if _file(self.step, answer.chunk).exists():
                continue  # another chunk of the question was missing, not this one
            parts = self.waiting.setdefault(answer.chunk, [])
            parts.append(answer)
            if sum(len(part.rows) for part in parts) == len(self.wanted[answer.chunk]):
                parts.sort(key=lambda part: int(part.rows[0]))
                _write(_file(self.step, answer.chunk), parts, question.first, question.stop)
                del self.waiting[answer.chunk]


def _write(path: Path, parts: Sequence[Answer], first: int, stop: int) -> None:
    with write_atomically(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            allow_pickle=False,
            rows=np.concatenate([part.rows for part in parts]),
            members=np.array([first, stop]),
            confidence=np.concatenate([part.finds.confidence for part in parts], axis=1),
            z_best=np.concatenate([part.finds.z_best for part in parts], axis=1),
            line_mean=np.concatenate([part.finds.line_mean for part in parts]),
        )


def _file(step: Path, chunk: int) -> Path:
    return step / f"{chunk:06d}.npz"


def _cut_questions(
    chunks: Sequence[Piece], wanted: dict[int, Rows], first: int, stop: int
) -> Iterator[Question]:
    """Cut rows into questions of at most `PIECE_ROWS`, short remainders put together."""
    group: list[tuple[Piece, Rows]] = []
    filled = 0
    for chunk, rows in wanted.items():
        for start in range(0, len(rows), PIECE_ROWS):
            part = rows[start : start + PIECE_ROWS]
            if filled + len(part) > PIECE_ROWS:
                yield Question(tuple(group), first, stop)
                group, filled = [], 0
            group.append((chunks[chunk], part))
            filled += len(part)
    if group:
        yield Question(tuple(group), first, stop)


def _read_rows(chunk: Piece, rows: Rows) -> RebinnedSpectra:
    found, start = [], 0
    for part in chunk.parts:
        stop = start + part.stop - part.first
        inside = rows[(rows >= start) & (rows < stop)] - start + part.first
        if len(inside):
            found.append(read_shard(part.path, rows=inside, with_ivar=False))
        start = stop
    return concatenate(found)
