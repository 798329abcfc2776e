package cart

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// checkQuote holds a quote against guarantee 2.
func checkQuote(t testing.TB, c *Cart, q *Quote) {
	t.Helper()
	var gross, discount, tax, total, byRule, byOutcome int64
	byLine := make([]int64, len(q.Lines))
	for _, d := range q.Discounts {
		byRule += d.Amount.minor
		byLine[d.Line] += d.Amount.minor
		if d.Amount.minor <= 0 {
			t.Fatalf("discount of %v", d.Amount)
		}
	}
	for _, o := range q.Outcomes {
		byOutcome += o.Discount.minor
		if (o.Why == "") != (o.Discount.minor > 0) {
			t.Fatalf("outcome %+v", o)
		}
	}
	for i, l := range q.Lines {
		price, ok := mul(l.Item.Price.minor, l.Quantity)
		want := l.Gross.minor - l.Discount.minor
		if !q.TaxIncluded {
			want += l.Tax.minor
		}
		if !ok || l.Gross.minor != price || l.Total.minor != want || l.Discount.minor != byLine[i] ||
			min(l.Gross.minor, l.Discount.minor, l.Tax.minor, l.Total.minor) < 0 {
			t.Fatalf("line %d: %+v, discounts of %d", i, l, byLine[i])
		}
		gross, discount, tax, total = gross+l.Gross.minor, discount+l.Discount.minor, tax+l.Tax.minor, total+l.Total.minor
	}
	if gross != q.Subtotal.minor || discount != q.Discount.minor || tax != q.Tax.minor || total != q.Total.minor || byRule != discount || byOutcome != discount {
		t.Fatalf("%+v: lines sum up to %d, %d, %d, %d, rules to %d and %d", q, gross, discount, tax, total, byRule, byOutcome)
	}
	if len(q.Lines) != c.Len() {
		t.Fatalf("%d lines of %d", len(q.Lines), c.Len())
	}
}

// quote prices a cart of items, one each of (id, type, price, quantity).
func quote(t testing.TB, p *Pricing, coupons []string, ctx Context, items ...Item) *Quote {
	t.Helper()
	c := New("a", p)
	for _, item := range items {
		quantity := 1
		if n, ok := item.Options["n"]; ok {
			quantity, _ = strconv.Atoi(n)
			item.Options = nil
		}
		require.NoError(t, c.Add(item, quantity))
	}
	for _, code := range coupons {
		require.NoError(t, c.ApplyCoupon(code))
	}
	q, err := c.Quote(ctx)
	require.NoError(t, err)
	checkQuote(t, c, q)
	return q
}

// thing returns an item, of which quote takes n.
func thing(id, kind string, price int64, n int) Item {
	return Item{ID: id, Type: kind, Price: eur(price), Options: map[string]string{"n": strconv.Itoa(n)}}
}

func TestRules(t *testing.T) {
	a, b := thing("a", "book", 1000, 2), thing("b", "toy", 333, 3)
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		rule Rule
		want int64
	}{
		"percent":              {Rule{Off: Percent(10_00)}, 300}, // of 29.99
		"percent of a type":    {Rule{Off: Percent(50_00), Types: []string{"toy"}}, 500},
		"percent of a product": {Rule{Off: Percent(25_00), Items: []string{"a"}}, 500},
		"all":                  {Rule{Off: Percent(100_00)}, 2999},
		"amount":               {Rule{Off: Less(eur(500))}, 500},
		"more than there is":   {Rule{Off: Less(eur(99999))}, 2999},
		"amount of a type":     {Rule{Off: Less(eur(99999)), Types: []string{"toy"}}, 999},
		"each":                 {Rule{Off: Each(eur(100))}, 500},
		"each, at most all":    {Rule{Off: Each(eur(400))}, 2*400 + 999},
		"three for two":        {Rule{Off: BuyGet(2, 1, 100_00)}, 333},
		"two for one":          {Rule{Off: BuyGet(1, 1, 100_00)}, 1000 + 333},
		"half of the second":   {Rule{Off: BuyGet(1, 1, 50_00)}, 500 + 166},
		"three toys for two":   {Rule{Off: BuyGet(2, 1, 100_00), Types: []string{"toy"}}, 333},
		"ten for nine":         {Rule{Off: BuyGet(9, 1, 100_00)}, 0},
		"no coupon":            {Rule{Off: Percent(10_00), Coupon: "x"}, 0},
		"coupon":               {Rule{Off: Percent(10_00), Coupon: "ten"}, 300},
		"threshold":            {Rule{Off: Less(eur(500)), MinSubtotal: eur(2999)}, 500},
		"below the threshold":  {Rule{Off: Less(eur(500)), MinSubtotal: eur(3000)}, 0},
		"threshold of a type":  {Rule{Off: Less(eur(500)), MinSubtotal: eur(1000), Types: []string{"toy"}}, 0},
		"quantity":             {Rule{Off: Less(eur(500)), MinQuantity: 5}, 500},
		"too few":              {Rule{Off: Less(eur(500)), MinQuantity: 6}, 0},
		"not yet":              {Rule{Off: Less(eur(500)), From: now.Add(1)}, 0},
		"from now":             {Rule{Off: Less(eur(500)), From: now}, 500},
		"no more":              {Rule{Off: Less(eur(500)), Until: now}, 0},
		"to the end":           {Rule{Off: Less(eur(500)), Until: now.Add(1)}, 500},
		"used":                 {Rule{Off: Less(eur(500)), OncePerCustomer: true}, 0},
		"other type":           {Rule{Off: Less(eur(500)), Types: []string{"food"}}, 0},
		"nothing":              {Rule{Off: Percent(0)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			test.rule.ID = "rule"
			p := MustPricing(Taxes{}, test.rule, Rule{ID: "ten", Coupon: "Ten", Off: Percent(1), Types: []string{"none"}})
			q := quote(t, p, []string{"TEN"}, Context{Now: now, Used: func(rule string) bool { return rule == "rule" }}, a, b)
			require.Equal(t, eur(test.want), q.Discount, q.Explain())
			require.Equal(t, eur(2999-test.want), q.Total)
		})
	}
}

