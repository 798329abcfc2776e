package cart

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A Context is what a price depends on besides the cart.
type Context struct {
	Now time.Time

	// Used reports whether the customer has used a rule before, for rules that
	// are once per customer; nil means never.
	Used func(rule string) bool
}

// A Quote is what a cart costs, in a way that adds up:
//
//	Subtotal = Σ line.Gross        Discount = Σ line.Discount = Σ discounts
//	Tax      = Σ line.Tax          Total    = Σ line.Total
//	line.Total = line.Gross - line.Discount, plus line.Tax unless it is included
//
// No amount in it is negative.
type Quote struct {
	Lines     []QuoteLine
	Discounts []Discount // each rule and line for which there is one, in the order in which they were made
	Outcomes  []Outcome  // of each rule, in the order of their ranks

	Subtotal, Discount, Tax, Total Money
	TaxIncluded                    bool

	scratch scratch
}

// A QuoteLine is the price of a line.
type QuoteLine struct {
	Item     *Item // of the cart; not to be changed
	Quantity int64
	Gross    Money // price times quantity
	Discount Money // of all rules
	Tax      Money
	Total    Money
}

// A Discount is what a rule takes off a line.
type Discount struct {
	Rule   string
	Line   int // index into Quote.Lines
	Amount Money
}

// An Outcome is what became of a rule.
type Outcome struct {
	Rule     string
	Off      Off
	Discount Money
	Why      string // it did not apply; empty if it did
}

// scratch are slices that are used again by QuoteInto.
type scratch struct {
	net     []int64 // of lines, what is left of Gross
	weights []int64
	parts   []int64
	order   []int
}

// QuoteInto is Quote into one that was used before, whose memory it uses. It
// allocates nothing once that is enough, as long as no rule applies.
//
// It returns an error that wraps ErrOverflow if an amount does not fit, and
// ErrCurrency if a rule is in another currency than the cart.
func (c *Cart) QuoteInto(q *Quote, ctx Context) error {
	q.Lines, q.Discounts, q.Outcomes = q.Lines[:0], q.Discounts[:0], q.Outcomes[:0]
	q.scratch.net = q.scratch.net[:0]
	currency, subtotal, ok := Currency{}, int64(0), true
	for _, l := range c.lines {
		if l.quantity == 0 {
			continue
		}
		gross, fits := mul(l.item.Price.minor, l.quantity)
		if subtotal, ok = add(subtotal, gross); !ok || !fits {
			return fmt.Errorf("%w: %d × %v of %s, in a total", ErrOverflow, l.quantity, l.item.Price, l.item.ID)
		}
		currency = l.item.Price.currency
		q.Lines = append(q.Lines, QuoteLine{Item: &l.item, Quantity: l.quantity, Gross: Money{gross, currency}})
		q.scratch.net = append(q.scratch.net, gross)
	}
	q.Subtotal = Money{subtotal, currency}
	if c.pricing != nil && len(c.pricing.rules) > 0 {
		if err := c.discount(q, ctx); err != nil {
			return err
		}
	}
	return c.tax(q, currency)
}

// tax adds taxes and sums up.
func (c *Cart) tax(q *Quote, currency Currency) error {
	taxes := &Taxes{}
	if c.pricing != nil {
		taxes = &c.pricing.taxes
	}
	q.TaxIncluded = taxes.Included
	if taxes.PerTotal {
		if err := q.taxPerTotal(taxes); err != nil {
			return err
		}
	}
	var discount, tax, total int64
	ok := true
	for i := range q.Lines {
		l, net := &q.Lines[i], q.scratch.net[i]
		if !taxes.PerTotal {
			t, fits := taxOf(taxes, net, taxes.rate(l.Item.Type))
			l.Tax, ok = Money{t, currency}, ok && fits
		}
		l.Discount = Money{l.Gross.minor - net, currency}
		if !taxes.Included {
			var fits bool
			net, fits = add(net, l.Tax.minor)
			ok = ok && fits
		}
		l.Total = Money{net, currency}
		discount += l.Discount.minor // not above the subtotal
		tax += l.Tax.minor
		var fits bool
		total, fits = add(total, net)
		if !fits || !ok {
			return fmt.Errorf("%w: the total with taxes", ErrOverflow)
		}
	}
	q.Discount, q.Tax, q.Total = Money{discount, currency}, Money{tax, currency}, Money{total, currency}
	return nil
}

