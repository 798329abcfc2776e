// Package cart holds what somebody wants to buy, and says what it costs: lines
// that several hosts may change, coupons and rules that leave no cent behind,
// taxes, and money that cannot overflow without a word.
//
// When not to use it: for accounts, which need double entry and not a cart; for
// amounts with fractions of the minor unit, as exchange rates, which need
// decimals; and for rules that somebody outside of the program writes in a
// language of their own.
//
// # Model
//
//	Cart ── Add, Remove, ChangeQuantity, ApplyCoupon ──► lines ──┐
//	                                                             ├──► Quote
//	Pricing ── rules by rank ── taxes ───────────────────────────┘
//
//	gross = price × quantity ─► rules, each on what is left ─► net ─► tax ─► total
//
// A line is a product with its options at a price. What a rule takes off is
// shared out among its lines in proportion to what is left of them, by largest
// remainder, so that the parts always sum up. The order of rules is their rank,
// and their ID among equals: it does not matter in which order they were made or
// coupons were applied.
//
// Copies of a cart on several hosts are merged by the greater of each counter;
// [Cart] tells how. Lines that were removed leave their counters behind, so a
// cart that lives grows with the number of different lines it ever had, times
// the hosts that changed them.
//
// # Guarantees
//
//  1. Arithmetic is exact in minor units. What does not fit into 64 bits, or
//     mixes currencies, is an error.
//  2. In a Quote, lines, discounts and taxes sum up to the totals exactly, and
//     no amount is negative, whatever the rules.
//  3. A Quote depends on the lines, the coupons, the rules and the context, and
//     on the order of nothing.
//  4. Merge is commutative, associative and idempotent. What was removed stays
//     removed, unless somebody added it who had not seen the removal.
//  5. What UnmarshalJSON reads of what MarshalJSON wrote is the same cart, with
//     the same merges to come.
//  6. Take takes all that a cart needs, or nothing, and nothing twice.
//
// # Cost
//
// To add or change takes the time of a search among lines, and where a line is
// new, of making room for it. A Quote takes time in proportion to lines times
// rules, and to the square of lines at worst where amounts are shared out.
// QuoteInto allocates nothing where no rule applies.
//
// # Sources
//
// Counters that only grow, and are merged by their maximum: Shapiro, Preguiça,
// Baquero, Zawirski: Conflict-Free Replicated Data Types, 2011; that removals
// are of what was observed, from their OR-set. Where we deviate, a removal is
// kept as the counters' values and not as a set. Largest remainder is the method
// of Hamilton.
package cart
