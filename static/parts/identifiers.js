/** What Meta finds a person by: the cells that show which of it an event carries, or how many do. */
import { build, formatNumber } from './elements.js'

/**
 * @typedef {{ key: string, short: string, name: string, advice: string, web?: boolean }} Identifier
 *   `short` is for a cell; without `advice` nobody is told to send it; `web`: only a browser has it.
 */

/** @type {Identifier[]} in the order in which they help */
export const IDENTIFIERS = [
  { key: 'em', short: 'em', name: 'e-mail', advice: 'identify(email=…)' },
  { key: 'ph', short: 'ph', name: 'phone', advice: 'identify(phone=…)' },
  { key: 'external_id', short: 'id', name: 'external id', advice: 'track with a visitor' },
  { key: 'fbc', short: 'fc', name: 'click id (fbc)', advice: '', web: true },
  { key: 'fbp', short: 'fp', name: 'browser id (fbp)', advice: 'track with a visitor', web: true },
  {
    key: 'client_ip_address',
    short: 'ip',
    name: 'IP address',
    advice: 'track with a visitor; behind a proxy, set trusted_proxies',
    web: true,
  },
  { key: 'ipv6', short: 'v6', name: 'IPv6 address', advice: '', web: true },
  {
    key: 'client_user_agent',
    short: 'ua',
    name: 'user agent',
    advice: 'track with a visitor',
    web: true,
  },
  { key: 'fn', short: 'fn', name: 'first name', advice: '' },
  { key: 'ln', short: 'ln', name: 'last name', advice: '' },
  { key: 'db', short: 'db', name: 'birthday', advice: '' },
  { key: 'ge', short: 'ge', name: 'gender', advice: '' },
  { key: 'ct', short: 'ct', name: 'city', advice: '' },
  { key: 'st', short: 'st', name: 'state', advice: '' },
  { key: 'zp', short: 'zp', name: 'postcode', advice: '' },
  { key: 'country', short: 'co', name: 'country', advice: '' },
]

/**
 * @param {string[]} present
 * @param {string} source The event's action source.
 * @returns {Identifier[]} what is worth adding
 */
export function findMissing(present, source) {
  return IDENTIFIERS.filter(
    ({ key, advice, web }) =>
      advice && !present.includes(key) && (!web || source === 'website' || !source),
  )
}

/** @param {string[]} present What one server copy carries. */
export function buildStrip(present) {
  const cells = IDENTIFIERS.map(({ key, short, name }) => {
    const cell = build('span', present.includes(key) ? 'cell on' : 'cell', short)
    cell.title = name + (present.includes(key) ? ': sent' : ': not sent')
    return cell
  })
  const strip = build('div', 'strip', ...cells)
  strip.setAttribute('role', 'img')
  const names = IDENTIFIERS.filter(({ key }) => present.includes(key)).map(({ name }) => name)
  strip.setAttribute('aria-label', 'Server copy carries: ' + (names.join(', ') || 'nothing'))
  return strip
}

/**
 * @param {Record<string, number>} coverage How many server copies carried each identifier.
 * @param {number} total Of server copies.
 */
export function buildHeat(coverage, total) {
  const told = /** @type {string[]} */ ([])
  const cells = IDENTIFIERS.map(({ key, short, name }) => {
    const count = coverage[key] || 0
    const percent = total ? Math.min(100, Math.round((100 * count) / total)) : 0
    const step = total ? Math.ceil(percent / 20) : 0
    const text = total ? String(percent) : '–'
    const cell = build('span', 'cell heat-' + step, build('small', '', short), text)
    cell.title = `${name}: ${percent} % (${formatNumber(count)} of ${formatNumber(total)})`
    told.push(`${name} ${percent} %`)
    return cell
  })
  const heat = build('div', 'heat', ...cells)
  heat.setAttribute('role', 'img')
  heat.setAttribute('aria-label', total ? told.join(', ') : 'no server copies')
  return heat
}
