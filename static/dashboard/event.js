/**
 * An event's own page: what is stored of it, for each destination.
 *
 * @typedef {import('./list.js').StoredEvent & { payload: unknown, bytes: number }} OpenEvent
 */
import { build, buildKeys, find, formatAge, formatNumber } from '../parts/elements.js'
import { buildStrip } from '../parts/identifiers.js'
import { buildJson } from '../parts/json.js'
import { buildDeadButtons } from './dead.js'
import { buildStateBadge, describeState } from './list.js'
import { ask, showTrouble } from './server.js'

const EVERY_MS = 5000
const id = new URLSearchParams(location.search).get('id') || ''

/** @param {number | null} seconds */
function formatDate(seconds) {
  return seconds ? new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ') : ''
}

/** @param {OpenEvent} event @param {number} now */
function buildCard(event, now) {
  const card = build(
    'section',
    'card event-card',
    build('h2', '', event.event_name, ' ', buildStateBadge(event)),
    build('p', 'why', describeState(event, now)),
  )
  if (event.reason) {
    card.append(build('p', 'remedy', build('b', '', 'Verdict: '), event.reason))
  } else {
    const text = event.attempts ? 'none yet: it is tried again' : 'none yet'
    card.append(build('p', '', build('b', '', 'Verdict: '), text))
  }
  const keys = buildKeys({
    destination: event.destination,
    born: event.from_browser ? 'in a browser' : 'on the server',
    'action source': event.source,
    happened: formatDate(event.happened_at),
    attempts: String(event.attempts),
    due: formatDate(event.due),
    buried: formatDate(event.buried_at),
    'too old': formatDate(event.expires),
    size: formatNumber(event.bytes) + ' bytes',
  })
  keys.classList.add('broad')
  card.append(keys)
  if (event.identifiers) card.append(buildStrip(event.identifiers))
  if (event.state === 'dead') {
    const { destination, event_id, event_name } = event
    const left = event.expires - now
    const until = left > 0 ? `can be sent for ${formatAge(left)} more` : 'too old to be sent'
    card.append(
      buildDeadButtons(
        () => ({ chosen: { destination, event_id, event_name }, count: 1, isAll: true }),
        done,
      ),
      build('p', 'why', until),
    )
  }
  card.append(
    build('h3', '', 'Payload, as stored and sent'),
    event.payload === null
      ? build('p', 'why', 'It is not JSON, so it is not shown.')
      : buildJson(event.payload),
  )
  return card
}

/** @param {string} said */
function done(said) {
  find('said').textContent = said
  find('said').focus() // the button goes with its card
  load()
}

/** @param {{ events: OpenEvent[], delivered_as: string[], now: number }} answer */
function show({ events, delivered_as, now }) {
  find('event').replaceChildren(...events.map((event) => buildCard(event, now)))
  if (events.length) return
  const text = delivered_as.length
    ? `Delivered, as ${delivered_as.join(', ')}. The outbox keeps nothing of a delivered event but its key, so that it is not sent again.`
    : 'Nothing with this id waits or is dead. If it was delivered, its key is kept for two days, for 90 if the app gave the id; what a browser reported is not found this way.'
  find('event').append(build('section', 'card event-card', build('p', '', text)))
}

async function load() {
  try {
    show(await ask('api/event?id=' + encodeURIComponent(id)))
    showTrouble()
  } catch (error) {
    showTrouble(error)
  }
}

find('title').textContent = 'Event ' + id
document.title = id + ' – Bridge'
load()
setInterval(function () {
  // Somebody may be about to press a button.
  if (!document.hidden && !find('event').contains(document.activeElement)) load()
}, EVERY_MS)
