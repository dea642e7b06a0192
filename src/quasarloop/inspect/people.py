"""People of a campaign: invitations, passwords, sessions, limits on failed logins."""

import hashlib
import ipaddress
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import combinations
from typing import Final

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy.orm import Session

from quasarloop.errors import InspectionError
from quasarloop.inspect import ADDRESS
from quasarloop.inspect.database import now, utc_after
from quasarloop.inspect.tables import Attempt, Event, Invite, Login, Setting, User

__all__ = [
    "ROLES",
    "ROLE_SETS",
    "Person",
    "end_login",
    "invite",
    "join",
    "link",
    "log_in",
    "login_wait_s",
    "open_invite",
    "open_invites",
    "person_called",
    "person_named",
    "person_of_login",
    "reset_password",
    "revoke",
    "set_active",
    "set_role",
]

ROLES: Final = ("inspector", "merger", "admin")
# What somebody may be: one role, or several with commas between.
ROLE_SETS: Final = tuple(",".join(part) for n in (1, 2, 3) for part in combinations(ROLES, n))
INVITE_DAYS: Final = 7
LOGIN_DAYS: Final = 14
MIN_PASSWORD: Final = 10
MAX_PASSWORD: Final = 200
# Failed logins without a pause: of one name from one address, and of all names from one address
# (a shared one). Each further one doubles the pause. No name is ever closed from everywhere.
ATTEMPT_WINDOW_S: Final = 3600
FREE_ATTEMPTS_NAME: Final = 4
FREE_ATTEMPTS_ADDRESS: Final = 30
MAX_WAIT_S: Final = 60.0
# The name goes into a file name and prospect's VI_scanner column.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
# Argon2id with 19 MiB, two passes, one lane: OWASP's password-storage minimum, so that fifty
# people logging in at once do not exhaust a small server.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)

# Made once: every request has it.
_OF_LOGIN: Final = (
    sa.select(User.id, User.name, User.role)
    .join(Login, Login.user_id == User.id)
    .where(Login.key_hash == sa.bindparam("key_hash"), Login.ended.is_(None))
    .where(Login.expires > sa.bindparam("now"), User.active.is_(True))
)


@dataclass(frozen=True)
class Person:
    """A person logged in; `role` is one of `ROLE_SETS`."""

    id: int
    name: str
    role: str

    @property
    def roles(self) -> tuple[str, ...]:
        """Their roles, one by one."""
        return tuple(self.role.split(","))


def invite(session: Session, name: str, role: str) -> str:
    """Make a one-time invitation and return its token, which is kept nowhere.

    Raises:
        InspectionError: a bad name or role, or somebody with that name is here already.
    """
    _check_name(name)
    _check_role(role)
    existing = _user_called(session, name)
    if existing is not None and existing.password_hash is not None:
        raise InspectionError(f"{existing.name} has joined already; choose another name")
    return _new_link(session, name, role)


def reset_password(session: Session, user_id: int) -> str:
    """Return the token of a one-time link to a new password; earlier such links end.

    Raises:
        InspectionError: no such person, or one that never joined.
    """
    user = _user(session, user_id)
    if user.password_hash is None:
        raise InspectionError(f"{user.name} has not joined yet; make an invitation")
    earlier = sa.update(Invite).where(Invite.resets == user_id, Invite.used.is_(None))
    session.execute(earlier.values(expires=now()))
    return _new_link(session, user.name, user.role, resets=user_id)


def _new_link(session: Session, name: str, role: str, *, resets: int | None = None) -> str:
    token = secrets.token_urlsafe(24)
    session.add(
        Invite(
            token_hash=_hash(token),
            role=role,
            name=name,
            created=now(),
            expires=utc_after(days=INVITE_DAYS),
            resets=resets,
        )
    )
    kind = "invite" if resets is None else "reset"
    session.add(Event(at=now(), user_id=resets, kind=kind, detail=f"{name} as {role}"))
    return token


