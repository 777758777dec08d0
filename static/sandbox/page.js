/**
 * The events page: lists what the sandbox received, live.
 *
 * @typedef {{
 *   received_at_ms: number, eid: string | null, external_id: string | null, fbp: string | null,
 *   fbc: string | null, dpo: string | null, cd: Record<string, string>,
 * }} BrowserCopy
 * @typedef {{
 *   received_at_ms: number, via: string | null, event: any, warnings: string[],
 * }} ServerCopy
 * @typedef {{ received_at_ms: number, via?: string | null }} Arrival
 * @typedef {{
 *   pixel_id: string, event_name: string, event_id: string | null, counted: number,
 *   merged: boolean, merged_by: string | null, why_not: string | null, mismatches: string[],
 *   repeats: number, browser: BrowserCopy[], server: ServerCopy[],
 * }} Action
 * @typedef {{
 *   received_at_ms: number, status: number, events: number, code: number | null,
 *   subcode: number | null, message: string | null,
 * }} GraphRequest
 * @typedef {{
 *   actions: Action[], counters: Record<string, number>, requests: GraphRequest[],
 *   pixel_ids: string[], segment: import('./segment.js').SegmentReport,
 * }} Report
 */
import { build, buildKeys, find, formatCount, formatTime, keepRows } from './elements.js'
import { showSegment } from './segment.js'

const SHOWN = 200 // actions, and messages to Segment
const SHOWN_REFUSALS = 3 // requests
const COUNTERS = ['actions', 'merged', 'browser_only', 'server_only', 'refused_requests']

let loading = false
let stale = false

/** @param {boolean} arrived @param {string} side */
function buildTick(arrived, side) {
  const tick = build('span', arrived ? 'tick' : 'tick no', arrived ? '✓' : '✗')
  tick.setAttribute('aria-label', side + (arrived ? ' copy arrived' : ' copy missing'))
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
    const alone = /^no (browser|server) copy$/.test(action.why_not || '')
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
function buildIdentity({ browser: [browser], server: [copy] }) {
  const server = copy ? copy.event.user_data : {}
  return buildKeys({
    'external id': (browser && browser.external_id) || [server.external_id || ''].flat()[0],
    fbp: (browser && browser.fbp) || server.fbp,
    fbc: (browser && browser.fbc) || server.fbc,
  })
}

/** @param {Action} action */
function formatValue(action) {
  const server = action.server[0] && action.server[0].event.custom_data
  const data = (server && server.value != null ? server : action.browser[0]?.cd) || {}
  if (data.value == null) return ''
  const amount = Number(data.value)
  const text = Number.isFinite(amount)
    ? amount.toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 })
    : String(data.value)
  return text + ' ' + String(data.currency || '').toUpperCase()
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
  for (const copy of copies) side.append(build('pre', '', JSON.stringify(show(copy), null, 2)))
  if (!copies.length) side.append(build('p', '', 'None arrived.'))
  return side
}

/** @param {Action} action */
function firstArrival(action) {
  return Math.min(...[...action.browser, ...action.server].map((copy) => copy.received_at_ms))
}

/** @param {Action} action @param {HTMLDetailsElement} details */
function fillRow(action, details) {
  const id = build('div', 'id', action.event_id || 'no event id')
  id.title = action.event_id || ''
  const summary = build(
    'summary',
    'row',
    build('span', 'time', formatTime(firstArrival(action))),
    build('div', 'event', build('div', 'name', action.event_name), id),
    build('span', '', buildTick(action.browser.length > 0, 'browser')),
    build('span', '', buildTick(action.server.length > 0, 'server')),
    buildResult(action),
    buildIdentity(action),
    build('span', 'value', formatValue(action)),
  )
  const warnings = action.server.flatMap((copy) => copy.warnings)
  const copies = build(
    'div',
    'copies',
    buildCopies('Browser copy', action.browser, [], (copy) => copy.params),
    buildCopies('Server copy', action.server, warnings, (copy) => copy.event),
  )
  details.replaceChildren(summary, copies)
}

const showActions = keepRows(
  'actions',
  /** @param {Action} action */
  (action) => [action.pixel_id, action.event_name, firstArrival(action), action.event_id].join(),
  fillRow,
)

/** @param {GraphRequest[]} requests */
function showRefusals(requests) {
  const refused = requests.filter((request) => request.status !== 200)
  const lines = refused.slice(0, SHOWN_REFUSALS).map((request) => {
    const numbers = [request.code, request.subcode].filter((number) => number != null).join('/')
    return build(
      'p',
      '',
      build('time', '', formatTime(request.received_at_ms)),
      build('strong', '', 'Refused with ' + numbers),
      ` (${request.events} ${request.events === 1 ? 'event' : 'events'}): ${request.message}`,
    )
  })
  find('refused').replaceChildren(...lines)
  find('refused').hidden = !lines.length
}

/** @param {Record<string, number>} counters @returns the share of events with a browser copy */
function formatShare({ actions = 0, server_only = 0 }) {
  return actions ? Math.round((100 * (actions - server_only)) / actions) + ' %' : '–'
}

/** @param {Report} report */
function show(report) {
  for (const name of COUNTERS) {
    const count = report.counters[name] || 0
    find('count-' + name).textContent = count.toLocaleString('en')
    find('count-' + name).parentElement?.classList.toggle('some', count > 0)
  }
  find('browser-share').textContent = formatShare(report.counters)
  const pixel = report.pixel_ids[0] || ''
  find('pixel').textContent = 'Pixel ' + report.pixel_ids.join(', ')
  find('library').textContent = location.origin + '/en_US/fbevents.js'
  find('graph').textContent = location.origin + '/v26.0/' + pixel + '/events'
  find('batch').textContent = location.origin + '/v1/batch'
  showRefusals(report.requests)
  showActions(report.actions)
  const forSegment = showSegment(report.segment)
  const hidden = (report.counters.actions || 0) - report.actions.length
  find('empty').hidden = report.actions.length > 0 || forSegment
  find('none').hidden = report.actions.length > 0 || !forSegment
  find('more').hidden = hidden <= 0
  find('more').textContent = hidden.toLocaleString('en') + ' older events are not shown.'
}

async function load() {
  stale = true
  if (loading) return
  loading = true
  while (stale) {
    stale = false
    try {
      const response = await fetch('/api/events?limit=' + SHOWN)
      show(await response.json())
    } catch (error) {
      console.warn(error) // the stream reports the next change, or that the sandbox is gone
    }
  }
  loading = false
}

const live = find('live')
const stream = new EventSource('/api/stream')
stream.addEventListener('message', load)
stream.addEventListener('open', function () {
  live.textContent = 'live'
  live.classList.add('on')
})
stream.addEventListener('error', function () {
  live.textContent = 'not connected'
  live.classList.remove('on')
})
find('reset').addEventListener('click', function () {
  fetch('/api/events', { method: 'DELETE' }).catch(console.warn)
})
load()
