/**
 * Requests to Graph that were refused: why, what to change, and the event with the field marked.
 *
 * @typedef {{
 *   number: number, received_at_ms: number, status: number, events: number, code: number | null,
 *   subcode: number | null, message: string | null, field: string | null, remedy: string | null,
 *   event: any,
 * }} GraphRequest
 */
import { build, find, formatCount, formatTime, keepRows } from '../parts/elements.js'
import { buildJson, parseField } from '../parts/json.js'

const SHOWN = 5 // requests

/** @param {GraphRequest} request @param {HTMLDetailsElement} details */
function fillRequest(request, details) {
  const numbers = [request.code, request.subcode].filter((number) => number != null).join('/')
  const body = build('div', 'copies whole')
  if (request.remedy) {
    body.append(build('p', 'remedy', build('b', '', 'To do: '), request.remedy))
  }
  if (request.field) body.append(build('p', '', 'Field: ', build('code', '', request.field)))
  if (request.event != null) body.append(buildJson(request.event, parseField(request.field || '')))
  if (request.events > 1) {
    body.append(build('p', '', `All ${request.events} events of the request were refused with it.`))
  }
  details.replaceChildren(
    build(
      'summary',
      '',
      build('time', '', formatTime(request.received_at_ms)),
      build('strong', '', 'Refused with ' + numbers),
      ` (${formatCount(request.events, 'event')}): ${request.message}`,
    ),
    body,
  )
}

const showRows = keepRows(
  'refused',
  /** @param {GraphRequest} request */
  (request) => String(request.number),
  fillRequest,
)

/** @param {GraphRequest[]} requests */
export function showRefused(requests) {
  const refused = requests.filter((request) => request.status !== 200).slice(0, SHOWN)
  showRows(refused)
  find('refused').hidden = !refused.length
}
