/**
 * Events that wait or are dead, as a table.
 *
 * @typedef {{
 *   destination: string, event_name: string, event_id: string, from_browser: boolean,
 *   state: string, reason: string, buried_at: number | null, due: number | null, expires: number,
 *   attempts: number, source: string, happened_at: number | null, day: string,
 *   value: number | null, currency: string, identifiers: string[] | null, is_problem: boolean,
 * }} StoredEvent
 * @typedef {{
 *   events: StoredEvent[], total: number, is_all: boolean, scanned: number, sources: string[],
 *   now: number,
 * }} StoredPage
 */
import {
  build,
  buildCell,
  find,
  formatAge,
  formatMoney,
  formatNumber,
  renewChildren,
} from '../parts/elements.js'
import { buildStrip } from '../parts/identifiers.js'

/** @param {StoredEvent} event @param {number} now */
export function describeState({ state, due, buried_at, attempts }, now) {
  if (state === 'dead') return `dead for ${formatAge(now - (buried_at || now))}`
  const wait = (due || now) - now
  if (state === 'held') return `held for ${formatAge(wait)} more`
  if (wait > 0) return `${attempts ? 'claimed, or tried again' : 'due'} in ${formatAge(wait)}`
  return `due for ${formatAge(-wait)}`
}

/** @param {StoredEvent} event */
export function buildStateBadge({ state, is_problem }) {
  const className = state === 'dead' ? 'badge bad' : is_problem ? 'badge warn' : 'badge'
  return build('span', className, state)
}

/** @param {StoredEvent} event @param {number} now */
function buildRow(event, now) {
  const link = build('a', 'id', event.event_id)
  link.title = event.event_id
  link.href = 'event?id=' + encodeURIComponent(event.event_id)
  link.dataset.key = JSON.stringify([event.destination, event.event_name, event.event_id])
  const head = build('th', '', event.event_name, build('br', ''), link)
  head.scope = 'row'
  head.append(
    build('small', 'where', event.destination + (event.from_browser ? ', from a browser' : '')),
  )
  const state = buildCell('State', '', buildStateBadge(event))
  state.append(build('small', '', describeState(event, now)))
  if (event.reason) state.append(build('small', 'reason', event.reason))
  const value = event.value === null ? '' : formatMoney(event.value, event.currency)
  return build(
    'tr',
    '',
    head,
    state,
    buildCell('Action source', '', event.source || '–'),
    buildCell('Attempts', 'number', formatNumber(event.attempts)),
    buildCell('Value', 'number', value || '–'),
    build('td', 'carries', event.identifiers ? buildStrip(event.identifiers) : '–'),
  )
}

/** @param {StoredPage} page */
export function showEvents(page) {
  renewChildren(
    find('events'),
    page.events.map((event) => buildRow(event, page.now)),
  )
  find('events-none').hidden = page.total > 0
  find('events-scanned').hidden = page.is_all
  find('events-scanned').textContent =
    `Only the first ${formatNumber(page.scanned)} that wait, and the newest as many dead ones, were looked at.`
}

/** @param {StoredEvent[]} events @returns {unknown[][]} a table of them */
export function buildTable(events) {
  /** @param {number | null} seconds */
  const when = (seconds) => (seconds ? new Date(seconds * 1000).toISOString() : '')
  return [
    [
      ...['event_name', 'event_id', 'destination', 'from', 'state', 'reason', 'action_source'],
      ...['happened_at', 'due', 'buried_at', 'attempts', 'value', 'currency', 'identifiers'],
    ],
    ...events.map((event) => [
      ...[event.event_name, event.event_id, event.destination],
      ...[event.from_browser ? 'browser' : 'server', event.state, event.reason, event.source],
      ...[when(event.happened_at), when(event.due), when(event.buried_at), event.attempts],
      ...[event.value, event.currency, (event.identifiers || []).join(' ')],
    ]),
  ]
}
