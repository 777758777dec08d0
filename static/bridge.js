// Bridge: gives each event the same id in the Meta Pixel and on the server.
// scripts/minify turns this file into bridge.min.js, which is served. The script finds its server
// by its own address.
//
// Strategy: every call of `fbq` goes through `handleCall`, whoever made it and whoever loaded the
// pixel. There it waits for consent, gets an id, and a copy of it is queued for the server. So a
// page's own pixel, ours, and `bridge.track` behave alike. Hits that the pixel makes by itself are
// caught where they leave: in `Image`.
//
// The server speaks through cookies: `_bridge_x` (settings) and one `_bridge_t_…` for each
// server-born event whose browser copy is still to be fired. The browser reports to `collect`.
;(() => {
  /**
   * @typedef {'granted' | 'limited' | 'denied'} Choice
   * @typedef {Choice | 'pending'} ConsentState
   * @typedef {{ x?: string, d?: string, c?: ConsentState }} Settings
   *   external id, domain of our cookies, consent (granted if missing)
   * @typedef {{ n: string, i: string, d?: Record<string, unknown>, u?: string }} Twin name, id,
   *   custom data, what to ask the server if it may not have stored the event
   * @typedef {'sent' | 'blocked' | 'unknown'} CopyState
   * @typedef {{ event_name: string, event_id: string, custom_data: unknown, url: string,
   *   referrer: string, at: number, state?: CopyState, pixel_id?: string, external_id?: string,
   *   user_data?: Record<string, string>, no_cookies?: true,
   *   data_processing_options?: unknown[] }} QueuedEvent `at` in Unix ms
   * @typedef {{ event_name: string, event_id: string, state: CopyState }} Ack
   * @typedef {{ stored: string[], refused: { event_id: string }[] }} Answer
   * @typedef {any[]} Call the arguments of `fbq`
   * @typedef {{ url: string, referrer: string, at: number }} Moment where and when it happened
   * @typedef {[call: Call, ours: boolean, moment: Moment]} WaitingCall
   */

  // The server writes the configured address here: a cookie could be forged, and name any script.
  const PIXEL_URL = 'https://connect.facebook.net/en_US/fbevents.js'
  const pixelIds = ['__PIXEL_IDS__'] // ours, written here for the same reason
  const PREFIX = '__PREFIX__'
  const BANNER = '__CONSENT_COOKIE__' // the banner's cookie and a `=`, followed without a reload
  const QUEUE_PREFIX = '_bridge.q.' // localStorage: a key for each event, so tabs never overwrite
  const FIRED_KEY = '_bridge.t' // [key, until when a window has it in Unix ms], newest first
  const FIRED = 9e15 // ms: for ever
  const MAX_FIRED = 50 // twins whose keys are kept
  const MAX_QUEUED = 500 // events
  const MAX_QUEUED_AGE = 48 * 3600e3 // ms
  const MAX_BATCH = 20 // events in one request
  const MAX_REPORT = 20e3 // characters in one request; browsers allow 64 KiB in flight
  const CHOICE_MAX_AGE = 180 * 86400 // s
  const STATE_TIMEOUT = 5e3 // ms until a hit that was not seen counts as unknown
  const LIBRARY_TIMEOUT = 30e3 // ms until a library that is not there yet will not come
  const REVOKED_DELAY = 2e3 // ms: consent managers revoke on each page, and grant at once
  const FLUSH_DELAY = 50 // ms, to send several reports in one request
  const RETRY_DELAY = 10e3 // ms
  const TWIN_LOCK = 2e3 // ms
  const PROBE_DELAY = 500 // ms
  const MAX_DELAY = 1e9 // ms; beyond 2^31 a timer fires at once
  // URL-encoded characters of custom data, page address and referrer in one hit. With the rest of
  // it, a hit stays below 2048; above, the pixel uses a transport that dies on navigation.
  const HIT_ROOM = 800
  const MIN_DATA_ROOM = 60 // at least this for data: value and currency
  const KEPT_FIRST = 'value currency content_ids content_type order_id'
  const VIEW = 'PageView'
  const DATA_USE = 'dataProcessingOptions'
  const HIT = /\/tr\/?(\?|$)/
  const LIBRARY = /\/(fbevents\.js|signals\/config\/)/

  const page_ = /** @type {any} */ (window)
  if (page_._bridge) return
  // A module, Rocket Loader or a tag manager leaves no current script, or one without an address.
  const [{ src = '' }, other] = /** @type {any[]} */ ([
    document.currentScript || {},
    document.querySelector(`script[src*="${PREFIX}/bridge."]`),
  ])
  const base = new URL('.', src || other?.src || location.origin + PREFIX + '/').href

  /** @type {Settings | undefined} */
  let settings
  let active = false // consent is given: before that, nothing is fired, stored or sent
  let paused = false // the page itself revoked consent with `fbq('consent', 'revoke')`
  /** @type {unknown[] | undefined} */
  let pageLimit // Limited Data Use, as the page itself told the pixel
  let isLimitedByPage = false // on this page, or on one before
  let noCookies = false // the page told the pixel so
  let hasInit = false // the page initialised one of our pixels itself: its views are its own
  let revoked = false // in the pixel; a second revoke would wait behind the first
  let limited = false
  let blocked = false // the pixel cannot work on this page
  let loading = false
  let view = location.href
  let referrer = document.referrer
  const landing = view
  let viewId = '' // event id of this page's PageView
  /** @type {Record<string, string[]>} */
  let automatic = {} // of an event that the pixel is making by itself: its id, and pixels that sent
  /** @type {WaitingCall[]} */
  let waitingCalls = [] // until consent is given
  /** @type {string[]} */
  let newPixels = [] // that the page initialised since this page's PageView
  /** @type {Set<string>} */
  const initialised = new Set() // our pixels whose init was sent, though it may still wait
  /** @type {Map<string, QueuedEvent>} */
  const queued = new Map() // by their keys in localStorage
  let batch = MAX_BATCH
  // By an event's name and id, joined: apps give one id to several events.
  /** @type {Map<string, Ack | undefined>} */
  const unseen = new Map() // events whose hit was not seen yet; a twin's with what to acknowledge
  const known = new Set() // events that need no further server copy
  /** @type {Map<string, string>} */
  const firing = new Map() // twins that this window fires, with their cookies
  /** @type {Ack[]} */
  let acks = []
  let flushTimer = 0
  let flushing = false
  let resumeAt = 0 // Unix ms: nothing is sent before
  let choiceCount = 0 // made on this page so far: only the answer to the last one counts
  let choosing = 0 // choices under way
  let asked = 0 // times that the server was asked what holds: only the last answer counts
  let lock = 0 // of twins: 1 asked for, 2 held
  let isLeft = false // for another page of this server, that will fire what comes meanwhile
  let takeUpTimer = 0
  /** @type {string | undefined} */
  let seenConsent // the cookies that consent was last read from

  /**
   * Do what a browser may forbid, or what text from elsewhere may make fail; ignore the error.
   * @template T
   * @param {() => T} work
   * @returns {T | undefined}
   */
  const attempt = (work) => {
    try {
      return work()
    } catch {
      return undefined
    }
  }

  // 128 bits. Not randomUUID: plain http has none.
  const newId = () => crypto.getRandomValues(new Uint32Array(4)).join('-')

  /** @returns {Moment} */
  const now = (url = location.href) => ({ url, referrer, at: Date.now() })

  /**
   * Listen before the page's own listeners do.
   * @param {EventTarget} target
   * @param {string} name
   * @param {(event: any) => void} work
   */
  const on = (target, name, work) => target.addEventListener(name, work, true)

  // --- what the server says ---

  /** @param {string} prefix @returns names and values; a damaged value is undefined */
  const readCookies = (prefix) =>
    document.cookie
      .split('; ')
      .filter((cookie) => cookie.startsWith(prefix))
      .map((cookie) => cookie.split('='))
      .map(([name, value]) => [
        name,
        attempt(() => JSON.parse(atob(/** @type {string} */ (value)))),
      ])

  // A Blob: fetch and sendBeacon both send its type.
  /** @param {unknown} value */
  const toBody = (value) => new Blob([JSON.stringify(value)], { type: 'application/json' })

  /** @param {string} path @param {object} [value] of a POST */
  const request = (path, value) =>
    fetch(base + path, {
      method: value && 'POST',
      cache: 'no-store',
      credentials: 'include',
      keepalive: true,
      body: value && toBody(value),
    })

  /** @param {string} path @param {object} [value] */
  const requestJson = async (path, value) => {
    const answer = await request(path, value)
    if (!answer.ok) throw answer
    return answer.json()
  }

  /** @param {boolean} [isStale] whether the cookie is older than what the visitor chose */
  const readSettings = async (isStale) => {
    // It may be older than the browser's Global Privacy Control.
    const gpc = /** @type {any} */ (navigator).globalPrivacyControl
    const found = readCookies('_bridge_x').find(([, value]) => value && (value.c || !gpc))
    // A server on another subdomain has not seen the click id of this page's address.
    return /** @type {Settings} */ (
      found && !isStale ? found[1] : requestJson('identity' + new URL(landing).search)
    )
  }

  /**
   * Learn what holds. Only the last question counts, and none that was asked before a choice.
   * @param {boolean} [isStale]
   */
  const loadSettings = async (isStale) => {
    const [number, choices] = [++asked, choiceCount]
    const found = await readSettings(isStale).catch((error) => {
      if (number === 1 && error.status) console.warn('Bridge:', base, error.status)
    })
    if (number !== asked || (settings && choices !== choiceCount)) return
    if (found) apply(found)
    else setTimeout(loadSettings, RETRY_DELAY, isStale) // without an answer, nothing is allowed
  }

  // --- the pixel ---

  /** @param {...any} call */
  const intercept = (...call) => handleCall(call)

  // Also true where a blocker has put something else in the pixel's place.
  // A page may have wrapped it; what a blocker has put there has no library beneath.
  const found = page_.fbq?.queue ? page_.fbq : page_._fbq?.callMethod && page_._fbq
  const own = !found
  /** @type {any} */
  const pixel = found || intercept
  if (own) {
    page_.fbq = Object.assign(pixel, {
      push: pixel,
      loaded: true,
      version: '2.0',
      queue: [],
      // Our views carry ids; the pixel's own PageViews would not, and it drops all but the first.
      disablePushState: true,
      allowDuplicatePageViews: true,
    })
    page_._fbq = pixel // the library warns if the two differ
  }
  /** @type {((...call: Call) => void) | undefined} */
  let library // the pixel's own function, once loaded
  let holder = pixel // what the library found as `fbq`: a page may have wrapped it by then
  // Until then the page may say things that must come before our `init`.
  let early = own && document.readyState === 'loading'

  const states = () => /** @type {any[]} */ (holder.getState?.().pixels || [])

  const hasSent = () => states().some((state) => state.eventCount)

  /** @param {Call} call @param {string} id */
  const isInitOf = ([method, of], id) => method === 'init' && String(of) === id

  /** @param {string} id */
  const stateOf = (id) => states().find((state) => state.id === id)

  /** @param {Call} call */
  const send = (call) => {
    if (blocked) return // nothing would ever empty the queue
    if (library) library.apply(holder, call)
    else [].push.call(pixel.queue, /** @type {never} */ (call)) // its own `push` is ours
  }

  /** @param {Call} call of an event */
  const keyOfCall = (call) => call[/Single/.test(call[0]) ? 2 : 1] + call.at(-1)?.eventID

  // Called after each script that loads. Wraps once: if others wrap ours, twice would be a loop.
  const wrapLibrary = () => {
    const found = [pixel, page_.fbq].find((each) => each?.callMethod)
    if (!found || library) return
    delete pixel.queue.push
    library = found.callMethod
    holder = found
    pixel.callMethod = found.callMethod = intercept
    if (found.queue === pixel.queue) return
    // The library looks for calls there, and found none.
    const calls = pixel.queue.splice(0)
    pixel.queue = found.queue ||= []
    calls.forEach(send)
  }

  const loadPixel = () => {
    if (!own || loading || !pixelIds.length) return
    loading = true
    try {
      const script = document.createElement('script')
      const policy = page_.trustedTypes?.createPolicy('bridge', {
        createScriptURL: (/** @type {string} */ url) => url,
      })
      script.async = true
      script.src = policy ? policy.createScriptURL(PIXEL_URL) : PIXEL_URL
      document.head.append(script)
    } catch (error) {
      console.warn('Bridge:', error) // trusted-types of the page's policy lacks `bridge`
      block()
    }
  }

  // With a country or state other than 0 the pixel would silently ignore the option.
  const limitDataUse = () => {
    if (limited && !pageLimit) send([DATA_USE, []])
    limited = settings?.c === 'limited'
    if (limited && !pageLimit) send([DATA_USE, ['LDU'], 0, 0])
  }

  /** @param {Call} call @returns whether to pass it on: a page may limit, and not lift our limit */
  const noteLimit = ([, options, ...place]) => {
    const [country = 0, state = 0] = place
    const isTaken = /^([01],(0|1000))?$/.test(place.join())
    if (options?.[0] === 'LDU') {
      if (!isTaken) return !limited // the pixel ignores it
      pageLimit = ['LDU', country, state]
      isLimitedByPage = true
    } else if (limited) return false
    else {
      pageLimit = undefined
      isLimitedByPage = false
    }
    tellServer()
    return true
  }

  const readWord = () => attempt(() => /\b_bridge_l=(\w*)/.exec(document.cookie)?.[1]) || ''

  // What the page told the pixel counts for what is born on the server, too, until the browser is
  // closed. It only lowers: the server heeds nothing else there.
  const tellServer = () => {
    const before = readWord()
    const value = paused ? 'pending' : (isLimitedByPage ? 'limited' : '') + (noCookies ? '_' : '')
    if (settings && value !== before) setCookie('_bridge_l', value)
    return before
  }

  // Calls that wait for the library or for a pixel's configuration are taken back: the pixel would
  // never reach a grant behind a waiting revoke.
  const pausePixel = () => {
    for (const call of pixel.queue.splice(0)) {
      const key = keyOfCall(call)
      if (key === VIEW + viewId) viewId = ''
      if (firing.has(key)) giveBack(key)
      else if (call[0] !== 'consent') {
        forget(key) // it is recorded anew when it is sent
        handleCall([...call], call[0] === 'init' && !hasInit)
      }
    }
    initialised.clear()
    if (!library || revoked || !states().length) return
    revoked = true
    library('consent', 'revoke')
  }

  const resumePixel = () => {
    if (!revoked || !library) return
    revoked = false
    pixel.queue.length = 0 // calls that the pixel made by itself meanwhile
    library('consent', 'grant')
  }

  // --- calls of the pixel ---

  /**
   * Return a call in the words of today: the pixel knows older ones, too.
   * @param {Call} given
   * @returns {Call}
   */
  const readCall = (given) => {
    const isList = !given[1] && Array.isArray(given[0])
    let [method, name, ...rest] = isList ? given[0] : given
    const [, reported] = /^report(\w+)/.exec(method) || []
    if (reported) {
      rest.unshift(name)
      ;[method, name] = ['track', reported]
    } else if (method === 'send' || (isList && method === 'track')) method = 'trackCustom'
    if (method === 'track' && name === 'CustomEvent') name = rest[0]?.event || name
    return [method, name, ...rest]
  }

  /**
   * Pass a call of `fbq` on to the pixel, the page's or ours, with what we add.
   * @param {Call} given
   * @param {boolean} [ours]
   * @param {Moment} [moment]
   */
  const handleCall = (given, ours = false, moment = now()) => {
    const call = ours ? given : readCall(given)
    const [method, id] = call
    const kind = /^track(Single)?(Custom)?$/.exec(method)
    const isInit = method === 'init'
    if (kind) followConsent()
    if (isInit && !ours && pixelIds.includes(String(id))) hasInit = true
    if (method === 'consent') handleConsent(id)
    else if (!active) {
      const isUnwanted = kind && settings?.c === 'denied'
      if (waitingCalls.length < MAX_QUEUED && !isUnwanted) waitingCalls.push([call, ours, moment])
      if (hasInit) begin()
    } else if (kind) {
      handleEvent(call, kind[1], ours, moment)
    } else if (isInit ? handleInit(call, String(id)) : method !== DATA_USE || noteLimit(call))
      send(call)
  }

  // The page has said what must come before our `init`.
  const begin = () => {
    if (!early) return
    early = false
    if (settings) apply(settings)
  }

  /** @param {string} action of the page's */
  const handleConsent = (action) => {
    const before = paused
    paused = action === 'revoke' || (paused && action !== 'grant')
    if (paused === before) {
      // It may have been revoked before this script came; else it changes nothing.
      if (action === 'grant' && library) send(['consent', action])
    } else if (settings) {
      tellServer()
      if (!paused && settings.c === 'pending') loadSettings(true)
      else apply(settings)
    }
    if (paused && !before)
      setTimeout(
        () => paused && request('consent', { state: 'revoked' }).catch(() => {}),
        REVOKED_DELAY,
      )
  }

  /** @param {Call} call @param {string} id @returns whether to pass it on */
  const handleInit = (call, id) => {
    if (pixelIds.includes(id)) {
      const waiting = pixel.queue.find((/** @type {Call} */ call) => isInitOf(call, id))
      const userData = typeof call[2] === 'object' ? { ...call[2] } : {}
      userData.external_id ||= settings?.x
      if (waiting) Object.assign(waiting[2], userData)
      if (initialised.has(id) || Object.keys(stateOf(id)?.userData || {})[0]) return false
      initialised.add(id)
      call[2] = userData
    }
    newPixels.push(id)
    return true
  }

  /** @param {Call} call @param {string | undefined} single @param {boolean} ours @param {Moment} moment */
  const handleEvent = (call, single, ours, moment) => {
    const start = call.slice(0, single ? 3 : 2) // up to the name
    const name = start.at(-1)
    const [properties, options] = call.slice(start.length)
    const data = Object(properties) === properties ? properties : {}
    const ownId = options?.eventID ?? options?.event_id
    // For a pixel that is not ours, or with a name or id that the pixel would not accept.
    const isForeign = single && !pixelIds.includes(call[1])
    if (isForeign || typeof name !== 'string' || Object(ownId) === ownId) return send(call)
    const isView = name === VIEW && !single
    if (isView && !ours && (own || !pixel.allowDuplicatePageViews)) {
      // The pixel decides whether to send it; a hit that leaves gets its id in `stampHit`.
      if (isLate) return send(call)
      if (viewId) return sendViewToNewPixels(data)
    }
    const id = String(ownId || newId())
    // The page may fire itself what the server tracks: whichever comes first.
    if (ownId && !ours && (firing.has(name + id) || readMark(name + id) === FIRED)) return
    if (isView) {
      viewId = id
      newPixels = []
    }
    record(name, id, data, moment, single && pixelIds[1] && call[1])
    // What the page itself says is sent as a whole, by whatever carries it.
    const sent = ours ? trim(data) : data
    const rest = [attempt(() => tidy(sent)) || sent, { ...options, eventID: id }]
    // A page's own pixel would drop a second PageView.
    if (isView && !own && ours) pixelIds.forEach((one) => send(['trackSingle', one, name, ...rest]))
    else send([...start, ...rest])
  }

  /** @param {unknown} data of a PageView that the other pixels already have */
  const sendViewToNewPixels = (data) =>
    newPixels.splice(0).forEach((id) => send(['trackSingle', id, VIEW, data, { eventID: viewId }]))

  /** @param {any} data @returns it with money as the server copy has it */
  const tidy = ({ ...data }) => {
    const { currency, value } = data
    if (currency) data.currency = currency.trim().toUpperCase()
    if (/^\s*\d+(\.\d+)?\s*$/.test(value)) data.value = +value
    return data
  }

  /**
   * Keep what fits one hit, the most useful first. The server copy carries everything; the server
   * trims a twin's data in the same way (bridge/browser/script_cookies.py).
   * @param {any} data
   */
  const trim = (data) => {
    /** @type {Record<string, unknown>} */
    const kept = {}
    const taken = encodeURIComponent(location.href + referrer).length
    let room = Math.max(HIT_ROOM - taken, MIN_DATA_ROOM)
    for (const key of new Set([...KEPT_FIRST.split(' '), ...Object.keys(data)])) {
      const length = attempt(
        () => encodeURIComponent('&cd[]=' + key + JSON.stringify(data[key])).length,
      )
      // Without a length it is not JSON: neither copy could carry it.
      if (data[key] == null || !length || length > room) continue
      kept[key] = data[key]
      room -= length
    }
    return kept
  }

  // --- twins of server-born events ---

  /** @returns {[key: string, until: number][]} */
  const readMarks = () => JSON.parse(localStorage[FIRED_KEY] || '[]')

  /** @param {string} key @returns until when a window has that twin; undefined without storage */
  const readMark = (key) => attempt(() => readMarks().find(([each]) => each === key)?.[1] || 0)

  /** @param {string} key @param {number} until */
  const mark = (key, until) =>
    attempt(() => {
      localStorage[FIRED_KEY] = JSON.stringify(
        [[key, until], ...readMarks().filter(([each]) => each !== key)].slice(0, MAX_FIRED),
      )
    })

  // A twin's cookie stays until its hit was made, so that another page can fire it if this one is
  // left before; meanwhile a mark in the storage keeps other windows from it.
  const fireTwins = () => {
    if (!active || isLeft) return
    for (const [name, twin] of readCookies('_bridge_t_')) {
      const { n, i, u } = Object(twin)
      const key = n + i
      const until = i ? readMark(key) : FIRED
      if (firing.has(key) || (until && until > Date.now() && until < FIRED)) continue
      const isFired = until === FIRED || known.has(key)
      // Without storage, only two tabs at once can fire a twin twice.
      if (isFired || until === undefined) setCookie(name)
      /** @type {Ack} */
      const ack = { event_name: n, event_id: i, state: 'sent' }
      if (!isFired) {
        firing.set(key, name)
        mark(key, Date.now() + LIBRARY_TIMEOUT)
        if (u)
          request('twin?u=' + u)
            .then((answer) => (answer.ok ? fireTwin(twin, ack) : finish(key)))
            .catch(() => giveBack(key))
        else fireTwin(twin, ack)
      } else if (i && unseen.has(key)) unseen.set(key, ack)
      else if (i && !known.has(name)) acks.push(ack)
      known.add(name) // once
    }
  }

  /** @param {string} key of an event whose hit was made, or will not be */
  const finish = (key) => {
    const name = firing.get(key)
    if (!name) return
    setCookie(name)
    mark(key, FIRED)
    firing.delete(key)
  }

  /** @param {string} key of a twin that another page shall fire */
  const giveBack = (key) => {
    mark(key, 0)
    firing.delete(key)
    forget(key)
  }

  // The lock is held until another process sees that the cookie is gone: that takes a moment.
  const fireAlone = () => {
    lock = 2
    fireTwins()
    return new Promise((done) => setTimeout(done, TWIN_LOCK))
  }

  // In one tab at a time, where the browser has locks: two must not read the same cookie.
  const checkTwins = () => {
    followConsent()
    // A sandboxed frame may not even read its cookies; it never becomes active.
    if (!active || lock === 1 || !document.cookie.includes('_bridge_t_')) return
    if (lock) return fireTwins()
    lock = 1
    ;(navigator.locks?.request('_bridge', fireAlone) || fireAlone()).finally(() => (lock = 0))
  }

  /** @param {Twin} twin @param {Ack} ack */
  const fireTwin = ({ n, i, d }, ack) => {
    if (!active) return giveBack(n + i)
    watchHit(n, i, ack)
    send(['trackCustom', n, trim(Object(d)), { eventID: i }])
  }

  // --- was the browser copy sent? ---

  // Meta merges on external id and fbp only if the browser copy came first. So an event, or that a
  // twin was fired, is reported to the server only once its hit was seen, or will not come.
  /** @param {string} name @param {string} id @param {Ack} [ack] a twin's */
  const watchHit = (name, id, ack) => {
    const key = name + id
    unseen.set(key, ack)
    known.add(key)
    if (blocked) settle(key, 'blocked')
    const begun = Date.now()
    const check = () => {
      if (!unseen.has(key)) return
      // The library may have failed before this script listened for its error.
      const isLoaded = (/** @type {any} */ { name, initiatorType }) =>
        initiatorType === 'script' && isLibrary(name)
      if (!library && performance.getEntriesByType('resource').some(isLoaded)) block()
      const isSlow = !library && !blocked && Date.now() - begun < LIBRARY_TIMEOUT
      if (isSlow) setTimeout(check, STATE_TIMEOUT)
      // With no hit at all, the events wait for a configuration that will not come.
      else settle(key, library && !hasSent() ? 'blocked' : 'unknown')
    }
    setTimeout(check, STATE_TIMEOUT)
  }

  /** @param {string} key @param {(event: QueuedEvent, place: string) => void} work */
  const eachOf = (key, work) =>
    queued.forEach((event, place) => keyOf(event) === key && work(event, place))

  /** @param {QueuedEvent} event */
  const keyOf = (event) => event.event_name + event.event_id

  /** @param {string} key of an event that is not to be reported */
  const forget = (key) => {
    unseen.delete(key)
    known.delete(key)
    eachOf(key, (_, place) => {
      queued.delete(place)
      attempt(() => delete localStorage[place])
    })
  }

  /** @param {string} key @param {CopyState} state */
  const settle = (key, state) => {
    const ack = unseen.get(key)
    if (!unseen.delete(key)) return
    if (ack) acks.push({ ...ack, state })
    finish(key)
    eachOf(key, (event, place) => {
      event.state = state
      keep(place, event) // other windows leave it alone until then
    })
    scheduleFlush(FLUSH_DELAY)
  }

  /** @param {CopyState} state */
  const settleAll = (state) => unseen.forEach((_, key) => settle(key, state))

  const block = () => {
    blocked = true
    // A blocker's empty function would swallow the page's calls; a pixel that works stays.
    if (!page_.fbq?.callMethod) page_.fbq = pixel
    pixel.queue.length = 0
    settleAll('blocked')
  }

  /** @param {any} url */
  const isLibrary = (url) => url === PIXEL_URL || LIBRARY.test(url)

  /** @param {URLSearchParams | FormData} hit @param {string} name */
  const read = (hit, name) => String(hit.get(name) || '')

  /** @param {URLSearchParams | FormData} hit */
  const keyIn = (hit) => read(hit, 'ev') + read(hit, 'eid')

  /** @param {URLSearchParams | FormData} hit @param {string} group such as `ud`, of `ud[em]` */
  const readGroup = (hit, group) => {
    /** @type {Record<string, string>} */
    const found = {}
    hit.forEach((value, name) => {
      if (name.startsWith(group + '[')) found[name.slice(group.length + 1, -1)] = String(value)
    })
    return found
  }

  /**
   * Meet a hit where it leaves, whatever carries it. One that did not come through us gets a server
   * copy, and an id if it has none: a PageView after a return from the back/forward cache, or on
   * any navigation if the page's pixel was there first. A gateway's own id is taken over. What the
   * pixel's automatic configuration makes (`es`) needs none.
   * @param {URLSearchParams | FormData} hit
   * @returns {[key: string, newId: string]} the id to add, if it has none
   */
  const meetHit = (hit) => {
    const [name, pixelId] = [read(hit, 'ev'), read(hit, 'id')]
    let id = read(hit, 'eid')
    const isNew = !id
    const isOurs = active && pixelIds.includes(pixelId)
    if (!isOurs || (hit.has('es') && !known.has(name + id))) return [name + id, '']
    if (isNew) {
      // The hits of all pixels are made in one task; a pixel's second is another event's.
      if (automatic[name]?.includes(pixelId)) delete automatic[name]
      const sent = (automatic[name] ||= [newId()])
      sent.push(pixelId)
      id = /** @type {string} */ (sent[0])
      setTimeout(() => (automatic = {}))
    }
    const key = name + id
    if (!known.has(key)) record(name, id, readGroup(hit, 'cd'), now())
    finish(key)
    const matching = readGroup(hit, 'ud') // hashed by the pixel
    // The page may have limited it before this script came.
    if (!limited && read(hit, 'dpo'))
      noteLimit([DATA_USE, ['LDU'], +read(hit, 'dpoco'), +read(hit, 'dpost')])
    noCookies = !hit.has('fbp')
    tellServer()
    eachOf(key, (event) => {
      event.no_cookies = noCookies || undefined
      if (hit.get('dpo')) event.data_processing_options = pageLimit
      if (matching.external_id === event.external_id) delete matching.external_id
      if (Object.keys(matching)[0]) event.user_data = matching
    })
    return [key, isNew ? id : '']
  }

  // A second request shows whether the first was blocked.
  /** @param {string} url @param {string} key */
  const probe = (url, key) =>
    unseen.has(key) &&
    fetch(/** @type {string} */ (url.split('?')[0]), { mode: 'no-cors', credentials: 'omit' }).then(
      () => settle(key, 'sent'),
      () => settle(key, 'blocked'),
    )

  /** @param {HTMLImageElement} image @param {string} url */
  const stampHit = (image, url) => {
    if (!HIT.test(url)) return url
    const [key, id] = meetHit(new URL(url).searchParams)
    on(image, 'load', () => settle(key, 'sent'))
    // Blocked, or answered with something other than an image.
    on(image, 'error', () => probe(url, key))
    return id ? url + '&eid=' + id : url
  }

  // The pixel posts long hits by a form into a hidden frame, or as a beacon.
  const watchLongHits = () => {
    /** @param {any} url @param {any} hit a form or its data @param {(id: string) => void} add */
    const meet = (url, hit, add) =>
      attempt(() => {
        if (!HIT.test(url)) return
        const [key, id] = meetHit(hit.get ? hit : new FormData(hit))
        if (id) add(id)
        setTimeout(probe, PROBE_DELAY, url, key)
      })
    const { submit } = HTMLFormElement.prototype
    HTMLFormElement.prototype.submit = function () {
      const isHit = /** @type {any} */ (this).ev // its field of this name
      if (isHit)
        meet(this.getAttribute('action'), this, (value) =>
          this.append(Object.assign(document.createElement('input'), { name: 'eid', value })),
        )
      submit.call(this)
    }
    const { sendBeacon } = navigator
    navigator.sendBeacon = (/** @type {[any, any?]} */ ...given) => {
      meet(given[0], given[1], (id) => given[1].append('eid', id))
      return sendBeacon.apply(navigator, given)
    }
  }

  const watchHits = () => {
    page_.Image = new Proxy(page_.Image, {
      construct(...made) {
        const image = Reflect.construct(...made)
        // Removed at its first use.
        Object.defineProperty(image, 'src', {
          configurable: true,
          get: () => delete image.src && image.src,
          set(url) {
            delete image.src
            image.src = attempt(() => stampHit(image, url)) || url
          },
        })
        return image
      },
    })
    on(document, 'error', ({ target }) => isLibrary(target.src) && block())
    on(document, 'load', ({ target }) => {
      wrapLibrary() // the page's own server may serve it under another name
      if (!library && isLibrary(target.src)) block()
    })
    on(document, 'securitypolicyviolation', ({ disposition, blockedURI }) => {
      if (disposition !== 'enforce') return
      if (isLibrary(blockedURI)) block()
      else attempt(() => settle(keyIn(new URL(blockedURI).searchParams), 'blocked'))
    })
  }

  // Any request of the page may have brought a new twin. No function of the page is patched for it.
  const watchRequests = () => new PerformanceObserver(checkTwins).observe({ type: 'resource' })

  // --- events born in the browser ---

  // If that fails, it is kept while this page lives.
  /** @param {string} key @param {QueuedEvent} event */
  const keep = (key, event) => attempt(() => (localStorage[key] = JSON.stringify(event)))

  /**
   * @param {string} name
   * @param {string} id
   * @param {unknown} data
   * @param {Moment} moment
   * @param {string} [pixel] the one of ours that gets it
   */
  const record = (name, id, data, moment, pixel) => {
    /** @type {QueuedEvent} */
    const event = {
      event_name: name,
      event_id: id,
      custom_data: data,
      ...moment,
      data_processing_options: pageLimit,
      external_id: settings?.x, // by the time it is sent, somebody else may have logged in
      pixel_id: pixel || undefined,
      no_cookies: noCookies || undefined,
    }
    const key = QUEUE_PREFIX + name + id + (pixel || '') // pages use one id for several events
    attempt(() => {
      if (queued.size >= MAX_QUEUED || JSON.stringify(event).length > MAX_REPORT) return
      queued.set(key, event)
      keep(key, event)
    })
    watchHit(name, id)
  }

  /**
   * @param {string} name
   * @param {Record<string, unknown>} [properties] Meta's custom data
   * @param {{ eventID?: string, url?: string }} [options] `url` where it happened, for a widget in a
   *   frame of its own
   * @returns the event id of both copies
   */
  const track = (name, properties, options) => {
    const id = String(options?.eventID || newId())
    handleCall(['trackCustom', name, properties, { eventID: id }], true, now(options?.url))
    return id
  }

  const page = () => track(VIEW)

  // --- reports to the server ---

  /** @param {number} delay ms */
  const scheduleFlush = (delay) => {
    clearTimeout(flushTimer)
    flushTimer = setTimeout(flush, Math.max(delay, resumeAt - Date.now()))
  }

  /** @param {string} prefix */
  const listKeys = (prefix) => Object.keys(localStorage).filter((key) => key.startsWith(prefix))

  // Load what earlier pages could not send. Remove damaged, old and surplus entries.
  const loadQueue = () =>
    attempt(() => {
      for (const key of listKeys(QUEUE_PREFIX)) {
        if (queued.has(key)) continue
        const event = attempt(() => /** @type {QueuedEvent} */ (JSON.parse(localStorage[key])))
        const age = event ? Date.now() - event.at : MAX_QUEUED_AGE
        if (!event?.event_id?.trim || age >= MAX_QUEUED_AGE || queued.size >= MAX_QUEUED)
          delete localStorage[key]
        // Another window may await its hit.
        else if (event.state || Math.abs(age) > 2 * STATE_TIMEOUT) queued.set(key, event)
        else {
          clearTimeout(takeUpTimer)
          takeUpTimer = setTimeout(takeUp, 2 * STATE_TIMEOUT)
        }
      }
    })

  const takeUp = () => {
    if (!active) return
    loadQueue()
    scheduleFlush(0)
  }

  // The next report: events whose hit was seen or given up, and acknowledgements of twins.
  const buildReport = () => {
    const sent = []
    let room = MAX_REPORT
    for (const entry of queued) {
      if (unseen.has(keyOf(entry[1]))) continue
      room -= JSON.stringify(entry).length
      if (sent[0] && (room < 0 || sent.length >= batch)) break
      sent.push(entry)
    }
    const sentAcks = acks.splice(0, MAX_BATCH)
    const report = {
      events: sent.map(([, { at, ...event }]) => ({
        ...event,
        age_ms: Date.now() - at,
      })),
      acks: sentAcks,
    }
    return /** @type {const} */ ([(sent[0] || sentAcks[0]) && report, sent, sentAcks])
  }

  const flush = async () => {
    if (flushing || !active) return
    const [report, sent, sentAcks] = buildReport()
    if (!report) return
    flushing = true
    let delay = RETRY_DELAY
    /** @type {string[]} */
    let handled = []
    try {
      const answer = await request('collect', report)
      if (answer.ok) {
        const { stored, refused } = /** @type {Answer} */ (await answer.json())
        if (refused[0]) console.warn(refused)
        handled = [...stored, ...refused.map((each) => each.event_id)]
        if (sentAcks.splice(0)[0] || handled[0]) delay = 0
      } else
        delay =
          Math.min(+(/** @type {string} */ (answer.headers.get('retry-after'))) * 1e3, MAX_DELAY) ||
          delay
    } catch {
      // offline, or the visitor leaves: the next page sends
    }
    // One event that always fails must not hold up the others: from now on each is sent alone, and
    // what failed goes to the end of the queue.
    if (delay) batch = 1
    for (const [key, event] of sent) {
      if (queued.delete(key) && !handled.includes(event.event_id)) queued.set(key, event)
      else attempt(() => delete localStorage[key])
    }
    acks.push(...sentAcks)
    flushing = false
    resumeAt = Date.now() + delay
    scheduleFlush(0)
  }

  const reportOnLeave = () => {
    for (const call of pixel.queue.splice(0)) {
      const key = keyOfCall(call)
      if (firing.has(key)) giveBack(key)
      else send(call)
    }
    settleAll('unknown')
    const report = active && buildReport()[0]
    if (report) navigator.sendBeacon(base + 'collect', toBody(report)) // outlives the page
  }

  // --- views ---

  const onNavigation = () => {
    const before = view
    view = location.href
    if (before === view) return
    referrer = before
    if (!own && !blocked) return // the page's own pixel notices by itself
    viewId = ''
    if (active) page()
  }

  const watchViews = () => {
    for (const name of /** @type {const} */ (['pushState', 'replaceState'])) {
      const original = history[name]
      history[name] = function (...args) {
        original.apply(this, args)
        onNavigation()
      }
    }
    // A hit of a page that is being left may be cut off. The page stays if it was a download.
    page_.navigation?.addEventListener('navigate', (/** @type {any} */ { destination }) => {
      isLeft = !destination.sameDocument && destination.url.startsWith(location.origin)
      setTimeout(() => {
        isLeft = false
        checkTwins()
      }, STATE_TIMEOUT)
    })
    on(window, 'popstate', onNavigation)
    on(window, 'pageshow', checkTwins)
    on(window, 'pagehide', reportOnLeave)
    on(window, 'online', () => scheduleFlush((resumeAt = 0)))
    on(document, 'visibilitychange', () => (document.hidden ? reportOnLeave() : checkTwins()))
  }

  // --- consent ---

  /** @param {Settings} found */
  const apply = (found) => {
    settings = found
    seenConsent = readConsent()
    const isAllowed = found.c !== 'denied' && found.c !== 'pending'
    if (isAllowed) loadPixel()
    if (early && found.c !== 'denied') return
    // An earlier page revoked, and this one does not.
    if (tellServer() === 'pending' && !paused && found.c === 'pending' && asked < 2)
      return void loadSettings(true)
    active = !paused && isAllowed
    if (!active) {
      pausePixel()
      if (found.c === 'denied') forgetEvents()
      return
    }
    resumePixel()
    limitDataUse()
    const isStranger = isLate && !pixelIds.some(stateOf)
    // The pixel keeps the first user data it gets: a page's own init has more of it.
    for (const id of pixelIds) {
      if (!waitingCalls.some(([call]) => isInitOf(call, id))) handleCall(['init', id], true)
    }
    loadQueue()
    waitingCalls.splice(0).forEach((call) => handleCall(...call))
    if ((own || isStranger) && !viewId && !hasInit) page()
    checkTwins()
    scheduleFlush(0)
  }

  const forgetEvents = () => {
    waitingCalls = waitingCalls.filter(
      ([[method, name]]) => !/^track/.test(method) || name === VIEW,
    )
    acks = []
    unseen.clear()
    queued.clear()
    firing.clear()
    for (const [name] of readCookies('_bridge_t_')) setCookie(name)
    // Meta's library keeps its own there, too.
    for (const prefix of ['_bridge.', 'multiFbc', 'lastExternalReferrer'])
      attempt(() => listKeys(prefix).forEach((key) => delete localStorage[key]))
  }

  /**
   * @param {Choice} [choice]
   * @returns the consent that now holds, in the browser and on the server
   */
  const consent = async (choice) => {
    if (choice && !['granted', 'limited', 'denied'].includes(choice))
      throw Error('Unknown: ' + choice)
    const number = choice ? ++choiceCount : choiceCount
    choosing++
    if (choice) setCookie('_bridge_c') // an old refusal may be on another domain
    if (choice === 'denied') refuse()
    // One after the other: the server may answer two at once in any order, and set its cookie so.
    const tell = async () => {
      if (choice) {
        const sent = { state: choice, url: landing }
        const found = await requestJson('consent', sent).catch(() => {})
        choosing--
        if (found && number === choiceCount) apply(found)
      } else choosing--
    }
    await (answered = answered.then(tell, tell))
    return settings?.c || 'granted'
  }

  /** @param {string} name @param {string} [value] and attributes; without it, it is removed */
  const setCookie = (name, value) => {
    const line = name + '=' + (value || '; Max-Age=0') + '; Path=/; SameSite=Lax'
    if (!value) document.cookie = line // wherever it lives
    document.cookie = line + (settings?.d ? '; Domain=.' + settings.d : '')
  }

  // At once, even if the request to the server fails.
  const refuse = () => {
    setCookie('_bridge_c', 'denied; Max-Age=' + CHOICE_MAX_AGE)
    setCookie('_bridge_x')
    deny()
  }

  const deny = () => apply({ c: 'denied', d: settings?.d })

  const readConsent = () =>
    attempt(() =>
      document.cookie
        .split('; ')
        .filter((cookie) => cookie.startsWith('_bridge_c=') || cookie.startsWith(BANNER))
        .join(),
    )

  // The visitor may have chosen in another tab, on a page after this one, or in a banner.
  const followConsent = () => {
    const found = readConsent()
    if (!settings || choosing || found === undefined || found === seenConsent) return
    seenConsent = found
    if (/_c=denied/.test(found)) return void (active && deny())
    // Nothing leaves until the answer has come.
    active = false
    pausePixel()
    loadSettings(true)
  }

  // --- start ---

  isLimitedByPage = /^l/.test(readWord())
  noCookies = /_$/.test(readWord())
  wrapLibrary()
  // Hits sent before this script came have no id.
  const isLate = hasSent()
  const waiting = pixel.queue.splice(0)
  // A loaded library leaves an init waiting only if the page revoked consent first.
  paused = revoked =
    !!library && !states().length && waiting.some((/** @type {Call} */ call) => call[0] === 'init')
  waiting.forEach((/** @type {Call} */ call) => handleCall([...call]))
  if (!library) pixel.queue.push = (/** @type {any} */ call) => handleCall([...call])
  watchHits()
  watchLongHits()
  watchRequests()
  watchViews()
  on(document, 'DOMContentLoaded', begin)
  const { cookieStore } = page_
  if (cookieStore) on(cookieStore, 'change', followConsent)
  else setInterval(followConsent, 1e3)

  const prerendered = /** @type {any} */ (document).prerendering
  let answered = prerendered // what was asked before
    ? new Promise((shown) => on(document, 'prerenderingchange', shown)).then(() => loadSettings())
    : loadSettings()

  const before = page_.bridge
  const api = {
    track,
    page,
    consent,
    identity: () => (settings?.x ? { external_id: settings.x } : null),
    /** @param {[string, any?, any?, any?]} call */
    push: ([name, ...args]) => /** @type {any} */ (api)[name]?.(...args),
  }
  page_._bridge = api
  // The page may use this name for something else; so may an element's id.
  if (!before || before.push || before.id) page_.bridge = api
  attempt(() => before.forEach((/** @type {any} */ call) => attempt(() => api.push(call))))
})()
