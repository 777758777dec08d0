/**
 * Buttons that make Meta fail, as the app would see it.
 *
 * @typedef {{ path: string, times: number | null, status: number | null, delay: number,
 *   drop: boolean, refuse: number | string | null }} Fault
 */
import { build, find, formatCount } from '../parts/elements.js'

const SLOW = 8 // seconds

const BAD_TOKEN = JSON.stringify({
  error: {
    message: 'Error validating access token: the session has been invalidated',
    type: 'OAuthException',
    code: 190,
    error_subcode: 460,
    is_transient: false,
    fbtrace_id: 'sandbox-fault',
  },
})
const JSON_ANSWER = { 'content-type': 'application/json' }

/** @type {Record<string, object[]>} faults by the button's id */
const FAULTS = {
  'fault-500': [{ path: 'events' }],
  'fault-token': [{ path: 'events', status: 401, body: BAD_TOKEN, headers: JSON_ANSWER }],
  'fault-slow': [{ path: 'events', delay: SLOW }],
  'fault-refuse': [{ path: 'events', refuse: 0, lasting: true }],
  'fault-block': [
    { path: 'fbevents', drop: true, times: null },
    { path: 'tr', drop: true, times: null },
  ],
}

/** @param {object[]} faults */
async function addFaults(faults) {
  for (const fault of faults) {
    const body = JSON.stringify(fault)
    await fetch('/api/faults', { method: 'POST', headers: JSON_ANSWER, body }).catch(console.warn)
  }
}

export function blockPixel() {
  return addFaults(FAULTS['fault-block'] || [])
}

export async function clearFaults() {
  await fetch('/api/faults', { method: 'DELETE' }).catch(console.warn)
}

/** @param {Fault[]} faults */
export function isBlocked(faults) {
  return faults.some((fault) => fault.path === 'fbevents' && fault.drop)
}

/** @param {Fault} fault */
function describe({ path, times, status, delay, drop, refuse }) {
  const what = drop
    ? 'no answer'
    : refuse !== null
      ? 'refuse event ' + refuse
      : delay
        ? `wait ${delay} s`
        : 'answer ' + (status || 500)
  return (
    `${path}: ${what}` + (times === null ? ', until stopped' : `, ${formatCount(times, 'time')}`)
  )
}

/** @param {Fault[]} faults */
export function showFaults(faults) {
  const texts = faults.map((fault) => build('span', 'badge warn', describe(fault)))
  find('faults-waiting').replaceChildren(...texts)
  find('fault-stop').hidden = !faults.length
  find('fault-block').setAttribute('aria-pressed', String(isBlocked(faults)))
}

for (const id of Object.keys(FAULTS)) {
  find(id).addEventListener('click', function () {
    const isPressed = find(id).getAttribute('aria-pressed') === 'true'
    if (isPressed) clearFaults()
    else addFaults(FAULTS[id] || [])
  })
}
find('fault-stop').addEventListener('click', clearFaults)
