package cart

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Item is what can be bought.
type Item struct {
	ID      string            // of the product, and of its stock
	Name    string            // to be shown
	Type    string            // category, for rules and taxes
	Price   Money             // of one, not negative
	Options map[string]string // size, colour, engraving
}

// A Key tells lines of a cart apart: product, options and price. The same
// product at another price is another line, so that a price that changed is
// never lost or applied to what was there before.
type Key string

// Key returns the key of lines with the item.
func (i *Item) Key() Key {
	b := strconv.AppendQuote(nil, i.ID)
	for _, name := range slices.Sorted(maps.Keys(i.Options)) {
		b = strconv.AppendQuote(append(b, ' '), name)
		b = strconv.AppendQuote(append(b, '='), i.Options[name])
	}
	return Key(append(append(b, ' '), i.Price.String()...))
}

// MaxQuantity is the largest quantity of a line.
const MaxQuantity = 1_000_000_000

// A Cart is what somebody wants to buy. Copies of it on several hosts may be
// changed independently, and merged. Create one with New.
//
//	line "book" ── counters of host a: added 3, taken 1, cleared at 2 and 1
//	               counters of host b: added 1, taken 0, cleared at 0 and 0
//	               quantity (3-2)-(1-1) + (1-0)-(0-0) = 2
//
// Each host only counts up, in counters of its own. To remove a line is to
// write down where all counters are that are known here; what others have added
// meanwhile stays. So the greater of each counter is the later one, and to take
// those is to merge.
//
// A Cart is not safe for concurrent use.
type Cart struct {
	host    string
	pricing *Pricing
	lines   []*line // by key, also those with nothing in them
	coupons map[string]counters
}

// A line is an item with how many of it are wanted.
type line struct {
	key      Key
	item     Item
	count    counters
	quantity int64 // as count says
}

// counters are those of hosts.
type counters map[string]counter

// A counter is what a host has added and taken, and what of these two was
// there when somebody cleared the line.
type counter struct {
	Added        int64 `json:"added,omitempty"`
	Taken        int64 `json:"taken,omitempty"`
	ClearedAdded int64 `json:"cleared_added,omitempty"`
	ClearedTaken int64 `json:"cleared_taken,omitempty"`
}

// raw returns what counters sum up to, which is negative where the same was
// taken at one host and cleared at another.
func (c counters) raw() (sum int64) {
	for _, n := range c {
		sum += (n.Added - n.ClearedAdded) - (n.Taken - n.ClearedTaken)
	}
	return sum
}

// value returns the quantity.
func (c counters) value() int64 { return min(max(c.raw(), 0), MaxQuantity) }

// change makes the quantity go from what it is to another one.
func (c counters) change(host string, to int64) bool {
	d := to - c.raw()
	n := c[host]
	if d > 0 {
		n.Added += d
	} else {
		n.Taken -= d
	}
	if n.Added > maxCounter || n.Taken > maxCounter {
		return false
	}
	c[host] = n
	return true
}

// maxCounter keeps sums of counters of 4 million hosts within an int64.
const maxCounter = 1 << 40

// clear writes down where all counters are.
func (c counters) clear() {
	for host, n := range c {
		n.ClearedAdded, n.ClearedTaken = n.Added, n.Taken
		c[host] = n
	}
}

// merge takes the greater of each.
func (c counters) merge(other counters) {
	for host, o := range other {
		n := c[host]
		c[host] = counter{max(n.Added, o.Added), max(n.Taken, o.Taken), max(n.ClearedAdded, o.ClearedAdded), max(n.ClearedTaken, o.ClearedTaken)}
	}
}

// New returns an empty cart at a host. Carts that are changed independently need
// different hosts: a server, or a device. Pricing says what things cost besides
// their price; nil means nothing.
func New(host string, pricing *Pricing) *Cart {
	return &Cart{host: host, pricing: pricing, coupons: map[string]counters{}}
}

// Add puts so many of an item into the cart, on top of those that are there
// already. The error wraps ErrQuantity if that is not positive or the line gets
// more than MaxQuantity, ErrItem if the item has no ID or its price is negative,
// and ErrCurrency if the cart has items of another currency.
func (c *Cart) Add(item Item, quantity int) error {
	if item.ID == "" || item.Price.Sign() < 0 {
		return fmt.Errorf("%w: ID %q, price %v", ErrItem, item.ID, item.Price)
	}
	if quantity <= 0 || quantity > MaxQuantity {
		return fmt.Errorf("%w: to add %d of %s", ErrQuantity, quantity, item.ID)
	}
	for _, l := range c.lines {
		if l.quantity > 0 && l.item.Price.currency != item.Price.currency {
			return fmt.Errorf("%w: %v in a cart in %v", ErrCurrency, item.Price, l.item.Price.currency)
		}
	}
	item.Options = maps.Clone(item.Options)
	l := c.line(item)
	return c.change(l, l.quantity+int64(quantity))
}

// line returns the line of an item, and makes it.
func (c *Cart) line(item Item) *line {
	key := item.Key()
	i, ok := c.find(key)
	if !ok {
		c.lines = slices.Insert(c.lines, i, &line{key: key, item: item, count: counters{}})
	}
	l := c.lines[i]
	l.describe(item)
	return l
}

// describe takes over the greater of name and type, so that it does not matter
// who is asked first.
func (l *line) describe(item Item) {
	l.item.Name, l.item.Type = max(l.item.Name, item.Name), max(l.item.Type, item.Type)
}

func (c *Cart) find(key Key) (int, bool) {
	return slices.BinarySearchFunc(c.lines, key, func(l *line, key Key) int { return strings.Compare(string(l.key), string(key)) })
}

