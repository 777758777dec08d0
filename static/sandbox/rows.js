/**
 * One action as a row of the list, and what opens below it.
 *
 * @typedef {{
 *   received_at_ms: number, eid: string | null, external_id: string | null, fbp: string | null,
 *   fbc: string | null, dpo: string | null, dl: string | null, cd: Record<string, string>,
 *   params: Record<string, string>,
 * }} BrowserCopy
 * @typedef {{
 *   received_at_ms: number, via: string | null, event: any, warnings: string[],
 * }} ServerCopy
 * @typedef {{ received_at_ms: number, via?: string | null }} Arrival
 * @typedef {{
 *   pixel_id: string, event_name: string, event_id: string | null, counted: number,
 *   merged: boolean, merged_by: string | null, state: string, source: string,
 *   why_not: string | null, mismatches: string[], repeats: number, identifiers: string[],
 *   problems: string[], browser: BrowserCopy[], server: ServerCopy[],
 * }} Action
 */
import {
  build,
  buildButton,
  buildKeys,
  formatCount,
  formatMoney,
  formatTime,
} from '../parts/elements.js'
import { buildStrip, findMissing } from '../parts/identifiers.js'
import { buildJson } from '../parts/json.js'

/** @param {Action} action @param {'browser' | 'server'} side */
function buildTick(action, side) {
  const arrived = action[side].length > 0
  const open = { none_expected: ': none expected', unclear: ': may not be expected' }[action.state]
  const isExpected = side === 'server' || !open
  const tick = build(
    'span',
    arrived ? 'tick' : isExpected ? 'tick no' : 'tick none',
    arrived ? '✓' : isExpected ? '✗' : '–',
  )
  const said = arrived ? ' copy arrived' : isExpected ? ' copy missing' : ' copy' + open
  tick.setAttribute('role', 'img')
  tick.setAttribute('aria-label', side + said)
  tick.title = side + said
  return tick
}

/** @param {Action} action */
function buildResult(action) {
  const result = build('div')
  if (action.merged) {
    result.append(build('span', 'badge good', 'Merged by ' + action.merged_by))
  } else if (!action.counted) {
    result.append(build('span', 'badge bad', 'Not counted'))
  } else {
    const alone = /^(no (browser|server) copy(:|$)|none expected)/.test(action.why_not || '')
    result.append(build('span', alone ? 'badge' : 'badge warn', alone ? 'One copy' : 'Not merged'))
  }
  if (action.repeats) {
    result.append(build('span', 'badge warn', action.repeats + ' × sent again'))
  }
  for (const key of action.mismatches) {
    // A form's event belongs to the form's page; its browser copy is fired on the page after.
    result.append(build('span', key === 'url' ? 'badge' : 'badge bad', key + ' differs'))
  }
  const warnings = action.server.reduce((sum, copy) => sum + copy.warnings.length, 0)
  if (warnings) result.append(build('span', 'badge warn', formatCount(warnings, 'warning')))
  if (action.server.some((copy) => copy.via === 'Segment')) {
    result.append(build('span', 'badge', 'via Segment'))
  }
  if (isLimited(action)) result.append(build('span', 'badge law', 'Limited Data Use'))
  if (action.why_not) result.append(build('div', 'why', action.why_not))
  return result
}

/** @param {Action} action */
function isLimited(action) {
  return (
    action.browser.some((copy) => copy.dpo === 'LDU') ||
    action.server.some((copy) => (copy.event.data_processing_options || []).includes('LDU'))
  )
}

/** @param {Action} action */
function readIds({ browser: [browser], server: [copy] }) {
  const server = copy ? copy.event.user_data : {}
  return {
    externalId: (browser && browser.external_id) || [server.external_id || ''].flat()[0],
    fbp: (browser && browser.fbp) || server.fbp,
    fbc: (browser && browser.fbc) || server.fbc,
  }
}

/** @param {Action} action */
function readMoney(action) {
  const server = action.server[0] && action.server[0].event.custom_data
  const data = (server && server.value != null ? server : action.browser[0]?.cd) || {}
  return data.value == null ? null : { value: data.value, currency: data.currency }
}

/** @param {Arrival} copy */
function formatArrival({ received_at_ms, via }) {
  return formatTime(received_at_ms) + (via ? ' via ' + via : '')
}

/**
 * @param {string} title
 * @param {Arrival[]} copies
 * @param {string[]} warnings
 * @param {(copy: any) => any} show
 */
