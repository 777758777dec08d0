/**
 * What is seen at a glance: tiles, a row for each event name, destinations, and what was skipped.
 *
 * @typedef {{
 *   destination: string, event_name: string, stored: number, duplicates: number,
 *   delivered: number, dead: number, lost: number, expected: number,
 *   copies: Record<string, number>, coverage: Record<string, number>,
 *   value: Record<string, number>, median_delay: number | null, late_delay: number | null,
 * }} Row
 * @typedef {{
 *   name: string, waiting: number, held: number, delivered: number, dead: number,
 *   oldest: number | null, circuit: string, reason: string, since: number | null,
 *   until: number | null, is_configured: boolean, here: Record<string, number>,
 * }} Destination
 * @typedef {{
 *   now: number, days: string[], rows: Row[], skipped: Record<string, number>,
 *   total: { stored: number, delivered: number, dead: number, lost: number, expected: number,
 *     sent: number, value: Record<string, number> },
 *   series: import('./chart.js').Point[], event_names: string[], destinations: Destination[],
 * }} Overview
 */
import {
  build,
  buildButton,
  buildCell,
  find,
  formatAge,
  formatMoney,
  formatNumber,
  formatShare,
  renewChildren,
} from '../parts/elements.js'
import { buildHeat } from '../parts/identifiers.js'

const DAY = 86_400 // seconds; a longer delay is told as this
const LATE = 3600 // seconds: Meta wants events within an hour

/** @type {Record<string, string>} what the reasons mean */
const REASONS = {
  consent_denied: 'the visitor declined',
  consent_pending: 'the visitor has not chosen yet',
  bot: 'a robot',
  prefetch: 'a page loaded in advance',
  prerender: 'a page drawn in advance',
  excluded: 'a path in exclude_paths',
  cross_site_post: 'a form of another site',
}

/** @param {Record<string, number>} value */
function buildMoney(value) {
  const sums = Object.entries(value).map(([currency, sum]) =>
    build('span', 'sum', formatMoney(sum, currency)),
  )
  return sums.length ? sums : [build('span', '', '–')]
}

/** @param {number | null} delay */
function formatDelay(delay) {
  return delay === null ? '–' : delay > DAY ? 'over a day' : formatAge(delay)
}

/** @param {number} sent @param {number} expected A copy may be reported a day after its event. */
function formatSent(sent, expected) {
  return formatShare(Math.min(sent, expected), expected)
}

/** @param {Row} row @param {boolean} isNamed Whether to say where it goes. */
function buildRow(row, isNamed, /** @type {(name: string) => void} */ choose) {
  const name = buildButton(row.event_name, () => choose(row.event_name), 'link')
  name.title = 'Show only these'
  name.dataset.key = JSON.stringify([row.destination, row.event_name])
  const head = build('th', '', name)
  head.scope = 'row'
  if (isNamed) head.append(build('small', 'where', row.destination))
  const merged = buildCell(
    'Browser copy sent',
    'number',
    formatSent(row.copies.sent || 0, row.expected),
  )
  const { blocked = 0, unknown = 0 } = row.copies
  if (!row.expected && row.stored) merged.append(build('small', '', 'none expected'))
  if (blocked) merged.append(build('small', '', formatNumber(blocked) + ' blocked'))
  if (unknown) merged.append(build('small', '', formatNumber(unknown) + ' unknown'))
  const stored = buildCell('Stored', 'number', formatNumber(row.stored))
  if (row.duplicates) {
    stored.append(build('small', '', formatNumber(row.duplicates) + ' again'))
  }
  const delay = buildCell('Delay', 'number', formatDelay(row.median_delay))
  if (row.late_delay !== null) {
    delay.append(build('small', '', '95 %: ' + formatDelay(row.late_delay)))
  }
  const failed = row.dead + row.lost
  const fails = buildCell('Failed', failed ? 'number bad' : 'number', formatNumber(failed))
  if (row.lost) fails.append(build('small', '', formatNumber(row.lost) + ' lost'))
  return build(
    'tr',
    '',
    head,
    stored,
    merged,
    buildCell('Value', 'number', ...buildMoney(row.value)),
    delay,
    fails,
    build('td', 'wide', buildHeat(row.coverage, row.stored)),
  )
}