// Each rule sees what those before it left; it does not matter in which order
// they were made, nor in which coupons were applied.
func TestOrderOfRules(t *testing.T) {
	rules := []Rule{
		{ID: "percent", Rank: 1, Off: Percent(10_00), Coupon: "A"},
		{ID: "amount", Rank: 2, Off: Less(eur(500)), Coupon: "B"},
		{ID: "each", Rank: 2, Off: Each(eur(1)), Coupon: "C"},
	}
	items := []Item{thing("a", "book", 1000, 2), thing("b", "toy", 333, 3)}
	first := quote(t, MustPricing(Taxes{}, rules...), []string{"A", "B", "C"}, Context{}, items...)
	require.Equal(t, eur(300+500+5), first.Discount)
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {1, 0, 2}} {
		var shuffled []Rule
		var coupons []string
		for _, i := range order {
			shuffled = append(shuffled, rules[i])
			coupons = append(coupons, rules[i].Coupon)
		}
		slices.Reverse(items)
		q := quote(t, MustPricing(Taxes{}, shuffled...), coupons, Context{}, items...)
		require.Equal(t, first.Explain(), q.Explain())
	}
	swapped := slices.Clone(rules)
	swapped[0].Rank = 3
	q := quote(t, MustPricing(Taxes{}, swapped...), []string{"A", "B", "C"}, Context{}, items...)
	require.Equal(t, eur(500+5+249), q.Discount, "ten percent of what the others left")
}

func TestGroupsAndExclusion(t *testing.T) {
	items := []Item{thing("a", "book", 1000, 2), thing("b", "toy", 500, 2)}
	t.Run("group", func(t *testing.T) {
		p := MustPricing(Taxes{},
			Rule{ID: "ten", Group: "sale", Off: Percent(10_00)},
			Rule{ID: "toys", Group: "sale", Off: Percent(50_00), Types: []string{"toy"}},
			Rule{ID: "fee", Off: Less(eur(1))})
		q := quote(t, p, nil, Context{}, items...)
		require.Equal(t, eur(501), q.Discount)
		require.Contains(t, q.Explain(), "ten (10 %): not applied, toys is better, of sale")
	})
	t.Run("exclusive and best", func(t *testing.T) {
		p := MustPricing(Taxes{}, Rule{ID: "half", Exclusive: true, Off: Percent(50_00)}, Rule{ID: "third", Exclusive: true, Off: Percent(33_33)}, Rule{ID: "ten", Off: Percent(10_00)}, Rule{ID: "fee", Off: Less(eur(1))})
		q := quote(t, p, nil, Context{}, items...)
		require.Equal(t, eur(1500), q.Discount)
		require.Contains(t, q.Explain(), "ten (10 %): not applied, half excludes it")
	})
	t.Run("exclusive and not best", func(t *testing.T) {
		p := MustPricing(Taxes{}, Rule{ID: "five", Exclusive: true, Off: Percent(5_00)}, Rule{ID: "four", Exclusive: true, Off: Percent(4_00)}, Rule{ID: "ten", Off: Percent(10_00)})
		q := quote(t, p, nil, Context{}, items...)
		require.Equal(t, eur(300), q.Discount)
		require.Contains(t, q.Explain(), "five (5 %): not applied, the others take off more together")
	})
	t.Run("nothing is left", func(t *testing.T) {
		p := MustPricing(Taxes{}, Rule{ID: "all", Off: Percent(100_00)}, Rule{ID: "more", Rank: 1, Off: Less(eur(5))})
		q := quote(t, p, nil, Context{}, items...)
		require.Zero(t, q.Total.Minor())
		require.Contains(t, q.Explain(), "more (0.05 EUR): not applied, others have left nothing to take off")
	})
}

