"""`make demo`: a person's journey through the running stack, over HTTP and the mailbox and nothing else."""

import os
import secrets
import sys
import time
from typing import Any

import httpx

ADDRESS = os.environ.get("COFFER_URL", f"http://127.0.0.1:{os.environ.get('PORT', '8000')}")
MAIL_SECONDS = 30
LONG_PASSWORD = "🔑 ключ от сундука 金庫 " * 4


class Surprise(Exception):
    """An answer that is not the expected one."""


class Tour:
    """Plays the steps in order, and prints what came back."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        # Every run signs up new people, so that the demo can be repeated.
        self._run = secrets.token_hex(3)
        self._step = 0

    def play(self) -> None:
        """The whole journey."""
        zoe = f"zoe.{self._run}@exämple.example"
        long = f"long.{self._run}@example.org"
        short = "correct horse battery staple"
        long_password = LONG_PASSWORD[:64]

        self.say("Three people sign up; each hears the same")
        answers = [
            self.register(zoe, short, first_name="Zoë", last_name="Müller-Østergård", timezone="Europe/Berlin"),
            self.register(long, long_password, first_name="Long"),
        ]
        link = self.mail(zoe, "Confirm your e-mail address")["links"][0]
        self.show(f"the mail to {zoe} has the link {link[:60]}…")
        self.verify(link)
        answers.append(self.register(zoe.upper(), "somebody else was here"))
        if len({answer.text for answer in answers}) != 1:
            raise Surprise("the answers differ")
        self.mail(zoe, "You already have an account")
        self.show("the owner of the taken address was told by mail, and nobody else")

        self.say("The link works once")
        self.verify(link, expect=422)
        self.say("Nobody logs in before the address is verified")
        self.call("POST", "/auth/login", 401, {"email": long, "password": long_password})
        self.verify(self.mail(long, "Confirm your e-mail address")["links"][0])
        self.say("All 64 characters of a password count")
        self.call("POST", "/auth/login", 401, {"email": long, "password": long_password[:-1]})
        self.call("POST", "/auth/login", 200, {"email": long, "password": long_password})

        self.say("Zoë logs in and refreshes")
        first = self.call("POST", "/auth/login", 200, {"email": zoe, "password": short}).json()
        second = self.call("POST", "/auth/refresh", 200, {"refresh_token": first["refresh_token"]}).json()
        self.say("She changes her profile; who read an older version is told so")
        profile = self.call("GET", "/profile", 200, token=second["access_token"])
        etag = {"If-Match": profile.headers["ETag"]}
        changes = {"first_name": "Zoé", "language": "fr", "timezone": "Europe/Paris"}
        self.call("PATCH", "/profile", 200, changes, token=second["access_token"], headers=etag)
        self.call("PATCH", "/profile", 412, {"first_name": "Zoe"}, token=second["access_token"], headers=etag)
        self.say("She logs out, and her tokens are dead")
        self.call("POST", "/auth/logout", 204, token=second["access_token"])
        self.call("GET", "/profile", 401, token=second["access_token"])
        self.call("POST", "/auth/refresh", 401, {"refresh_token": second["refresh_token"]})

        self.say("A spent refresh token that comes back later ends the session")
        third = self.call("POST", "/auth/login", 200, {"email": zoe, "password": short}).json()
        fourth = self.call("POST", "/auth/refresh", 200, {"refresh_token": third["refresh_token"]}).json()
        self.show("waiting for the 10 seconds in which a lost answer may be asked for again …")
        time.sleep(11)
        self.call("POST", "/auth/refresh", 401, {"refresh_token": third["refresh_token"]})
        self.call("GET", "/profile", 401, token=fourth["access_token"])
        self.mail(zoe, "We ended one of your sessions")
        self.show("and she was told by mail")

    def register(self, email: str, password: str, **profile: str) -> httpx.Response:
        """Sign up."""
        form = {"email": email, "password": password, "password_confirm": password, "accept_terms": True, **profile}
        return self.call("POST", "/auth/register", 202, form)

    def verify(self, link: str, *, expect: int = 200) -> None:
        """Follow a mailed link, and press its button."""
        page, _, fragment = link.partition("#token=")
        if self._http.get(page).status_code != httpx.codes.OK:
            raise Surprise(f"the page {page} is not there")
        self.call("POST", "/auth/email/verify", expect, {"token": fragment})

    def mail(self, to: str, subject: str) -> dict[str, Any]:
        """Wait for a mail."""
        deadline = time.monotonic() + MAIL_SECONDS
        while time.monotonic() < deadline:
            shown = self._http.get("/dev/mailbox", params={"to": to}, headers={"Accept": "application/json"})
            for one in shown.json()["items"]:
                if one["subject"] == subject:
                    found: dict[str, Any] = one
                    return found
            time.sleep(0.1)
        raise Surprise(f"no mail “{subject}” came to {to} within {MAIL_SECONDS} seconds")

    def call(
        self,
        method: str,
        path: str,
        expect: int,
        body: dict[str, Any] | None = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request, and see that the answer has this status."""
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        answer = self._http.request(method, f"/api/v1{path}", json=body, headers=bearer | (headers or {}))
        note = answer.json().get("code") or answer.json().get("message") or "" if answer.content else ""
        self.show(f"{method} {path} → {answer.status_code} {note}".rstrip())
        if answer.status_code != expect:
            raise Surprise(f"expected {expect}: {answer.text}")
        return answer

    def say(self, what: str) -> None:
        """Announce a step."""
        self._step += 1
        print(f"\n{self._step}. {what}")

    def show(self, what: str) -> None:
        """Print a line of a step."""
        print(f"   {what}", flush=True)


def main() -> None:
    """Play against the address in COFFER_URL, or what `make run` serves."""
    try:
        with httpx.Client(base_url=ADDRESS, timeout=10) as http:
            Tour(http).play()
    except httpx.TransportError as error:
        sys.exit(
            f"Nothing answers at {ADDRESS} ({error}). Start it with `make run` in another shell; "
            "if it has another port, name that: PORT=8001 make demo."
        )
    except Surprise as surprise:
        sys.exit(f"\nThe demo stopped: {surprise}")
    print("\nAll as expected.")


if __name__ == "__main__":
    main()