// taxOf returns the tax on an amount, or in it.
func taxOf(t *Taxes, net, rate int64) (tax int64, ok bool) {
	if rate == 0 {
		return 0, true
	}
	if t.Included {
		return t.Rounding.share(net, rate, 10_000+rate), true
	}
	if net > math.MaxInt64/maxRate*10_000 {
		return 0, false // the tax may be ten times as much
	}
	return t.Rounding.share(net, rate, 10_000), true
}

// taxPerTotal rounds once for each rate.
func (q *Quote) taxPerTotal(t *Taxes) error {
	s := &q.scratch
	done := make(map[int64]bool)
	for i := range q.Lines {
		rate := t.rate(q.Lines[i].Item.Type)
		if done[rate] {
			continue
		}
		done[rate] = true
		s.weights = slices.Grow(s.weights[:0], len(q.Lines))[:len(q.Lines)]
		s.parts = slices.Grow(s.parts[:0], len(q.Lines))[:len(q.Lines)]
		sum := int64(0) // not above the subtotal
		for j := range q.Lines {
			s.weights[j] = 0
			if t.rate(q.Lines[j].Item.Type) == rate {
				s.weights[j] = s.net[j]
				sum += s.net[j]
			}
		}
		tax, ok := taxOf(t, sum, rate)
		if !ok {
			return fmt.Errorf("%w: tax on %d", ErrOverflow, sum)
		}
		if err := allocate(tax, s.weights, s.parts); err != nil {
			return err
		}
		for j, part := range s.parts {
			if s.weights[j] > 0 {
				q.Lines[j].Tax = Money{part, q.Subtotal.currency}
			}
		}
	}
	for i := range q.Lines {
		q.Lines[i].Tax.currency = q.Subtotal.currency
	}
	return nil
}

// discount applies rules: those that are not exclusive one after the other, or
// one that is, whichever is better for the customer.
func (c *Cart) discount(q *Quote, ctx Context) error {
	rules := c.pricing.rules
	why := make([]string, len(rules))
	alone := make([]int64, len(rules)) // what each would take off if there were no other
	for i := range rules {
		r := &rules[i]
		if why[i] = c.refuses(q, r, ctx); why[i] != "" {
			continue
		}
		if err := q.apply(r, q.gross()); err != nil {
			return err
		}
		alone[i] = sumOf(q.scratch.parts)
		if alone[i] == 0 {
			why[i] = "there is nothing to take off"
		}
	}
	for i := range rules {
		for j := range rules {
			if why[i] == "" && why[j] == "" && i != j && rules[i].Group != "" && rules[i].Group == rules[j].Group &&
				(alone[j] > alone[i] || alone[j] == alone[i] && j < i) {
				why[i] = fmt.Sprintf("%s is better, of %s", rules[j].ID, rules[i].Group)
			}
		}
	}
	// All that are not exclusive, in order.
	together := int64(0)
	for i := range rules {
		if why[i] != "" || rules[i].Exclusive {
			continue
		}
		if err := q.apply(&rules[i], q.scratch.net); err != nil {
			return err
		}
		together += q.take(&rules[i])
	}
	best := -1
	for i := range rules {
		if why[i] == "" && rules[i].Exclusive && (best < 0 || alone[i] > alone[best]) {
			best = i
		}
	}
	if best >= 0 && alone[best] > together {
		for i := range rules {
			if why[i] == "" && i != best {
				why[i] = rules[best].ID + " excludes it"
			}
		}
		q.Discounts = q.Discounts[:0]
		copy(q.scratch.net, q.gross())
		if err := q.apply(&rules[best], q.scratch.net); err != nil {
			return err
		}
		q.take(&rules[best])
	} else {
		for i := range rules {
			if why[i] == "" && rules[i].Exclusive {
				why[i] = "the others take off more together"
				if best != i {
					why[i] = rules[best].ID + " is better"
				}
			}
		}
	}
	for i := range rules {
		o := Outcome{Rule: rules[i].ID, Off: rules[i].Off, Discount: Money{0, q.Subtotal.currency}, Why: why[i]}
		for _, d := range q.Discounts {
			if d.Rule == o.Rule {
				o.Discount.minor += d.Amount.minor
			}
		}
		if o.Why == "" && o.Discount.minor == 0 {
			o.Why = "others have left nothing to take off"
		}
		q.Outcomes = append(q.Outcomes, o)
	}
	return nil
}