function buildCopies(title, copies, warnings, show) {
  const times = copies.map(formatArrival).join(', ')
  const side = build('div', '', build('h3', '', title + ' ', build('small', '', times)))
  if (warnings.length) {
    side.append(build('ul', '', ...warnings.map((warning) => build('li', '', warning))))
  }
  for (const copy of copies) side.append(buildJson(show(copy)))
  if (!copies.length) side.append(build('p', '', 'None arrived.'))
  return side
}

/** @param {Action} action */
function buildMissing({ identifiers, source, server }) {
  if (!server.length) return ''
  const missing = findMissing(identifiers, source)
  if (!missing.length) return build('p', 'hint', 'The server copy carries all that helps most.')
  const items = missing.map(({ name, advice }) =>
    build('li', '', build('b', '', name), ': ', build('code', '', advice)),
  )
  return build('div', 'hint', 'Missing, and how to add it:', build('ul', '', ...items))
}

/** @param {Action} action */
export function findArrival(action) {
  return Math.min(...[...action.browser, ...action.server].map((copy) => copy.received_at_ms))
}

/** @param {Action} action */
export function buildActionKey(action) {
  return [action.pixel_id, action.event_name, findArrival(action), action.event_id].join()
}

/** @param {Action} action @param {number | null} before Time of the one before, in a timeline. */
function formatWhen(action, before) {
  const gap = before === null ? 0 : (findArrival(action) - before) / 1000
  return formatTime(findArrival(action)) + (gap >= 1 ? ` +${Math.round(gap)} s` : '')
}

/** @param {Action} action */
function buildCoverage({ server, identifiers, source }) {
  if (!server.length) return build('span', 'none', '')
  const missing = findMissing(identifiers, source).map(({ name }) => name)
  const strip = build('div', '', buildStrip(identifiers))
  if (missing.length) strip.append(build('div', 'why', 'without ' + missing.join(', ')))
  return strip
}

/**
 * @param {Action} action
 * @param {HTMLDetailsElement} details
 * @param {(visitor: string) => void} follow Shows a visitor's timeline.
 * @param {number | null} before
 */
export function fillAction(action, details, follow, before) {
  const id = build('div', 'id', action.event_id || 'no event id')
  id.title = action.event_id || ''
  const money = readMoney(action)
  const ids = readIds(action)
  const name = build('div', 'name', action.event_name)
  if (action.source !== 'website') name.append(' ', build('small', '', action.source || 'unknown'))
  const summary = build(
    'summary',
    'row',
    build('span', 'time', formatWhen(action, before)),
    build('div', 'event', name, id),
    buildTick(action, 'browser'),
    buildTick(action, 'server'),
    buildResult(action),
    buildCoverage(action),
    buildKeys({ 'external id': ids.externalId, fbp: ids.fbp, fbc: ids.fbc }),
    build('span', 'value', money ? formatMoney(money.value, money.currency) : ''),
  )
  const warnings = action.server.flatMap((copy) => copy.warnings)
  const visitor = String(ids.externalId || ids.fbp || '')
  const about = build('div', 'about', buildMissing(action))
  if (visitor) about.append(buildButton("This visitor's timeline", () => follow(visitor)))
  const copies = build(
    'div',
    'copies',
    buildCopies('Browser copy', action.browser, [], (copy) => copy.params),
    buildCopies('Server copy', action.server, warnings, (copy) => copy.event),
  )
  details.replaceChildren(summary, about, copies)
}

const COLUMNS = [
  'time',
  'event_name',
  'event_id',
  'state',
  'merged_by',
  'action_source',
  'browser_copies',
  'server_copies',
  'identifiers',
  'problems',
  'external_id',
  'fbp',
  'value',
  'currency',
]

/** @param {Action[]} actions @returns {unknown[][]} a table of them */
export function buildTable(actions) {
  return [
    COLUMNS,
    ...actions.map((action) => {
      const ids = readIds(action)
      const money = readMoney(action)
      return [
        new Date(findArrival(action)).toISOString(),
        action.event_name,
        action.event_id,
        action.state,
        action.merged_by,
        action.source,
        action.browser.length,
        action.server.length,
        action.identifiers.join(' '),
        action.problems.join('; '),
        ids.externalId,
        ids.fbp,
        money?.value,
        money?.currency,
      ]
    }),
  ]
}
