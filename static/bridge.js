// Bridge: fires the Meta Pixel's copy of each event and sees that the server has its twin.
// One classic script, served as written. It finds its server by its own address.
//
// What the server says stands in cookies: `_bridge_x` (settings) and one `_bridge_t_…` for each
// server-born event whose browser copy is still to be fired. What the browser says goes to collect.
;(() => {
  /**
   * @typedef {'granted' | 'limited' | 'denied' | 'pending'} State
   * @typedef {{ x?: string, p?: string[], d?: string, c?: State }} Settings external id, pixel ids,
   *   domain of our cookies, consent (else granted)
   * @typedef {{ n: string, i: string, d: Record<string, unknown> }} Twin name, id, custom data
   * @typedef {{ event_name: string, event_id: string, custom_data: object, url: string,
   *   referrer: string, at: number }} QueuedEvent `at` in Unix ms
   * @typedef {{ event_name: string, event_id: string, state: 'sent' | 'blocked' | 'unknown' }} Ack
   * @typedef {{ stored: string[], refused: { event_id: string, reason: string }[] }} Answer
   */

  // The server writes the configured address here; a cookie that named a script could be forged.
  const PIXEL_URL = 'https://connect.facebook.net/en_US/fbevents.js'
  const QUEUE_PREFIX = '_bridge.q.' // localStorage: one key an event, so tabs never overwrite
  const FIRED_KEY = '_bridge.fired'
  const MAX_FIRED = 50 // ids of twins that are remembered
  const MAX_QUEUED = 100 // events
  const MAX_QUEUED_AGE = 48 * 3600e3 // ms
  const MAX_BATCH = 20 // events of one request
  const MAX_REPORT = 20e3 // characters of one request; all in flight together may hold 64 KiB
  const CHOICE_MAX_AGE = 180 * 86400 // s
  const SIGHTING_TIMEOUT = 5e3 // ms until a hit nobody saw counts as unknown
  const RETRY_DELAY = 10e3 // ms
  const HIT_ROOM = 350 // characters of a hit for custom data; a hit of 2048 dies on navigation
  const LEAN_KEYS =
    'value currency content_type content_ids num_items order_id search_string content_name ' +
    'content_category predicted_ltv status'
  const STANDARD_EVENTS =
    'AddPaymentInfo AddToCart AddToWishlist CompleteRegistration Contact CustomizeProduct Donate ' +
    'FindLocation InitiateCheckout Lead PageView Purchase Schedule Search StartTrial ' +
    'SubmitApplication Subscribe ViewContent'

  const element = /** @type {HTMLScriptElement | null} */ (document.currentScript)
  const page_ = /** @type {any} */ (window)
  if (!element || page_.bridge?.track) return
  const base = new URL('.', element.src).href

  /** @type {Settings | undefined} */
  let settings
  let active = false // consent allows: nothing is fired, stored or sent before
  let begun = false // the pixel is initialised and this page's view was fired
  let own = false // the pixel is of our loading, not the page's
  let revoked = false // by us; a second revoke would wait behind the first and stick
  let watching = false
  let blocked = false
  const landing = { url: location.href, referrer: document.referrer }
  let view = location.href
  let referrer = document.referrer
  /** @type {(() => void)[]} */
  let waiting = [] // events to fire once consent allows
  /** @type {Map<string, QueuedEvent>} */
  const queued = new Map()
  /** @type {Map<string, { name: string, isTwin: boolean, timer: number }>} */
  const unseen = new Map() // events whose hit was not seen yet
  /** @type {Ack[]} */
  const acks = []
  let flushTimer = 0
  let choices = 0 // how often the visitor chose on this page: late answers do not count

  // --- reading what the server said ---

  /** @param {string} text URL-safe base64 of JSON */
  const decode = (text) => {
    const bytes = atob(text.replace(/-/g, '+').replace(/_/g, '/'))
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0))))
  }

  /** @param {string} prefix */
  const readCookies = (prefix) =>
    document.cookie
      .split('; ')
      .filter((cookie) => cookie.startsWith(prefix))
      .map((cookie) => /** @type {[string, string]} */ (cookie.split(/=(.*)/s)))

  const readSettings = async () => {
    for (const [name, value] of readCookies('_bridge_x=')) {
      try {
        const found = /** @type {Settings} */ (decode(value))
        // The cookie may be older than the browser's wish for privacy.
        const wish = /** @type {any} */ (navigator).globalPrivacyControl
        if (name && (found.c || !wish)) return found
      } catch {
        // damaged: ask the server instead
      }
    }
    const answer = await fetch(base + 'identity', { cache: 'no-store', credentials: 'include' })
    return /** @type {Settings} */ (await answer.json())
  }

  // --- the pixel ---

  /** @param {string} url */
  const loadPixel = (url) => {
    /** @type {any} */
    const stub = function () {
      if (stub.callMethod) stub.callMethod.apply(stub, arguments)
      else stub.queue.push(arguments)
    }
    stub.push = stub
    stub.loaded = true
    stub.version = '2.0'
    stub.queue = []
    // Our views carry ids; the pixel's own PageViews would not, and it drops all but the first.
    stub.disablePushState = true
    stub.allowDuplicatePageViews = true
    page_.fbq = stub
    page_._fbq ||= stub
    const library = document.createElement('script')
    library.async = true
    library.src = url
    library.onerror = () => {
      blocked = true
      for (const id of [...unseen.keys()]) settle(id, 'blocked')
    }
    document.head.append(library)
  }

  const begin = () => {
    if (!page_.fbq) {
      own = true
      loadPixel(PIXEL_URL)
    }
    limit()
    for (const id of (settings?.p || []).filter((id) => /^\d+$/.test(id)))
      page_.fbq('init', id, { external_id: settings?.x })
    if (own) page()
    begun = true
    if (watching) return
    watching = true
    watchRequests()
    watchViews()
  }

  // Other states than 0 make the pixel drop the option without a word.
  const limit = () => {
    if (settings?.c === 'limited') page_.fbq('dataProcessingOptions', ['LDU'], 0, 0)
    else if (begun) page_.fbq('dataProcessingOptions', [])
  }

  // What waits in the queue (for the library, or for a pixel's configuration) is dropped; and a
  // grant behind a waiting revoke would never be reached.
  const emptyQueue = () => {
    if (!page_.fbq?.queue?.length) return
    page_.fbq.queue.length = 0
    begun = false // its init may have been among them
  }

  const silence = () => {
    if (!begun || revoked) return
    emptyQueue()
    if (!page_.fbq.callMethod) return
    revoked = true
    page_.fbq('consent', 'revoke')
  }

  const resume = () => {
    if (!revoked) return
    revoked = false
    emptyQueue()
    page_.fbq('consent', 'grant')
  }

  /**
   * Keep what fits one hit, the most useful first; the server copy carries everything.
   * @param {Record<string, unknown>} data
   */
  const lean = (data) => {
    /** @type {Record<string, unknown>} */
    const kept = {}
    let room = HIT_ROOM
    for (const key of new Set([...LEAN_KEYS.split(' '), ...Object.keys(data)])) {
      const value = data[key]
      if (value == null) continue
      let text = ''
      try {
        text = typeof value === 'object' ? JSON.stringify(value) : String(value)
      } catch {
        continue // no JSON: neither copy could carry it
      }
      room -= encodeURIComponent(`&cd[${key}]=${text}`).length
      if (room >= 0) kept[key] = value
      else room += encodeURIComponent(`&cd[${key}]=${text}`).length
    }
    return kept
  }

  /**
   * @param {string} name
   * @param {Record<string, unknown>} data
   * @param {string} eventID
   */
  const fire = (name, data, eventID) => {
    const method = STANDARD_EVENTS.split(' ').includes(name) ? 'track' : 'trackCustom'
    page_.fbq(method, name, lean(data), { eventID })
  }

  // --- twins of server-born events ---

  /** @param {string} id @returns whether this browser never fired it */
  const remember = (id) => {
    try {
      const fired = /** @type {string[]} */ (JSON.parse(localStorage.getItem(FIRED_KEY) || '[]'))
      if (fired.includes(id)) return false
      localStorage.setItem(FIRED_KEY, JSON.stringify([id, ...fired].slice(0, MAX_FIRED)))
    } catch {
      // no storage: deleting the cookie is guard enough but for two tabs at once
    }
    return true
  }

  const takeTwins = () => {
    if (!active) return
    for (const [name, value] of readCookies('_bridge_t_')) {
      const domain = settings?.d ? `; Domain=.${settings.d}` : ''
      document.cookie = `${name}=; Max-Age=0; Path=/${domain}`
      try {
        const twin = /** @type {Twin} */ (decode(value))
        if (remember(`${twin.n} ${twin.i}`)) fireTwin(twin)
      } catch {
        // damaged: its server copy goes alone
      }
    }
  }

  // One tab at a time, where the browser can tell: two must not read the same cookie.
  const fireTwins = () => {
    heed()
    if (!document.cookie.includes('_bridge_t_')) return
    if (navigator.locks) navigator.locks.request('_bridge', takeTwins)
    else takeTwins()
  }

  /** @param {Twin} twin */
  const fireTwin = ({ n, i, d }) => {
    watch(n, i, true)
    fire(n, d, i)
  }

  // --- did it go out? ---

  // Meta merges on external id and fbp only if the browser copy came first. So the server is told
  // of an event (or that a twin was fired) only once its hit was seen, or is known not to come.
  /** @param {string} name @param {string} id @param {boolean} isTwin */
  const watch = (name, id, isTwin) => {
    const timer = setTimeout(() => settle(id, 'unknown'), blocked ? 0 : SIGHTING_TIMEOUT)
    unseen.set(id, { name, isTwin, timer })
  }

  /** @param {string} id @param {Ack['state']} state */
  const settle = (id, state) => {
    const fired = unseen.get(id)
    if (!fired) return
    unseen.delete(id)
    clearTimeout(fired.timer)
    if (blocked) state = 'blocked'
    if (fired.isTwin) acks.push({ event_name: fired.name, event_id: id, state })
    scheduleFlush(0)
  }

  const watchRequests = () =>
    new PerformanceObserver((list) => look(list.getEntries())).observe({
      type: 'resource',
      buffered: true,
    })

  // Each finished request is looked at: the pixel's own hits tell that an event went out, and any
  // fetch or XHR may have brought a new twin. Nothing of the page is patched for it.
  /** @param {PerformanceEntryList} entries */
  const look = (entries) => {
    let fetched = false
    for (const entry of /** @type {PerformanceResourceTiming[]} */ (entries)) {
      fetched ||= /^(fetch|xmlhttprequest|beacon)$/.test(entry.initiatorType)
      if (!unseen.size || !entry.name.includes('/tr')) continue
      for (const id of unseen.keys()) {
        if (`${entry.name}&`.includes(`eid=${encodeURIComponent(id)}&`)) settle(id, 'sent')
      }
    }
    if (fetched) fireTwins()
  }

  // --- events born here ---

  const newId = () => {
    if (crypto.randomUUID) return crypto.randomUUID()
    const bytes = crypto.getRandomValues(new Uint8Array(16)) // plain http has no randomUUID
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  }

  /**
   * @param {string} name
   * @param {Record<string, unknown>} [properties] Meta's custom data
   * @param {{ eventID?: string }} [options]
   * @returns the event id of both copies
   */
  const track = (name, properties, options) => {
    const id = String(options?.eventID || newId())
    const data = properties || {}
    heed()
    if (settings?.c === 'denied') return id
    /** @type {QueuedEvent} */
    const event = {
      event_name: name,
      event_id: id,
      custom_data: data,
      url: location.href,
      referrer,
      at: Date.now(),
    }
    const fits = queued.size < MAX_QUEUED && measure(event) < MAX_REPORT
    if (fits) queued.set(id, event)
    else console.warn('bridge: too large or too many events: the server gets no copy of this one')
    ready(() => {
      if (fits) keep(event)
      if (fits) watch(name, id, false)
      fire(name, data, id)
    })
    return id
  }

  /** @param {QueuedEvent} event @returns its length as JSON, or infinity if it has none */
  const measure = (event) => {
    try {
      return JSON.stringify(event).length
    } catch {
      return Infinity
    }
  }

  /** @param {QueuedEvent} event */
  const keep = (event) => {
    try {
      localStorage.setItem(QUEUE_PREFIX + event.event_id, JSON.stringify(event))
    } catch {
      // no storage or no room: kept for the life of this page
    }
  }

  const page = () => track('PageView')

  /** @param {() => void} call */
  const ready = (call) => {
    if (active) call()
    else if (waiting.length < MAX_QUEUED) waiting.push(call)
  }

  // --- the way to the server ---

  /** @param {number} delay ms */
  const scheduleFlush = (delay) => {
    clearTimeout(flushTimer)
    flushTimer = setTimeout(flush, delay)
  }

  // What earlier pages could not send. Damaged, old and surplus entries are removed.
  const recall = () => {
    try {
      const keys = Object.keys(localStorage).filter((key) => key.startsWith(QUEUE_PREFIX))
      for (const key of keys) {
        const text = localStorage.getItem(key) || ''
        localStorage.removeItem(key)
        if (!/^\{.*\}$/s.test(text) || text.length > MAX_REPORT) continue
        const event = /** @type {QueuedEvent} */ (JSON.parse(text))
        if (!(Date.now() - event.at < MAX_QUEUED_AGE) || queued.size >= MAX_QUEUED) continue
        queued.set(event.event_id, event)
        keep(event)
      }
    } catch {
      // no storage: nothing to recall
    }
  }

  /** @param {string} id */
  const forget = (id) => {
    queued.delete(id)
    try {
      localStorage.removeItem(QUEUE_PREFIX + id)
    } catch {
      // no storage: nothing to forget
    }
  }

  // The events to tell of now: their hits were seen, or given up.
  const pickEvents = () => {
    const picked = []
    let room = MAX_REPORT
    for (const event of queued.values()) {
      if (unseen.has(event.event_id)) continue
      room -= JSON.stringify(event).length
      if (picked.length && (room < 0 || picked.length === MAX_BATCH)) break
      picked.push(event)
    }
    return picked
  }

  /** @param {QueuedEvent[]} events */
  const buildReport = (events) =>
    JSON.stringify({
      events: events.map(({ at, ...event }) => ({
        ...event,
        age_ms: Math.max(0, Date.now() - at),
      })),
      acks: acks.splice(0, MAX_BATCH),
    })

  /** @param {string} path @param {string} body */
  const post = (path, body) =>
    fetch(base + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      credentials: 'include',
      keepalive: true,
      body,
    })

  const flush = async () => {
    const events = pickEvents()
    if (!active || (!events.length && !acks.length)) return
    try {
      const answer = await post('collect', buildReport(events))
      if (answer.status >= 500 || answer.status === 429) return scheduleFlush(RETRY_DELAY)
      const { stored = [], refused = [] } = /** @type {Answer} */ (await answer.json())
      stored.forEach(forget)
      refused.forEach(({ reason }) => console.warn(`bridge: ${reason}`))
      // What was neither stored nor put off would be refused again.
      events.forEach((event) => forget(event.event_id))
      scheduleFlush(0)
    } catch {
      scheduleFlush(RETRY_DELAY) // offline, or the page is leaving: the next one sends
    }
  }

  const leave = () => {
    for (const id of [...unseen.keys()]) settle(id, 'unknown')
    clearTimeout(flushTimer)
    const events = pickEvents()
    if (!active || (!events.length && !acks.length)) return
    const report = new Blob([buildReport(events)], { type: 'application/json' })
    navigator.sendBeacon(base + 'collect', report)
  }

  // --- views ---

  const watchViews = () => {
    const changed = () => {
      if (location.href.split('#')[0] === view.split('#')[0] || !active) return
      referrer = view
      view = location.href
      page()
    }
    for (const name of /** @type {const} */ (['pushState', 'replaceState'])) {
      const original = history[name]
      history[name] = function (...args) {
        original.apply(this, args)
        changed()
      }
    }
    addEventListener('popstate', changed)
    // Back from the back/forward cache the pixel sends a PageView by itself.
    addEventListener('pageshow', (event) => {
      if (event.persisted) fireTwins()
    })
    document.addEventListener('visibilitychange', heed)
  }

  // --- consent ---

  /** @param {Settings} found */
  const apply = (found) => {
    settings = found
    active = found.c !== 'denied' && found.c !== 'pending'
    if (!active) {
      if (found.c === 'denied') stop()
      return
    }
    resume()
    if (begun) limit()
    else begin()
    recall()
    const calls = waiting
    waiting = []
    calls.forEach((call) => call())
    fireTwins()
    scheduleFlush(0)
  }

  const stop = () => {
    silence()
    waiting = []
    acks.length = 0
    for (const { timer } of unseen.values()) clearTimeout(timer)
    unseen.clear()
    ;[...queued.keys()].forEach(forget)
    try {
      const ours = Object.keys(localStorage).filter((key) => key.startsWith('_bridge.'))
      ours.forEach((key) => localStorage.removeItem(key))
    } catch {
      // no storage: nothing to clear
    }
  }

  /** @param {'grant' | 'limit' | 'deny'} [word] @returns what holds now, for both halves */
  const consent = async (word) => {
    const mine = word ? ++choices : choices
    if (word === 'deny') refuse()
    await known
    if (word) {
      const state = { grant: 'granted', limit: 'limited', deny: 'denied' }[word]
      if (!state) throw new TypeError("bridge.consent: expected 'grant', 'limit' or 'deny'")
      const answer = await post('consent', JSON.stringify({ state, ...landing })).catch(() => null)
      if (answer?.ok && mine === choices) apply(await answer.json())
    }
    return settings?.c || 'granted'
  }

  // At once, whatever becomes of the request that tells the server.
  const refuse = () => {
    const place = `; Path=/; SameSite=Lax${settings?.d ? `; Domain=.${settings.d}` : ''}`
    document.cookie = `_bridge_c=denied; Max-Age=${CHOICE_MAX_AGE}${place}`
    document.cookie = `_bridge_x=; Max-Age=0${place}`
    apply({ c: 'denied', d: settings?.d })
  }

  // Another tab, or a page after this one, may have refused meanwhile.
  const heed = () => {
    const refused = /(^|; )_bridge_c=denied(;|$)/.test(document.cookie)
    if (refused && active) apply({ c: 'denied', d: settings?.d })
  }

  // --- start ---

  const prerendered = /** @type {any} */ (document).prerendering
  const shown = prerendered
    ? new Promise((resolve) => document.addEventListener('prerenderingchange', resolve))
    : Promise.resolve()
  const known = shown.then(readSettings).then(
    (found) => settings || apply(found), // a refusal may have come first
    () => {}, // the server does not answer: nothing is known to be allowed, nothing is done
  )

  const before = Array.isArray(page_.bridge) ? page_.bridge : []
  const api = {
    track,
    page,
    consent,
    identity: () => (settings?.x ? { external_id: settings.x } : null),
    /** @param {[string, any?, any?, any?]} call */
    push: ([name, ...args]) => /** @type {any} */ (api)[name](...args),
  }
  page_.bridge = api
  before.forEach(api.push)
  addEventListener('pagehide', leave)
})()