/** @param {Destination} destination @param {number} now */
function buildDestination(destination, now) {
  const { circuit, reason, until, waiting, held, oldest } = destination
  const state = build(
    'span',
    circuit === 'closed' ? 'badge good' : 'badge bad',
    circuit === 'closed' ? 'works' : 'circuit ' + circuit.replace('_', ' '),
  )
  const tile = build('div', 'card tile', build('h3', '', destination.name, ' ', state))
  if (!destination.is_configured) {
    tile.append(build('p', 'why', 'No destination here has this name: was it removed or renamed?'))
  }
  if (reason) tile.append(build('p', 'why', reason))
  if (until) tile.append(build('p', 'why', 'asked again in ' + formatAge(Math.max(0, until - now))))
  const list = build('dl', 'facts')
  /** @param {string} name @param {string} text @param {string} [className] */
  const add = (name, text, className) =>
    list.append(build('div', className, build('dt', '', name), build('dd', '', text)))
  add('waiting', formatNumber(waiting))
  add('of it held', formatNumber(held))
  add('oldest', oldest === null ? '–' : formatAge(oldest), oldest && oldest > LATE ? 'bad' : '')
  add('dead', formatNumber(destination.dead), destination.dead ? 'bad' : '')
  add('delivered, 2 days', formatNumber(destination.delivered))
  if (destination.here.retried) add('retried here', formatNumber(destination.here.retried))
  tile.append(list)
  return tile
}

/** @param {Record<string, number>} skipped */
function showSkipped(skipped) {
  const entries = Object.entries(skipped)
  const most = Math.max(1, ...entries.map(([, count]) => count))
  find('skipped').replaceChildren(
    ...entries.map(([reason, count]) => {
      const bar = build('progress', '')
      bar.max = most
      bar.value = count
      bar.setAttribute('aria-hidden', 'true')
      const name = build('dt', '', reason)
      if (REASONS[reason]) name.append(build('small', '', REASONS[reason] || ''))
      return build('div', '', name, build('dd', '', bar, formatNumber(count)))
    }),
  )
  if (!entries.length) find('skipped').append(build('p', 'why', 'Nothing was skipped.'))
}

/** @type {Record<string, string>} what was shown last */
const shown = {}

/** @param {string} id @param {unknown} value @param {() => HTMLElement[]} make */
function showIfNew(id, value, make) {
  const text = JSON.stringify(value)
  if (shown[id] === text) return
  shown[id] = text
  renewChildren(find(id), make())
}

/** @param {Row[]} rows @param {boolean} onlyProblems */
export function chooseRows(rows, onlyProblems) {
  return onlyProblems ? rows.filter((row) => row.dead + row.lost > 0) : rows
}

/**
 * @param {Overview} overview
 * @param {boolean} onlyProblems
 * @param {(name: string) => void} choose
 */
export function showOverview(overview, onlyProblems, choose) {
  const { total, destinations } = overview
  const rows = chooseRows(overview.rows, onlyProblems)
  const waiting = destinations.reduce((sum, each) => sum + each.waiting, 0)
  const oldest = Math.max(0, ...destinations.map((each) => each.oldest || 0))
  find('count-stored').textContent = formatNumber(total.stored)
  find('count-delivered').textContent = formatNumber(total.delivered)
  find('share-merged').textContent = formatSent(total.sent, total.expected)
  find('sum-value').replaceChildren(...buildMoney(total.value))
  find('count-waiting').replaceChildren(
    formatNumber(waiting),
    oldest ? build('small', '', ' up to ' + formatAge(oldest)) : '',
  )
  const failed = total.dead + total.lost
  find('count-failed').textContent = formatNumber(failed)
  find('count-failed').parentElement?.classList.toggle('some', failed > 0)
  const isNamed = new Set(overview.rows.map((row) => row.destination)).size > 1
  showIfNew('names', rows, () => rows.map((row) => buildRow(row, isNamed, choose)))
  find('names-none').hidden = rows.length > 0
  find('destinations').replaceChildren(
    ...destinations.map((each) => buildDestination(each, overview.now)),
  )
  showSkipped(overview.skipped)
}

/** @param {Row[]} rows @returns {unknown[][]} a table of them */
export function buildTable(rows) {
  const currencies = [...new Set(rows.flatMap((row) => Object.keys(row.value)))].sort()
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row.coverage)))].sort()
  const head = [
    ...['event_name', 'destination', 'stored', 'duplicates', 'delivered', 'dead', 'lost'],
    ...['expected', 'sent', 'blocked', 'unknown', 'median_delay', 'late_delay'],
    ...currencies.map((currency) => 'value_' + currency),
    ...keys.map((key) => 'with_' + key),
  ]
  return [
    head,
    ...rows.map((row) => [
      ...[row.event_name, row.destination, row.stored, row.duplicates, row.delivered],
      ...[row.dead, row.lost, row.expected, row.copies.sent || 0, row.copies.blocked || 0],
      ...[row.copies.unknown || 0, row.median_delay, row.late_delay],
      ...currencies.map((currency) => row.value[currency] || 0),
      ...keys.map((key) => row.coverage[key] || 0),
    ]),
  ]
}
