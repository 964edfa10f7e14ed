"use strict";

// The token stands behind "#", which browsers keep to themselves; only the button sends it.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const say = document.getElementById("say");
const button = document.getElementById("confirm");

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
      body: JSON.stringify({ token }),
    });
    const body = await answer.json();
    say.textContent = answer.ok ? body.message : `${body.title}. ${body.detail}`;
    button.hidden = answer.ok || answer.status === 422;
  } catch {
    say.textContent = "Coffer cannot be reached. Try again in a moment.";
  }
  button.disabled = false;
});
