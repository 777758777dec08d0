/**
 * Segment's part of the events page: the messages, and the result of each.
 *
 * @typedef {{
 *   outcome: string, reason: string | null, event_name: string | null, event_id: string | null,
 *   warnings: string[],
 * }} Destination
 * @typedef {{
 *   number: number, received_at_ms: number, type: unknown, event: unknown, message_id: unknown,
 *   anonymous_id: unknown, user_id: unknown, verdict: string, reason: string | null,
 *   destination: Destination | null, warnings: string[], message: unknown,
 * }} Message
 * @typedef {{
 *   messages: Message[],
 *   refused: { received_at_ms: number, path: string, status: number, message: string }[],
 *   counters: {
 *     received: number, accepted: number, dropped: number, dropped_by: Record<string, number>,
 *     destination: Record<string, number>, refused_requests: number,
 *   },
 * }} SegmentReport
 */
import { build, buildKeys, find, formatCount, formatTime, keepRows } from '../parts/elements.js'
import { buildJson } from '../parts/json.js'

const SHOWN_REFUSALS = 3 // requests

/** @type {Record<string, [string, string]>} class and text of a badge, by outcome */
const OUTCOMES = {
  delivered: ['badge good', 'To Meta: '],
  refused: ['badge bad', 'Refused by the destination'],
  refused_by_meta: ['badge bad', 'Refused by Meta: '],
  off: ['badge', 'Off by integrations'],
  none: ['badge', 'Not for Meta'],
}

/** @param {Message} message */
function findWarnings(message) {
  return [...message.warnings, ...(message.destination?.warnings || [])]
}

/** @param {Message} message */
function buildVerdict({ verdict, reason, destination, ...message }) {
  const result = build('div')
  if (verdict === 'dropped') {
    result.append(build('span', 'badge bad', 'Dropped: ' + reason))
  } else {
    result.append(build('span', 'badge', 'Accepted'))
  }
  if (destination) {
    const [className, text] = OUTCOMES[destination.outcome] || ['badge', destination.outcome]
    const name = text.endsWith(': ') ? destination.event_name || '' : ''
    result.append(build('span', className, text + name))
  }
  const warnings = findWarnings({ verdict, reason, destination, ...message }).length
  if (warnings) result.append(build('span', 'badge warn', formatCount(warnings, 'warning')))
  if (destination?.reason) result.append(build('div', 'why', destination.reason))
  return result
}

/** @param {Message} message @param {HTMLDetailsElement} details */
function fillMessage(message, details) {
  const type = String(message.type || 'no type')
  const name = message.event || /** @type {any} */ (message.message)?.name
  const id = build('div', 'id', String(message.message_id || 'no messageId'))
  id.title = String(message.message_id || '')
  const summary = build(
    'summary',
    'row message',
    build('span', 'time', formatTime(message.received_at_ms)),
    build(
      'div',
      'event',
      build('div', 'name', String(name || ''), ' ', build('small', '', type)),
      id,
    ),
    buildVerdict(message),
    buildKeys({ anonymousId: message.anonymous_id, userId: message.user_id }),
  )
  const copies = build('div', 'copies whole')
  const warnings = findWarnings(message)
  if (warnings.length) {
    copies.append(build('ul', '', ...warnings.map((warning) => build('li', '', warning))))
  }
  copies.append(buildJson(message.message))
  details.replaceChildren(summary, copies)
}

const showMessages = keepRows(
  'messages',
  /** @param {Message} message */
  (message) => String(message.number),
  fillMessage,
)

/** @param {SegmentReport['counters']} counters */
function formatCounters({ received, accepted, dropped, dropped_by, destination }) {
  const reasons = Object.entries(dropped_by).map(([name, count]) => `${name} ${count}`)
  const refused = (destination.refused || 0) + (destination.refused_by_meta || 0)
  return [
    formatCount(received, 'message'),
    accepted.toLocaleString('en') + ' accepted',
    (destination.delivered || 0).toLocaleString('en') + ' sent on to Meta',
    refused.toLocaleString('en') + ' refused on the way to Meta',
    dropped.toLocaleString('en') + ' dropped' + (dropped ? ` (${reasons.join(', ')})` : ''),
  ].join(' · ')
}

/** @param {SegmentReport} report @returns whether anything was sent to Segment */
export function showSegment({ messages, refused, counters }) {
  const lines = refused
    .slice(0, SHOWN_REFUSALS)
    .map((request) =>
      build(
        'p',
        '',
        build('time', '', formatTime(request.received_at_ms)),
        build('strong', '', `Refused with ${request.status}`),
        ` (${request.path}): ${request.message}`,
      ),
    )
  find('segment-refused').replaceChildren(...lines)
  find('segment-refused').hidden = !lines.length
  find('segment-counters').textContent = formatCounters(counters)
  showMessages(messages)
  const hidden = counters.received - messages.length
  find('segment-more').hidden = hidden <= 0
  find('segment-more').textContent = `${formatCount(hidden, 'message')} are not listed.`
  const some = messages.length > 0 || lines.length > 0
  find('segment').hidden = !some
  return some
}
