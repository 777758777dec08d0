/**
 * The events page: lists what the sandbox received, live.
 *
 * @typedef {import('./rows.js').Action} Action
 * @typedef {{
 *   event_name: string, actions: number, problems: number, with_server: number, merged: number,
 *   browser_only: number, server_only: number, none_expected: number, unclear: number,
 *   coverage: Record<string, number>,
 * }} NameSummary
 * @typedef {{
 *   actions: Action[], total: number, names: NameSummary[], sources: string[],
 *   counters: Record<string, number>, requests: import('./refused.js').GraphRequest[],
 *   pixel_ids: string[], access_token: string | null, shop: string, faults: import('./faults.js').Fault[],
 *   segment: import('./segment.js').SegmentReport,
 * }} Report
 */
import {
  build,
  buildButton,
  buildCell,
  find,
  findInput,
  formatNumber,
  formatShare,
  keepRows,
} from '../parts/elements.js'
import { copyText, saveFile, writeCsv } from '../parts/files.js'
import { keepFilters, keepPager, setOptions } from '../parts/filters.js'
import { buildHeat } from '../parts/identifiers.js'
import { explainWords, keepFresh, showLive } from '../parts/live.js'
import { showFaults } from './faults.js'
import { showRefused } from './refused.js'
import { buildActionKey, buildTable, fillAction, findArrival } from './rows.js'
import { showSegment } from './segment.js'
import { startTour } from './tour.js'

const SHOWN = 50 // actions on a page, and messages to Segment
const EXPORTED = 2000 // actions: all that the sandbox keeps
const COUNTERS = ['actions', 'merged', 'browser_only', 'server_only', 'refused_requests']

const filters = keepFilters(/** @type {HTMLFormElement} */ (find('filters')), function () {
  pager.offset = 0
  load()
})
const pager = keepPager(find('pager'), SHOWN, () => void load())
let opensFirst = false // the first action that is shown next
const updateTour = startTour(function (name) {
  opensFirst = true
  filters.set({ name })
})

/** @param {string} visitor */
function followVisitor(visitor) {
  filters.set({ visitor })
  find('following').scrollIntoView({ block: 'nearest' })
}

/** @typedef {Action & { before: number | null }} Row `before`: when the one before came */

const showActions = keepRows(
  'actions',
  /** @param {Row} action */
  (action) => buildActionKey(action),
  (action, details) => fillAction(action, details, followVisitor, action.before),
)

/** @param {NameSummary} row */
function buildNameRow(row) {
  const expected = row.actions - row.none_expected - row.unclear
  const name = buildButton(row.event_name, () => filters.set({ name: row.event_name }), 'link')
  name.title = 'Show only these'
  const share = buildCell('Merged', 'number', formatShare(row.merged, expected))
  if (row.none_expected) share.append(build('small', '', ` ${row.none_expected} need none`))
  if (row.unclear) share.append(build('small', '', ` ${row.unclear} unclear`))
  const look = row.problems ? 'number bad' : 'number'
  return build(
    'tr',
    '',
    build('th', '', name),
    buildCell('Count', 'number', formatNumber(row.actions)),
    share,
    buildCell('Browser only', 'number', formatNumber(row.browser_only)),
    buildCell('Server only', 'number', formatNumber(row.server_only)),
    buildCell('To look at', look, formatNumber(row.problems)),
    build('td', 'wide', buildHeat(row.coverage, row.with_server)),
  )
}

let namesShown = ''

/** @param {NameSummary[]} names */
function showNames(names) {
  const text = JSON.stringify(names)
  if (text === namesShown) return // a focused button stays where it is
  namesShown = text
  find('names').replaceChildren(...names.map(buildNameRow))
  find('summary').hidden = !names.length
}

/** @param {Report} report */
function showLines({ pixel_ids, access_token }) {
  const pixel = pixel_ids[0] || ''
  find('pixel').textContent = 'Pixel ' + pixel_ids.join(', ')
  find('lines').textContent = [
    `export BRIDGE_PIXEL_ID=${pixel}`,
    `export BRIDGE_ACCESS_TOKEN=${access_token || '…  # the one given to --access-token'}`,
    "export BRIDGE_SECRET_KEY=$(python -c 'import secrets; print(secrets.token_hex(32))')",
    `export BRIDGE_GRAPH_URL=${location.origin}`,
    `export BRIDGE_PIXEL_SCRIPT_URL=${location.origin}/en_US/fbevents.js`,
  ].join('\n')
  find('graph').textContent = location.origin + '/v26.0/' + pixel + '/events'
  find('batch').textContent = location.origin + '/v1/batch'
}

/** @param {Report} report */
function show(report) {
  for (const name of COUNTERS) {
    const count = report.counters[name] || 0
    find('count-' + name).textContent = formatNumber(count)
    find('count-' + name).parentElement?.classList.toggle('some', count > 0)
  }
  const { actions = 0, server_only = 0 } = report.counters
  find('browser-share').textContent = formatShare(actions - server_only, actions)
  showLines(report)
  showFaults(report.faults)
  showRefused(report.requests)
  showNames(report.names)
  setOptions(
    find('filter-name'),
    report.names.map((row) => row.event_name),
  )
  setOptions(find('filter-source'), report.sources)
  const visitor = findInput('filter-visitor').value
  showActions(
    report.actions.map((action, index) => {
      const before = visitor ? report.actions[index - 1] : undefined
      return { ...action, before: before ? findArrival(before) : null }
    }),
  )
  const first = find('actions').querySelector('details')
  if (opensFirst && first) first.open = true
  opensFirst = opensFirst && !first
  updateTour(report.actions, report.shop)
  find('following').hidden = !visitor
  find('followed').textContent = visitor
  const forSegment = showSegment(report.segment)
  const isEmpty = !actions && !forSegment && !report.requests.length
  find('empty').hidden = !isEmpty
  find('list').hidden = isEmpty
  find('none').hidden = report.total > 0
  find('none').textContent = actions
    ? 'Nothing of what is kept is like this.'
    : 'No event has reached Meta.'
  pager.show(report.total)
}

/** @param {number} limit @param {number} offset @returns {Promise<Report>} */
async function ask(limit, offset) {
  const params = filters.read()
  params.set('limit', String(limit))
  params.set('offset', String(offset))
  const response = await fetch('/api/events?' + params)
  if (!response.ok) throw new Error(await response.text())
  return response.json()
}

const load = keepFresh(
  async () => show(await ask(SHOWN, pager.offset)),
  // The stream reports the next change, or that the sandbox is gone.
  (error) => error && console.warn(error),
)

const stream = new EventSource('/api/stream')
stream.addEventListener('message', load)
stream.addEventListener('open', () => showLive(true))
stream.addEventListener('error', () => showLive(false))
find('reset').addEventListener('click', function () {
  fetch('/api/events', { method: 'DELETE' }).catch(console.warn)
})
find('save-csv').addEventListener('click', async function () {
  const { actions } = await ask(EXPORTED, 0)
  saveFile('sandbox-events.csv', 'text/csv', writeCsv(buildTable(actions)))
})
find('save-json').addEventListener('click', async function () {
  const { actions } = await ask(EXPORTED, 0)
  saveFile('sandbox-events.json', 'application/json', JSON.stringify(actions, null, 2))
})
find('unfilter').addEventListener('click', () => filters.set({}))
find('unfollow').addEventListener('click', () => filters.set({}))
find('copy-lines').addEventListener('click', () => copyText(find('copy-lines'), find('lines')))
explainWords()
load()