func (c *Cart) change(l *line, to int64) error {
	if to < 0 || to > MaxQuantity || !l.count.change(c.host, to) {
		return fmt.Errorf("%w: %d of %s", ErrQuantity, to, l.item.ID)
	}
	l.quantity = l.count.value()
	return nil
}

// Remove takes a line out of the cart. What other hosts add to it without
// having seen that stays.
func (c *Cart) Remove(key Key) error {
	i, ok := c.find(key)
	if !ok || c.lines[i].quantity == 0 {
		return fmt.Errorf("%w: %s", ErrNoLine, key)
	}
	c.lines[i].count.clear()
	c.lines[i].quantity = 0
	return nil
}

// ChangeQuantity makes a line have so many. 0 is Remove.
func (c *Cart) ChangeQuantity(key Key, quantity int) error {
	if quantity == 0 {
		return c.Remove(key)
	}
	i, ok := c.find(key)
	if !ok || c.lines[i].quantity == 0 {
		return fmt.Errorf("%w: %s", ErrNoLine, key)
	}
	return c.change(c.lines[i], int64(quantity))
}

// Quantity returns how many there are of a line.
func (c *Cart) Quantity(key Key) int {
	if i, ok := c.find(key); ok {
		return int(c.lines[i].quantity)
	}
	return 0
}

// ApplyCoupon adds a coupon, in whatever letters it is written. Whether it
// changes the total depends on what is in the cart, now and later: see
// [Cart.Quote]. The error wraps ErrNoCoupon if no rule knows it.
func (c *Cart) ApplyCoupon(code string) error {
	code = canonical(code)
	if c.pricing == nil || !c.pricing.knows(code) {
		return fmt.Errorf("%w: %q", ErrNoCoupon, code)
	}
	if c.HasCoupon(code) {
		return nil
	}
	if c.coupons[code] == nil {
		c.coupons[code] = counters{}
	}
	c.coupons[code].change(c.host, 1)
	return nil
}

// RemoveCoupon takes a coupon back. The error wraps ErrNoCoupon if it is not
// there.
func (c *Cart) RemoveCoupon(code string) error {
	code = canonical(code)
	if !c.HasCoupon(code) {
		return fmt.Errorf("%w: %q", ErrNoCoupon, code)
	}
	c.coupons[code].clear()
	return nil
}

// HasCoupon reports whether a coupon is applied.
func (c *Cart) HasCoupon(code string) bool { return c.coupons[canonical(code)].value() > 0 }

func canonical(code string) string { return strings.ToUpper(strings.TrimSpace(code)) }

// Coupons returns the coupons that are applied, sorted.
func (c *Cart) Coupons() (codes []string) {
	for _, code := range slices.Sorted(maps.Keys(c.coupons)) {
		if c.HasCoupon(code) {
			codes = append(codes, code)
		}
	}
	return codes
}

// Lines iterates over items and their quantities, by key. The items must not be
// changed.
func (c *Cart) Lines() iter.Seq2[*Item, int] {
	return func(yield func(*Item, int) bool) {
		for _, l := range slices.Clone(c.lines) {
			if l.quantity > 0 && !yield(&l.item, int(l.quantity)) {
				return
			}
		}
	}
}

// Len returns the number of lines.
func (c *Cart) Len() (n int) {
	for range c.Lines() {
		n++
	}
	return n
}

// Items returns the number of items: the sum of quantities.
func (c *Cart) Items() (n int64) {
	for _, quantity := range c.Lines() {
		n += int64(quantity)
	}
	return n
}

// Total returns what the cart costs now: Quote without the details.
func (c *Cart) Total() (Money, error) {
	q, err := c.Quote(Context{Now: time.Now()})
	if err != nil {
		return Money{}, err
	}
	return q.Total, nil
}

// Quote says what the cart costs, and why.
func (c *Cart) Quote(ctx Context) (*Quote, error) {
	var q Quote
	if err := c.QuoteInto(&q, ctx); err != nil {
		return nil, err
	}
	return &q, nil
}

// Merge adds what another copy of the cart knows. In whatever order and how
// often copies are merged, the result is the same. Afterwards
//
//   - what was added at either is there, as often as it was added,
//   - what was removed at one is gone, except what the other has added without
//     having seen the removal.
//
// It returns an error that wraps ErrCurrency, and changes nothing, if the result
// would have items of two currencies. The other cart stays as it is.
func (c *Cart) Merge(other *Cart) error {
	merged := c.clone()
	for _, o := range other.lines {
		l := merged.line(o.item)
		l.count.merge(o.count)
		l.quantity = l.count.value()
	}
	for code, o := range other.coupons {
		if merged.coupons[code] == nil {
			merged.coupons[code] = counters{}
		}
		merged.coupons[code].merge(o)
	}
	if err := merged.checkCurrency(); err != nil {
		return err
	}
	*c = *merged
	return nil
}

func (c *Cart) checkCurrency() error {
	var first *line
	for _, l := range c.lines {
		switch {
		case l.quantity == 0:
		case first == nil:
			first = l
		case l.item.Price.currency != first.item.Price.currency:
			return fmt.Errorf("%w: %v and %v", ErrCurrency, first.item.Price, l.item.Price)
		}
	}
	return nil
}

func (c *Cart) clone() *Cart {
	copied := &Cart{host: c.host, pricing: c.pricing, coupons: make(map[string]counters, len(c.coupons))}
	for _, l := range c.lines {
		l := *l
		l.count = maps.Clone(l.count)
		copied.lines = append(copied.lines, &l)
	}
	for code, count := range c.coupons {
		copied.coupons[code] = maps.Clone(count)
	}
	return copied
}

// Clone returns a copy of the cart for another host.
func (c *Cart) Clone(host string) *Cart {
	copied := c.clone()
	copied.host = host
	return copied
}
