// Package shortener makes short links and finds out where they lead: codes,
// which URLs may be shortened, links with expiry and limits, and who visits
// them.
//
// It is the part of a URL shortener without a server: put it behind HTTP, and a
// [Store] on whatever keeps your data. When not to use it: for identifiers that
// nobody types or sees, random ones of 128 bits need no looking up.
//
// # Model
//
//	Create(url) ── URLPolicy ──► canonical ── Codes ──► code ── Words ──► Store.Insert
//	                                            ▲                            │
//	                                            └───────── taken ────────────┘
//
//	Resolve(code, visit) ──► Store.Get ──► removed? expired? exhausted? ──► Redirect
//	                                            │ limited, by a person         │
//	                                            └──► Store.Update: one less    ▼
//	                                                                       Analytics
//
// A link is alive until it is removed, has expired, or has had all its visits,
// whichever is first; each has its error, none of which is that of a link that
// never was. Its code stays taken.
//
// # Which codes
//
//	          the same URL twice   taken before, of n in s   can be guessed
//	Salted    another code         n²/2s                     by trying
//	Random    another code         n²/2s                     by trying
//	Permuted  another code         never                     with the key
//	Hashed    the same code        n²/2s, other URLs only    by who has the key and the URL
//
// Codes that may be taken are looked up when the link is inserted, so that no
// two links ever share one. By trying, somebody finds n of s codes in s/n
// attempts on average: with a million links under 7 characters of Base62, in 3.5
// million. What must stay secret needs longer codes.
//
// # Guarantees
//
//  1. A code leads to one URL, and only its owner can change which.
//  2. Of a link with MaxVisits, exactly that many visits by people get there,
//     whatever comes at the same time; bots and previews neither use it up nor
//     get past its end.
//  3. A Permuted gives out each code of its space once before ErrNoCodes.
//  4. Canonical is idempotent, and leaves what comes after the host as it is.
//     What it accepts is http or https, has no user name, and leads to none of
//     the service's own domains.
//  5. Memory for analytics is bounded, by the number of links and for each.
//
// What a visitor says of itself may be a lie: classes are for statistics, not
// for protection.
//
// # Cost
//
// A code takes time in proportion to its length. Create takes that and an
// Insert of the store, more often where codes are taken; Resolve a Get, and an
// Update for links with a limit.
//
// # Sources
//
// The permutation is a Feistel network with cycle walking: Black, Rogaway:
// Ciphers with Arbitrary Finite Domains, 2002. Frequent names: Metwally,
// Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in
// Data Streams, 2005. Addresses as browsers read them: the URL Standard of the
// WHATWG.
package shortener
