"use strict";

// The token stands behind "#", which browsers keep to themselves; only the button sends it.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const say = document.getElementById("say");
const button = document.getElementById("confirm");
const asked = document.getElementById("asked");
const password = document.getElementById("password");

// What each refusal means to a person; the answer itself speaks to programs.
const WORDS = {
  link_unusable: "This link was used already, or is too old. If you cannot log in, sign up again.",
  password_needed: "This address was given more than once. Type the password that you chose, so that it is yours that counts.",
};

if (!token) {
  say.textContent = "This link is not complete. Open it again from the mail.";
  button.hidden = true;
}

button.addEventListener("click", async () => {
  button.disabled = true;
  try {
    const answer = await fetch("/api/v1/auth/email/verify", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(asked.hidden ? { token } : { token, password: password.value }),
    });
    const body = await answer.json();
    say.textContent = answer.ok ? body.message : WORDS[body.code] ?? `${body.title}.`;
    asked.hidden = body.code !== "password_needed";
    button.hidden = answer.ok || body.code === "link_unusable";
    if (button.hidden) {
      history.replaceState(null, "", location.pathname);
    }
  } catch {
    say.textContent = "Coffer cannot be reached. Try again in a moment.";
  }
  button.disabled = false;
});