// gross returns what lines cost before any rule.
func (q *Quote) gross() []int64 {
	q.scratch.weights = q.scratch.weights[:0]
	for i := range q.Lines {
		q.scratch.weights = append(q.scratch.weights, q.Lines[i].Gross.minor)
	}
	return slices.Clone(q.scratch.weights)
}

func sumOf(parts []int64) (sum int64) {
	for _, p := range parts {
		sum += p
	}
	return sum
}

// refuses returns why a rule does not apply to a cart, or "".
func (c *Cart) refuses(q *Quote, r *Rule, ctx Context) string {
	if r.Coupon != "" && !c.HasCoupon(r.Coupon) {
		return "it needs the coupon " + r.Coupon
	}
	if !r.From.IsZero() && ctx.Now.Before(r.From) {
		return "it begins " + r.From.Format(time.DateTime)
	}
	if !r.Until.IsZero() && !ctx.Now.Before(r.Until) {
		return "it ended " + r.Until.Format(time.DateTime)
	}
	var subtotal, quantity int64
	for i := range q.Lines {
		if r.covers(q.Lines[i].Item) {
			subtotal += q.Lines[i].Gross.minor
			quantity += q.Lines[i].Quantity
		}
	}
	switch {
	case quantity == 0:
		return "nothing in the cart is of its kind"
	case r.MinSubtotal.minor > 0 && r.MinSubtotal.currency == q.Subtotal.currency && subtotal < r.MinSubtotal.minor:
		return fmt.Sprintf("it needs %v, and there are %v", r.MinSubtotal, Money{subtotal, q.Subtotal.currency})
	case quantity < r.MinQuantity:
		return fmt.Sprintf("it needs %d items, and there are %d", r.MinQuantity, quantity)
	case r.OncePerCustomer && ctx.Used != nil && ctx.Used(r.ID):
		return "the customer has used it"
	}
	return ""
}

func (r *Rule) covers(item *Item) bool {
	return (len(r.Types) == 0 || slices.Contains(r.Types, item.Type)) && (len(r.Items) == 0 || slices.Contains(r.Items, item.ID))
}

// apply sets parts to what a rule takes off lines of which net is left: never
// more than that.
func (q *Quote) apply(r *Rule, net []int64) error {
	s := &q.scratch
	s.parts = append(s.parts[:0], net...)
	clear(s.parts)
	for _, m := range []Money{r.Off.amount, r.MinSubtotal} {
		if m.minor != 0 && m.currency != q.Subtotal.currency {
			return fmt.Errorf("%w: rule %s in %v, cart in %v", ErrCurrency, r.ID, m.currency, q.Subtotal.currency)
		}
	}
	if r.Off.kind == offEach || r.Off.kind == offBuyGet {
		q.applyEach(r, net)
		return nil
	}
	s.weights = append(s.weights[:0], net...)
	covered := int64(0)
	for i := range q.Lines {
		if !r.covers(q.Lines[i].Item) {
			s.weights[i] = 0
		}
		covered += s.weights[i]
	}
	off := min(r.Off.amount.minor, covered)
	if r.Off.kind == offPercent {
		off = HalfEven.share(covered, r.Off.permyria, 10_000)
	}
	return allocate(off, s.weights, s.parts)
}