func TestTaxes(t *testing.T) {
	items := []Item{thing("a", "book", 999, 1), thing("b", "toy", 333, 1), thing("c", "toy", 333, 1)}
	for name, test := range map[string]struct {
		taxes      Taxes
		tax, total int64
	}{
		"none":                     {Taxes{}, 0, 1665},
		"on top, by line":          {Taxes{Standard: 20_00}, 200 + 67 + 67, 1665 + 334},
		"on top, by total":         {Taxes{Standard: 20_00, PerTotal: true}, 333, 1665 + 333},
		"included, by line":        {Taxes{Standard: 20_00, Included: true}, 166 + 56 + 56, 1665},
		"included, by total":       {Taxes{Standard: 20_00, Included: true, PerTotal: true}, 278, 1665},
		"two rates":                {Taxes{Standard: 20_00, Rates: map[string]int{"book": 7_00}}, 70 + 67 + 67, 1665 + 204},
		"two rates, by total":      {Taxes{Standard: 20_00, Rates: map[string]int{"book": 7_00}, PerTotal: true}, 70 + 133, 1665 + 203},
		"one of them none":         {Taxes{Standard: 20_00, Rates: map[string]int{"book": 0}}, 134, 1665 + 134},
		"rounded down":             {Taxes{Standard: 20_00, Rounding: Down}, 199 + 66 + 66, 1665 + 331},
		"rounded up":               {Taxes{Standard: 20_00, Rounding: Up}, 200 + 67 + 67, 1665 + 334},
		"halves to the even":       {Taxes{Standard: 50_00}, 500 + 166 + 166, 1665 + 832},
		"halves away from nothing": {Taxes{Standard: 50_00, Rounding: HalfUp}, 500 + 167 + 167, 1665 + 834},
		"a lot":                    {Taxes{Standard: 1000_00}, 16650, 1665 * 11},
	} {
		t.Run(name, func(t *testing.T) {
			q := quote(t, MustPricing(test.taxes), nil, Context{}, items...)
			require.Equal(t, eur(test.tax), q.Tax)
			require.Equal(t, eur(test.total), q.Total)
		})
	}
	q := quote(t, MustPricing(Taxes{Standard: 20_00}, Rule{ID: "all", Off: Percent(100_00)}), nil, Context{}, items...)
	require.Zero(t, q.Tax.Minor(), "the tax is on what is left")
}

func TestBadRules(t *testing.T) {
	off := Percent(1)
	for name, rules := range map[string][]Rule{
		"no ID": {{Off: off}}, "same ID": {{ID: "a", Off: off}, {ID: "a", Off: off}}, "nothing off": {{ID: "a"}}, "quantity": {{ID: "a", Off: off, MinQuantity: -1}},
	} {
		_, err := NewPricing(Taxes{}, rules...)
		require.ErrorIs(t, err, ErrRule, name)
		require.Panics(t, func() { MustPricing(Taxes{}, rules...) })
	}
	for _, taxes := range []Taxes{{Standard: -1}, {Standard: maxRate + 1}, {Rates: map[string]int{"x": -1}}} {
		_, err := NewPricing(taxes)
		require.ErrorIs(t, err, ErrRule)
	}
	for _, f := range []func(){
		func() { Percent(-1) }, func() { Percent(10_001) }, func() { Less(eur(-1)) }, func() { Each(eur(-1)) },
		func() { BuyGet(0, 1, 1) }, func() { BuyGet(1, 0, 1) }, func() { BuyGet(1, 1, 0) }, func() { BuyGet(1, 1, 10_001) },
	} {
		require.Panics(t, f)
	}
	c := New("a", MustPricing(Taxes{}, Rule{ID: "x", Off: Less(Amount(1, USD))}))
	require.NoError(t, c.Add(book(100), 1))
	_, err := c.Quote(Context{})
	require.ErrorIs(t, err, ErrCurrency)
	c = New("a", MustPricing(Taxes{}, Rule{ID: "x", Off: Percent(1), MinSubtotal: Amount(1, USD)}))
	require.NoError(t, c.Add(book(100), 1))
	_, err = c.Total()
	require.ErrorIs(t, err, ErrCurrency)
	for o, want := range map[Off]string{Percent(12_50): "12.50 %", Less(eur(5)): "0.05 EUR", Each(eur(5)): "0.05 EUR each", BuyGet(2, 1, 100_00): "100 % of 1 with each 2", {}: "nothing"} {
		require.Equal(t, want, o.String())
	}
}