def open_invite(session: Session, token: str) -> Invite | None:
    """Return the invitation of a token, None if unknown, used or expired."""
    found = session.scalar(
        sa.select(Invite).where(Invite.token_hash == _hash(token)).with_for_update()
    )
    valid = found is not None and found.used is None and found.expires > now()
    return found if valid else None


def open_invites(session: Session) -> list[Invite]:
    """Return the links that are neither used nor expired, the newest first."""
    valid = sa.select(Invite).where(Invite.used.is_(None), Invite.expires > now())
    return list(session.scalars(valid.order_by(Invite.id.desc())))


def revoke(session: Session, invite_id: int) -> None:
    """Let a link expire now; one that is used or expired stays as it is.

    Raises:
        InspectionError: no such link.
    """
    found = session.get(Invite, invite_id)
    if found is None:
        raise InspectionError(f"no invitation with number {invite_id}")
    found.expires = min(found.expires, now())
    session.add(Event(at=now(), kind="revoke", detail=found.name))


def join(session: Session, token: str, password: str) -> Person:
    """Accept an invitation or choose a new password, which ends all sessions; the link is spent.

    Raises:
        InspectionError: the link is spent, expired or unknown, or the password too short or long.
    """
    found = open_invite(session, token)
    if found is None:
        raise InspectionError(
            "this link was used, has expired or never existed; an admin can make a new one"
        )
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InspectionError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    if found.resets is None:
        user = _user_called(session, found.name)
    else:
        user = _user(session, found.resets)
        _end_logins(session, user.id)
    if user is None:
        user = User(name=found.name, role=found.role, created=now(), active=True)
        session.add(user)
    elif user.password_hash is not None and found.resets is None:
        raise InspectionError(f"{found.name} has joined already; log in instead")
    if found.resets is None:
        user.role, user.active = found.role, True
    user.password_hash = _HASHER.hash(_bytes(password))
    found.used = now()
    session.flush()
    kind = "join" if found.resets is None else "new password"
    session.add(Event(at=now(), user_id=user.id, kind=kind, detail=user.role))
    return Person(user.id, user.name, user.role)


def person_named(session: Session, name: str, *, role: str) -> int:
    """Return the id of that person, made without a password if unknown (an imported scanner).

    Raises:
        InspectionError: a name that cannot be one.
    """
    user = session.scalar(sa.select(User).where(User.name == name))
    if user is None:
        if not name.strip():
            raise InspectionError("a label without a scanner's name; fill VI_scanner")
        user = User(name=name, role=role, created=now(), active=False)
        session.add(user)
        session.flush()
    return user.id


def person_called(session: Session, name: str) -> int:
    """Return the id of a person of the campaign.

    Raises:
        InspectionError: nobody of that name.
    """
    found = session.scalar(sa.select(User.id).where(User.name == name))
    if found is None:
        raise InspectionError(f"nobody here is called {name}")
    return found


def login_wait_s(session: Session, name: str, address: str) -> float:
    """Return the seconds until this name may log in from this address; 0 for at once."""
    recent = sa.select(Attempt.at).where(
        Attempt.address == _network(address), Attempt.at > utc_after(seconds=-ATTEMPT_WINDOW_S)
    )
    of_name = recent.where(Attempt.name == _storable(name))
    waits = [0.0]
    for query, free in ((of_name, FREE_ATTEMPTS_NAME), (recent, FREE_ATTEMPTS_ADDRESS)):
        times = list(session.scalars(query.order_by(Attempt.at)))
        if len(times) > free:
            past_s = (datetime.now(UTC) - datetime.fromisoformat(times[-1])).total_seconds()
            # A larger power than this is beyond the largest wait anyhow.
            waits.append(min(2.0 ** min(len(times) - free, 30), MAX_WAIT_S) - past_s)
    return max(waits)


def link(session: Session, token: str, address: str | None = None) -> str:
    """Return the address at which somebody accepts an invitation.

    It begins as the server was given it, not as a request names it: that may be anybody's.
    """
    stored = session.get(Setting, "address")
    begin = address or (ADDRESS if stored is None else stored.value)
    return f"{begin.rstrip('/')}/join/{token}"


