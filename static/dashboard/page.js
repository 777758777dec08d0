/** The dashboard: asks every few seconds while somebody looks at it. */
import { find, findInput, renewChildren } from '../parts/elements.js'
import { saveFile, writeCsv } from '../parts/files.js'
import { keepFilters, keepPager, setOptions } from '../parts/filters.js'
import { explainWords, keepFresh, showLive } from '../parts/live.js'
import { drawChart } from './chart.js'
import { showDead } from './dead.js'
import { buildTable as buildEventTable, showEvents } from './list.js'
import { buildTable as buildNameTable, chooseRows, showOverview } from './overview.js'
import { showQuality } from './quality.js'
import { ask, showTrouble } from './server.js'

const EVERY_MS = 5000 // between two looks
const SHOWN = 50 // events on a page
const SAVED = 4000 // events in a file: all that are looked at

/** @type {import('./overview.js').Overview | null} */
let last = null

/** @returns {HTMLFormElement} */
function findForm(/** @type {string} */ id) {
  return /** @type {HTMLFormElement} */ (find(id))
}

function reload() {
  pager.offset = 0
  load()
}

const filters = keepFilters(findForm('filters'), reload)
// The events' own filters are not kept in the address.
findForm('events-filters').addEventListener('submit', (event) => event.preventDefault())
findForm('events-filters').addEventListener('input', reload)
const pager = keepPager(find('pager'), SHOWN, () => void load())

/** @param {number} limit @param {number} offset */
function buildQuery(limit, offset) {
  const params = filters.read()
  for (const [name, value] of new FormData(findForm('events-filters'))) {
    if (value) params.set(name, String(value))
  }
  // By default all that waits is listed, however old it is.
  if (!params.get('day')) params.delete('days')
  params.set('limit', String(limit))
  params.set('offset', String(offset))
  return params
}

/** @param {string} name */
function chooseName(name) {
  filters.set({ ...Object.fromEntries(filters.read()), name })
}

/** @param {string} day */
function chooseDay(day) {
  filters.set({ ...Object.fromEntries(filters.read()), day })
}

let charted = ''

/** @param {import('./overview.js').Overview} overview */
function showAll(overview) {
  last = overview
  showOverview(overview, findInput('filter-problems').checked, chooseName)
  setOptions(find('filter-name'), overview.event_names)
  setOptions(
    find('filter-destination'),
    overview.destinations.map((each) => each.name),
  )
  const [since, until] = overview.days
  find('names-title').textContent =
    'By event name, ' + (since === until ? since : `${since} to ${until}`)
  const room = find('chart').clientWidth
  const text = JSON.stringify([room, overview.series])
  if (text === charted) return
  charted = text
  renewChildren(find('chart'), [drawChart(overview.series, room, chooseDay)])
}

async function loadOnce() {
  const query = filters.read()
  const chosen = {
    destination: query.get('destination') || '',
    name: query.get('name') || '',
    day: query.get('day') || '',
  }
  const [overview, events, dead] = await Promise.all([
    ask('api/overview?' + query),
    ask('api/events?' + buildQuery(SHOWN, pager.offset)),
    ask('api/dead?' + new URLSearchParams(chosen)),
  ])
  showAll(overview)
  showEvents(events)
  setOptions(find('filter-source'), events.sources)
  pager.show(events.total)
  const { name, day } = chosen
  showDead(dead, { name, day }, overview.now, done)
}

/** @param {string} said */
function done(said) {
  find('dead-said').hidden = false
  find('dead-said').textContent = said
  load()
}

const load = keepFresh(loadOnce, function (error) {
  showLive(!error)
  showTrouble(error)
})

find('unfilter').addEventListener('click', () => filters.set({ days: '7' }))
find('save-figures').addEventListener('click', function () {
  const rows = chooseRows(last ? last.rows : [], findInput('filter-problems').checked)
  saveFile('bridge-figures.csv', 'text/csv', writeCsv(buildNameTable(rows)))
})
find('save-events').addEventListener('click', async function () {
  try {
    const { events } = await ask('api/events?' + buildQuery(SAVED, 0))
    saveFile('bridge-events.csv', 'text/csv', writeCsv(buildEventTable(events)))
  } catch (error) {
    showTrouble(error)
  }
})
explainWords()
document.addEventListener('visibilitychange', function () {
  if (!document.hidden) load()
})
setInterval(function () {
  if (!document.hidden) load()
}, EVERY_MS)
load()
ask('api/quality')
  .then(showQuality)
  .catch(() => showQuality({ asked: true, error: 'It could not be read.' }))