// Amounts that do not fit are errors, at each place where they are made.
func TestQuoteOverflows(t *testing.T) {
	for name, test := range map[string]struct {
		taxes Taxes
		items []Item
	}{
		"a line":     {Taxes{}, []Item{thing("a", "", math.MaxInt64, 2)}},
		"the sum":    {Taxes{}, []Item{thing("a", "", math.MaxInt64, 1), thing("b", "", 1, 1)}},
		"the tax":    {Taxes{Standard: 1000_00}, []Item{thing("a", "", math.MaxInt64/2, 1)}},
		"with tax":   {Taxes{Standard: 20_00}, []Item{thing("a", "", math.MaxInt64/10*9, 1)}},
		"tax in all": {Taxes{Standard: 1000_00, PerTotal: true}, []Item{thing("a", "", math.MaxInt64/2, 1)}},
		"many totals": {Taxes{Standard: 1000_00}, slices.Collect(func(yield func(Item) bool) {
			for i := range 9 {
				if !yield(thing(fmt.Sprint(i), "", math.MaxInt64/100*9, 1)) {
					return
				}
			}
		})},
	} {
		c := New("a", MustPricing(test.taxes))
		for _, item := range test.items {
			n, _ := strconv.Atoi(item.Options["n"])
			require.NoError(t, c.Add(item, n))
		}
		_, err := c.Quote(Context{})
		require.ErrorIs(t, err, ErrOverflow, name)
	}
	q := quote(t, MustPricing(Taxes{Standard: 20_00, Included: true}), nil, Context{}, thing("a", "", math.MaxInt64, 1))
	require.Equal(t, int64(math.MaxInt64), q.Total.Minor())
	q = quote(t, MustPricing(Taxes{}, Rule{ID: "x", Off: Each(eur(math.MaxInt64))}, Rule{ID: "y", Off: BuyGet(1, 1, 100_00)}), nil, Context{}, thing("a", "", math.MaxInt64/4, 4))
	require.Equal(t, int64(math.MaxInt64/4*4), q.Subtotal.Minor())
}

// randomPricing draws rules of all kinds.
func randomPricing(r *rand.Rand) *Pricing {
	var rules []Rule
	for i := range r.IntN(6) {
		rule := Rule{ID: fmt.Sprint("r", i), Rank: r.IntN(3), Exclusive: r.IntN(5) == 0, MinQuantity: int64(r.IntN(4))}
		switch r.IntN(4) {
		case 0:
			rule.Off = Percent(r.IntN(10_001))
		case 1:
			rule.Off = Less(eur(int64(r.IntN(5000))))
		case 2:
			rule.Off = Each(eur(int64(r.IntN(500))))
		case 3:
			rule.Off = BuyGet(1+r.IntN(3), 1+r.IntN(2), 1+r.IntN(10_000))
		}
		if r.IntN(2) == 0 {
			rule.Types = []string{fmt.Sprint("t", r.IntN(3))}
		}
		if r.IntN(3) == 0 {
			rule.Group = "g"
		}
		rules = append(rules, rule)
	}
	taxes := Taxes{Standard: r.IntN(3000), Rates: map[string]int{"t0": r.IntN(1000)}, Included: r.IntN(2) == 0, PerTotal: r.IntN(2) == 0, Rounding: Rounding(r.IntN(4))}
	return MustPricing(taxes, rules...)
}

// Whatever the rules, quotes add up, and a Quote that was used before gives the
// same as a new one.
func TestQuotesAddUp(t *testing.T) {
	n := 20_000
	if raceEnabled {
		n = 2000
	}
	var again Quote
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 3))
		c := New("a", randomPricing(r))
		for range r.IntN(8) {
			item := Item{ID: fmt.Sprint(r.IntN(9)), Type: fmt.Sprint("t", r.IntN(4)), Price: eur(int64(r.IntN(3000)))}
			require.NoError(t, c.Add(item, 1+r.IntN(5)))
		}
		q, err := c.Quote(Context{})
		require.NoError(t, err)
		checkQuote(t, c, q)
		require.NoError(t, c.QuoteInto(&again, Context{}))
		require.Equal(t, q.Explain(), again.Explain())
	}
}