def log_in(session: Session, name: str, password: str, address: str) -> str | None:
    """Check a password and return the key of a new session; None (and a mark) if wrong."""
    user = _user_called(session, name) if _NAME.fullmatch(name) else None
    stored = user.password_hash if user is not None and user.active else None
    # An unknown name takes as long as a wrong password.
    correct = _verify(stored or _dummy_hash(), password) and stored is not None
    if user is None or not correct:
        session.execute(sa.delete(Attempt).where(Attempt.at < utc_after(seconds=-ATTEMPT_WINDOW_S)))
        session.add(Attempt(name=_storable(name), address=_network(address), at=now()))
        return None
    mine = (Attempt.name == _storable(name), Attempt.address == _network(address))
    session.execute(sa.delete(Attempt).where(*mine))
    key = secrets.token_urlsafe(32)
    expires = utc_after(days=LOGIN_DAYS)
    session.add(Login(key_hash=_hash(key), user_id=user.id, created=now(), expires=expires))
    return key


def person_of_login(session: Session, key: str) -> Person | None:
    """Return the person of a session key, None if it ended or they may no longer log in."""
    found = session.execute(_OF_LOGIN, {"key_hash": _hash(key), "now": now()}).first()
    return None if found is None else Person(found.id, found.name, found.role)


def end_login(session: Session, key: str) -> None:
    """End a session for good."""
    session.execute(sa.update(Login).where(Login.key_hash == _hash(key)).values(ended=now()))


def set_active(session: Session, user_id: int, *, active: bool) -> User:
    """Let somebody in again, or end all their sessions and keep them out.

    Raises:
        InspectionError: no such person.
    """
    user = _user(session, user_id)
    user.active = active
    if not active:
        _end_logins(session, user_id)
    session.add(Event(at=now(), user_id=user_id, kind="active" if active else "left", detail=""))
    return user


def set_role(session: Session, user_id: int, role: str) -> User:
    """Give somebody another role, also in their open sessions; what they labelled stays theirs.

    Raises:
        InspectionError: no such person or role.
    """
    _check_role(role)
    user = _user(session, user_id)
    session.add(Event(at=now(), user_id=user_id, kind="role", detail=f"{user.role} to {role}"))
    user.role = role
    return user


def _user(session: Session, user_id: int) -> User:
    user = session.get(User, user_id)
    if user is None:
        raise InspectionError(f"no person with number {user_id}")
    return user


def _user_called(session: Session, name: str) -> User | None:
    """The person of a name in any case; of several in an older database the one spelled so."""
    same = sa.select(User).where(sa.func.lower(User.name) == name.lower())
    return session.scalar(same.order_by(User.name != name, User.id).limit(1))


def _end_logins(session: Session, user_id: int) -> None:
    open_logins = sa.update(Login).where(Login.user_id == user_id, Login.ended.is_(None))
    session.execute(open_logins.values(ended=now()))


def _check_role(role: str) -> None:
    if role not in ROLE_SETS:
        raise InspectionError(
            f"role is {role!r}; expected {', '.join(ROLES)}, or several in this order with commas"
        )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InspectionError(
            f"name is {name!r}; expected up to 32 letters, digits, dots, dashes or underscores"
        )


def _verify(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, _bytes(password[:MAX_PASSWORD]))
    except VerificationError:
        return False


def _storable(name: str) -> str:
    """A name as any database can hold it: no control characters or lone surrogates."""
    return name.lower() if _NAME.fullmatch(name) else "(not a name)"


def _network(address: str) -> str:
    """An address; of the sixth version its /64, which one machine has to itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    return str(ipaddress.ip_network((found, 64), strict=False))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@cache
def _dummy_hash() -> str:
    return _HASHER.hash(secrets.token_urlsafe(16))


def _hash(token: str) -> str:
    # Tokens are random and long: a plain hash is enough, argon2 is for passwords.
    return hashlib.sha256(_bytes(token)).hexdigest()
