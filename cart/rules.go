package cart

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Rule takes something off the price: what, of which lines, and when. Make
// the Off with Percent, Less, Each or BuyGet.
type Rule struct {
	ID   string // distinct, for the customer and for the order of equals
	Rank int    // rules with less come first; each sees what those before left

	Off Off // what is taken off

	// Types and Items are what it is taken off: lines of one of these types,
	// and of one of these products. Empty means all.
	Types, Items []string

	// Coupon is the code without which the rule does not apply; empty means
	// that it always does.
	Coupon string

	From, Until time.Time // from the first on, and before the second; zero means no bound
	MinSubtotal Money     // of the lines it is taken off, before any rule
	MinQuantity int64     // of these lines

	// OncePerCustomer asks Context.Used.
	OncePerCustomer bool

	// Group names rules of which only the best for the customer applies. What
	// each would take off is compared as if there were no other rule.
	Group string

	// Exclusive rules apply alone or not at all: the one that takes off most,
	// or all the others together if that is more.
	Exclusive bool
}

// An Off is what a rule takes off. The zero Off takes nothing.
type Off struct {
	kind     offKind
	permyria int64 // 1/10000
	amount   Money
	buy, get int64
}

type offKind int

const (
	offNothing offKind = iota
	offPercent
	offLess
	offEach
	offBuyGet
)

// Percent takes off a part of the price, in hundredths of a percent: 12_50 for
// 12.5 %. It panics if that is not from 0 to 100_00.
func Percent(permyriad int) Off {
	if permyriad < 0 || permyriad > 10_000 {
		panic(fmt.Sprintf("cart: %d hundredths of a percent", permyriad))
	}
	return Off{kind: offPercent, permyria: int64(permyriad)}
}

// Less takes off an amount, once. It panics if that is negative.
func Less(amount Money) Off {
	checkAmount(amount)
	return Off{kind: offLess, amount: amount}
}

// Each takes off an amount of every item. It panics if that is negative.
func Each(amount Money) Off {
	checkAmount(amount)
	return Off{kind: offEach, amount: amount}
}

func checkAmount(amount Money) {
	if amount.Sign() < 0 {
		panic(fmt.Sprintf("cart: %v off", amount))
	}
}

// BuyGet takes a part, in hundredths of a percent, off the price of the
// cheapest get of every buy+get items: BuyGet(2, 1, 100_00) is "three for two".
// Items are counted over all lines of the rule, the dearest first. It panics if
// one of the numbers is not positive or permyriad is above 100_00.
func BuyGet(buy, get, permyriad int) Off {
	if buy <= 0 || get <= 0 || permyriad <= 0 || permyriad > 10_000 {
		panic(fmt.Sprintf("cart: buy %d, get %d at %d hundredths of a percent", buy, get, permyriad))
	}
	return Off{kind: offBuyGet, buy: int64(buy), get: int64(get), permyria: int64(permyriad)}
}

// String says what is taken off.
func (o Off) String() string {
	percent := strings.TrimSuffix(fmt.Sprintf("%d.%02d", o.permyria/100, o.permyria%100), ".00") + " %"
	switch o.kind {
	case offPercent:
		return percent
	case offLess:
		return o.amount.String()
	case offEach:
		return o.amount.String() + " each"
	case offBuyGet:
		return fmt.Sprintf("%s of %d with each %d", percent, o.get, o.buy)
	}
	return "nothing"
}

// A Pricing is what carts cost besides the prices of their items: rules and
// taxes. Create one with NewPricing.
//
// A Pricing is safe for concurrent use by multiple goroutines.
type Pricing struct {
	rules   []Rule // by rank, then ID
	coupons map[string]bool
	taxes   Taxes
}

// Taxes say how much tax is on what, in hundredths of a percent. The zero Taxes
// are none.
type Taxes struct {
	Rates    map[string]int // by type of item
	Standard int            // for other types

	// Included says that prices have the tax in them already, as they do
	// where consumers buy in Europe; otherwise it comes on top.
	Included bool

	// PerTotal rounds the tax once for each rate, and shares it out among the
	// lines. Otherwise it is rounded for each line, and the sum is what it is.
	PerTotal bool

	Rounding Rounding
}

// NewPricing returns a pricing. It does not matter in which order rules are
// given. The error wraps ErrRule if two have the same ID, one has none, or none
// of the kinds of Off, a MinQuantity is negative, or a rate of tax is not from 0
// to 1000 %.
func NewPricing(taxes Taxes, rules ...Rule) (*Pricing, error) {
	p := &Pricing{rules: slices.Clone(rules), coupons: map[string]bool{}, taxes: taxes}
	slices.SortStableFunc(p.rules, func(a, b Rule) int { return cmp.Or(cmp.Compare(a.Rank, b.Rank), strings.Compare(a.ID, b.ID)) })
	ids := map[string]bool{}
	for i := range p.rules {
		r := &p.rules[i]
		switch {
		case r.ID == "" || ids[r.ID]:
			return nil, fmt.Errorf("%w: ID %q is missing or there twice", ErrRule, r.ID)
		case r.Off.kind == offNothing:
			return nil, fmt.Errorf("%w: %q takes nothing off", ErrRule, r.ID)
		case r.MinQuantity < 0:
			return nil, fmt.Errorf("%w: %q has a least quantity of %d", ErrRule, r.ID, r.MinQuantity)
		}
		ids[r.ID] = true
		if r.Coupon = canonical(r.Coupon); r.Coupon != "" {
			p.coupons[r.Coupon] = true
		}
	}
	for _, rate := range p.taxes.Rates {
		if rate < 0 || rate > maxRate {
			return nil, fmt.Errorf("%w: tax of %d hundredths of a percent", ErrRule, rate)
		}
	}
	if taxes.Standard < 0 || taxes.Standard > maxRate {
		return nil, fmt.Errorf("%w: tax of %d hundredths of a percent", ErrRule, taxes.Standard)
	}
	return p, nil
}

const maxRate = 100_000

// MustPricing is NewPricing for rules that are written in a program. It panics
// where that returns an error.
func MustPricing(taxes Taxes, rules ...Rule) *Pricing {
	p, err := NewPricing(taxes, rules...)
	if err != nil {
		panic(err.Error())
	}
	return p
}

func (p *Pricing) knows(coupon string) bool { return p.coupons[coupon] }

func (t *Taxes) rate(kind string) int64 {
	if len(t.Rates) > 0 {
		if rate, ok := t.Rates[kind]; ok {
			return int64(rate)
		}
	}
	return int64(t.Standard)
}