// Every real invoice sums up exactly, under each of a set of coupons and all of
// them together.
func TestInvoices(t *testing.T) {
	var rules []Rule
	for i, off := range []Off{
		Percent(10_00), Percent(33_33), Percent(1), Percent(99_99), Less(Amount(500, GBP)), Less(Amount(1, GBP)), Each(Amount(7, GBP)),
		BuyGet(2, 1, 100_00), BuyGet(1, 1, 50_00), BuyGet(9, 3, 12_34),
	} {
		rules = append(rules, Rule{ID: fmt.Sprint(i), Rank: i % 3, Coupon: fmt.Sprint("c", i), Off: off})
	}
	pricings := []*Pricing{MustPricing(Taxes{Standard: 20_00}, rules...), MustPricing(Taxes{Standard: 20_00, Included: true, PerTotal: true}, rules...)}
	reversed := slices.Clone(rules)
	slices.Reverse(reversed)
	backward := MustPricing(Taxes{Standard: 20_00}, reversed...)

	invoices, quotes := 0, 0
	var q, q2 Quote
	check := func(items []Item, quantities []int) {
		invoices++
		for k, p := range pricings {
			c := New("a", p)
			for i, item := range items {
				require.NoError(t, c.Add(item, quantities[i]))
			}
			for i := range len(rules) + 1 {
				if raceEnabled && i%4 != 0 {
					continue
				}
				one := c.Clone("a")
				for j := range rules {
					if i == j || i == len(rules) {
						require.NoError(t, one.ApplyCoupon(rules[j].Coupon))
					}
				}
				require.NoError(t, one.QuoteInto(&q, Context{}))
				checkQuote(t, one, &q)
				quotes++
				if k == 0 && i == len(rules) {
					one.pricing = backward
					require.NoError(t, one.QuoteInto(&q2, Context{}))
					require.Equal(t, q.Lines, q2.Lines)
				}
			}
		}
	}
	eachInvoice(t, check)
	t.Logf("%d invoices, %d quotes", invoices, quotes)
	require.Positive(t, invoices)
}

// eachInvoice calls check with the invoices of the data set, or with drawn ones
// where it is not there. Lines with no price or a negative quantity, which are
// corrections, are left out.
func eachInvoice(t *testing.T, check func(items []Item, quantities []int)) {
	f, err := os.Open("../../shared/data/commerce/retail_lines.csv.gz")
	if err != nil || testing.Short() || raceEnabled {
		r := rand.New(rand.NewPCG(1, 1))
		for range 300 {
			var items []Item
			var quantities []int
			for i := range 1 + r.IntN(30) {
				items = append(items, Item{ID: fmt.Sprint(i), Price: Amount(int64(1+r.IntN(2000)), GBP)})
				quantities = append(quantities, 1+r.IntN(50))
			}
			check(items, quantities)
		}
		return
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	lines := csv.NewReader(bufio.NewReader(z))
	_, err = lines.Read()
	require.NoError(t, err)
	var items []Item
	var quantities []int
	last := ""
	flush := func() {
		if len(items) > 0 {
			check(items, quantities)
		}
		items, quantities = nil, nil
	}
	for {
		row, err := lines.Read()
		if errors.Is(err, io.EOF) {
			flush()
			return
		}
		require.NoError(t, err)
		if row[1] != last {
			flush()
			last = row[1]
		}
		quantity, err := strconv.Atoi(row[3])
		require.NoError(t, err)
		pounds, err := strconv.ParseFloat(row[4], 64)
		require.NoError(t, err)
		price := Amount(int64(math.Round(pounds*100)), GBP)
		if quantity > 0 && price.minor > 0 {
			items, quantities = append(items, Item{ID: row[2], Price: price}), append(quantities, quantity)
		}
	}
}

func TestQuoteAllocatesNothing(t *testing.T) {
	c := New("a", MustPricing(Taxes{Standard: 20_00}))
	for i := range 10 {
		require.NoError(t, c.Add(Item{ID: fmt.Sprint(i), Price: eur(int64(i*100 + 99))}, i+1))
	}
	var q Quote
	require.NoError(t, c.QuoteInto(&q, Context{}))
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = c.QuoteInto(&q, Context{}) }))
}
