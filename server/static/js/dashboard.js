// The dashboard without reloads: the quick note, and how long the session still lasts.
// The extension's CSRFManager puts the token on the fetch; nothing here knows of it.

const form = document.getElementById('quick-note')
const result = document.getElementById('quick-result')
const clock = document.getElementById('session-clock')

/** @param {{ text: string, created_at: string }} note */
function show (note) {
  const item = document.createElement('li')
  const text = document.createElement('p')
  text.className = 'text'
  text.textContent = note.text
  const when = document.createElement('p')
  when.className = 'hint'
  when.textContent = 'just now'
  item.append(text, when)
  document.getElementById('notes').prepend(item)
  document.getElementById('no-notes').hidden = true
}

form.addEventListener('submit', async event => {
  event.preventDefault()
  const field = form.elements.namedItem('text')
  result.textContent = 'Sending…'
  try {
    const response = await fetch(form.dataset.apiUrl, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
      body: JSON.stringify({ text: field.value })
    })
    const answer = await response.json()
    if (!response.ok) throw new Error(answer.message ?? answer.error)
    show(answer)
    field.value = ''
    result.textContent = 'Saved.'
    tick()
  } catch (error) {
    // What was typed stays in the field.
    result.textContent = `Not saved: ${error.message}`
  }
})

/** @param {number} seconds */
function words (seconds) {
  const minutes = Math.max(1, Math.round(seconds / 60))
  if (minutes < 90) return minutes === 1 ? 'a minute' : `${minutes} minutes`
  return `${Math.round(minutes / 60)} hours`
}

function ended () {
  const link = document.createElement('a')
  link.href = clock.dataset.loginUrl
  link.textContent = 'Sign in again'
  clock.replaceChildren('Your session has ended. ', link, '.')
}

// Asking never keeps the session alive: the endpoint does not count as activity.
async function tick () {
  try {
    const response = await fetch(clock.dataset.statusUrl, { cache: 'no-store' })
    if (!response.ok) return
    const status = await response.json()
    if (!status.authenticated) return ended()
    const left = Math.min(status.idle_expires_in ?? Infinity, status.absolute_expires_in ?? Infinity)
    if (left < Infinity) clock.textContent = `Without you, this session ends in ${words(left)}.`
  } catch {
    // Offline: the page keeps what it last knew, and asks again.
  }
}

tick()
setInterval(tick, 60_000)
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') tick()
})
