/**
 * Types of `window.bridge`, for apps in TypeScript. Copy this file, or refer to it:
 * `/// <reference path="…/bridge.d.ts" />`
 */

/** What holds for this visitor, in the browser and on the server. */
type BridgeConsent = 'granted' | 'limited' | 'denied' | 'pending'

type BridgeChoice = 'grant' | 'limit' | 'deny' | 'granted' | 'limited' | 'denied'

/** Meta's standard events; others must be configured on the server (`custom_events`). */
type BridgeEvent =
  | 'AddPaymentInfo'
  | 'AddToCart'
  | 'AddToWishlist'
  | 'CompleteRegistration'
  | 'Contact'
  | 'CustomizeProduct'
  | 'Donate'
  | 'FindLocation'
  | 'InitiateCheckout'
  | 'Lead'
  | 'PageView'
  | 'Purchase'
  | 'Schedule'
  | 'Search'
  | 'StartTrial'
  | 'SubmitApplication'
  | 'Subscribe'
  | 'ViewContent'
  | (string & {})

/** Meta's custom data; other keys than these are allowed. */
interface BridgeProperties {
  value?: number
  /** ISO 4217, three letters. */
  currency?: string
  content_ids?: string[]
  content_type?: 'product' | 'product_group'
  contents?: { id: string; quantity: number; item_price?: number }[]
  content_name?: string
  content_category?: string
  num_items?: number
  order_id?: string
  search_string?: string
  status?: string
  [key: string]: unknown
}

interface BridgeApi {
  /**
   * Tell Meta of an event, through the pixel and through the server.
   * @returns the event id of both copies
   */
  track(name: BridgeEvent, properties?: BridgeProperties, options?: { eventID?: string }): string
  /** A PageView; page loads and history changes have one already. */
  page(): string
  /** The visitor's choice, if there is a new one; resolves to what holds, rejects other words. */
  consent(word?: BridgeChoice): Promise<BridgeConsent>
  /** The visitor's external id, or null while nothing is known or allowed. */
  identity(): { external_id: string } | null
  push(call: BridgeCall): unknown
}

/** A call that may be made before the script has loaded. */
type BridgeCall =
  | ['track', BridgeEvent, BridgeProperties?, { eventID?: string }?]
  | ['page']
  | ['consent', BridgeChoice]

interface Window {
  /** An array of calls until the script has loaded: `window.bridge = window.bridge || []`. */
  bridge: BridgeApi | BridgeCall[]
}