// applyEach is apply for what is taken off each item.
func (q *Quote) applyEach(r *Rule, net []int64) {
	s := &q.scratch
	if r.Off.kind == offEach {
		for i := range q.Lines {
			if r.covers(q.Lines[i].Item) {
				off, ok := mul(r.Off.amount.minor, q.Lines[i].Quantity)
				if !ok || off > net[i] {
					off = net[i]
				}
				s.parts[i] = off
			}
		}
		return
	}
	// Items in order of their price, the dearest first: of each buy+get the
	// last get are the cheapest.
	s.order = s.order[:0]
	total := int64(0)
	for i := range q.Lines {
		if r.covers(q.Lines[i].Item) {
			s.order = append(s.order, i)
			total += q.Lines[i].Quantity
		}
	}
	slices.SortStableFunc(s.order, func(a, b int) int {
		x, y := q.Lines[a].Item.Price.minor, q.Lines[b].Item.Price.minor
		if x > y {
			return -1
		} else if x < y {
			return 1
		}
		return 0
	})
	bundle := r.Off.buy + r.Off.get
	counted := total / bundle * bundle // items that are in whole bundles
	from := int64(0)
	for _, i := range s.order {
		to := min(from+q.Lines[i].Quantity, counted)
		if to <= from {
			break
		}
		free := r.Off.before(to) - r.Off.before(from)
		off := HalfEven.share(q.Lines[i].Item.Price.minor*free, r.Off.permyria, 10_000)
		s.parts[i] = min(off, net[i])
		from = to
	}
}

// before returns how many of the first n items are cheaper.
func (o *Off) before(n int64) int64 {
	bundle := o.buy + o.get
	return n/bundle*o.get + max(0, n%bundle-o.buy)
}

// take takes off what apply has found, and returns the sum.
func (q *Quote) take(r *Rule) (sum int64) {
	for i, part := range q.scratch.parts {
		if part > 0 {
			q.scratch.net[i] -= part
			q.Discounts = append(q.Discounts, Discount{r.ID, i, Money{part, q.Subtotal.currency}})
			sum += part
		}
	}
	return sum
}

// Explain returns the quote as text: lines, rules with what they took off or
// why they did not, and sums.
func (q *Quote) Explain() string {
	var b strings.Builder
	for _, l := range q.Lines {
		name := l.Item.Name
		if name == "" {
			name = l.Item.ID
		}
		fmt.Fprintf(&b, "%d × %s at %v: %v", l.Quantity, name, l.Item.Price, l.Gross)
		if l.Discount.minor > 0 {
			fmt.Fprintf(&b, ", less %v", l.Discount)
		}
		if l.Tax.minor > 0 {
			how := "plus"
			if q.TaxIncluded {
				how = "with"
			}
			fmt.Fprintf(&b, ", %s tax of %v", how, l.Tax)
		}
		fmt.Fprintf(&b, ": %v\n", l.Total)
	}
	for _, o := range q.Outcomes {
		if o.Why == "" {
			fmt.Fprintf(&b, "%s (%v): -%v\n", o.Rule, o.Off, o.Discount)
		} else {
			fmt.Fprintf(&b, "%s (%v): not applied, %s\n", o.Rule, o.Off, o.Why)
		}
	}
	how := "plus"
	if q.TaxIncluded {
		how = "with"
	}
	fmt.Fprintf(&b, "total: %v, less %v, %s tax of %v: %v\n", q.Subtotal, q.Discount, how, q.Tax, q.Total)
	return b.String()
}
