package main

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"

	"github.com/Rhymond/go-money"
	"github.com/bojanz/currency"
	"github.com/cockroachdb/apd/v3"
	govalues "github.com/govalues/decimal"
	"github.com/quagmt/udecimal"
	"github.com/shopspring/decimal"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/cart"
)

func init() {
	harness.Register(harness.Suite{Package: "cart", Doc: "what ten lines cost with tax, with rules; invoices that add up", Run: func(s *harness.Session) {
		quoteTimes(s)
		ruleTimes(s)
		mergeTimes(s)
		invoicesAddUp(s)
	}})
}

// basket is what is priced: prices in cents, and quantities.
var basket = func() (b [10]struct{ price, quantity int64 }) {
	for i := range b {
		b[i].price, b[i].quantity = int64(i*137%5000+99), int64(i%5+1)
	}
	return b
}()

func basketCart(rules ...cart.Rule) *cart.Cart {
	c := cart.New("a", cart.MustPricing(cart.Taxes{Standard: 20_00}, rules...))
	for i, line := range basket {
		if err := c.Add(cart.Item{ID: fmt.Sprint(i), Price: cart.Amount(line.price, cart.EUR)}, int(line.quantity)); err != nil {
			panic(err)
		}
	}
	return c
}

// priced keeps totals from being optimised away.
var priced int64

var _ = &priced

// pricer is an implementation that prices the basket with a tax of 20 % on each
// line, rounded half to even, and returns cents.
func pricer(name string, total func() int64) harness.Impl {
	want, err := basketCart().Total()
	if err != nil {
		panic(err)
	}
	if got := total(); got != want.Minor() {
		panic(fmt.Sprintf("%s says %d, ours is %d", name, got, want.Minor()))
	}
	return harness.Impl{Name: name, Start: func() (func(int), func()) {
		return func(n int) {
			for range n {
				priced += total()
			}
		}, func() {}
	}}
}

func quoter(name string, c *cart.Cart) harness.Impl {
	var q cart.Quote
	return harness.Impl{Name: name, Start: func() (func(int), func()) {
		return func(n int) {
			for range n {
				if err := c.QuoteInto(&q, cart.Context{}); err != nil {
					panic(err)
				}
				priced += q.Total.Minor()
			}
		}, func() {}
	}}
}

func quoteTimes(s *harness.Session) {
	s.Time(harness.Spec{
		Group: "Quote", Name: "10 lines, 20 % tax on each",
		Bars: []harness.Bar{harness.AtMost(200), harness.AtMost(1).Of("govalues/decimal", "udecimal", "shopspring/decimal", "apd", "go-money", "bojanz/currency")},
		Note: "ours makes a quote of lines, the others a total; go-money rounds by its own rule; alpacadecimal cannot be had",
	}, s.Pick(200_000, 50_000, 100), append([]harness.Impl{
		quoter(harness.Ours, basketCart()),
		pricer("int64 by hand", func() (total int64) {
			for _, line := range basket {
				net := line.price * line.quantity
				total += net + halfEven(net*20, 100)
			}
			return total
		}),
		pricer("float64", func() int64 {
			total := 0.
			for _, line := range basket {
				net := float64(line.price) / 100 * float64(line.quantity)
				total += net + math.RoundToEven(net*20)/100
			}
			return int64(math.Round(total * 100))
		}),
	}, decimals()...))
}

// decimals are the peers.
func decimals() []harness.Impl {
	var (
		shop    [10]decimal.Decimal
		gov     [10]govalues.Decimal
		ud      [10]udecimal.Decimal
		apds    [10]apd.Decimal
		moneys  [10]*money.Money
		amounts [10]currency.Amount
	)
	for i, line := range basket {
		text := fmt.Sprintf("%d.%02d", line.price/100, line.price%100)
		shop[i] = decimal.RequireFromString(text)
		gov[i] = govalues.MustParse(text)
		ud[i] = udecimal.MustParse(text)
		apds[i] = *must(apd.New(0, 0).SetFloat64(0))
		if _, _, err := apds[i].SetString(text); err != nil {
			panic(err)
		}
		moneys[i] = money.New(line.price, "EUR")
		amounts[i] = must(currency.NewAmount(text, "EUR"))
	}
	rate, govRate, udRate, apdRate := decimal.RequireFromString("0.2"), govalues.MustParse("0.2"), udecimal.MustParse("0.2"), apd.New(2, -1)
	apdContext := apd.BaseContext.WithPrecision(20)
	apdContext.Rounding = apd.RoundHalfEven
	return []harness.Impl{
		pricer("shopspring/decimal", func() int64 {
			total := decimal.Zero
			for i, line := range basket {
				net := shop[i].Mul(decimal.NewFromInt(line.quantity))
				total = total.Add(net).Add(net.Mul(rate).RoundBank(2))
			}
			return total.Shift(2).IntPart()
		}),
		pricer("govalues/decimal", func() int64 {
			total := govalues.Zero
			for i, line := range basket {
				net := must(gov[i].Mul(must(govalues.New(line.quantity, 0))))
				tax := must(net.Mul(govRate)).Round(2)
				total = must(must(total.Add(net)).Add(tax))
			}
			return int64(total.Rescale(2).Coef())
		}),
		pricer("udecimal", func() int64 {
			total := udecimal.Zero
			for i, line := range basket {
				net := ud[i].Mul64(uint64(line.quantity))
				total = total.Add(net).Add(net.Mul(udRate).RoundBank(2))
			}
			return must(total.Mul64(100).Int64())
		}),
		pricer("apd", func() int64 {
			var total, net, tax, quantity apd.Decimal
			for i, line := range basket {
				quantity.SetInt64(line.quantity)
				must(apdContext.Mul(&net, &apds[i], &quantity))
				must(apdContext.Mul(&tax, &net, apdRate))
				must(apdContext.Quantize(&tax, &tax, -2))
				must(apdContext.Add(&total, &total, &net))
				must(apdContext.Add(&total, &total, &tax))
			}
			total.Exponent += 2
			return must(total.Int64())
		}),
		pricer("go-money", func() int64 {
			total := money.New(0, "EUR")
			for i, line := range basket {
				net := moneys[i].Multiply(line.quantity)
				total = must(total.Add(net, money.New(halfEven(net.Amount()*20, 100), "EUR")))
			}
			return total.Amount()
		}),
		pricer("bojanz/currency", func() int64 {
			total := must(currency.NewAmount("0", "EUR"))
			for i, line := range basket {
				net := must(amounts[i].Mul(strconv.FormatInt(line.quantity, 10)))
				tax := must(net.Mul("0.2")).RoundTo(2, currency.RoundHalfEven)
				total = must(must(total.Add(net)).Add(tax))
			}
			return must(total.Int64())
		}),
	}
}

// ruleTimes shows what rules cost.
func ruleTimes(s *harness.Session) {
	s.Time(harness.Spec{Group: "Quote", Name: "10 lines with rules", Note: "a percentage, and ten rules of which three apply"}, s.Pick(50_000, 20_000, 100), []harness.Impl{
		quoter(harness.Ours, basketCart(cart.Rule{ID: "ten", Off: cart.Percent(10_00)})),
		quoter("ashlar, ten rules", basketCart(tenRules()...)),
	})
}

func tenRules() (rules []cart.Rule) {
	for i := range 10 {
		rule := cart.Rule{ID: fmt.Sprint(i), Rank: i, Off: cart.Percent(5_00)}
		if i > 2 {
			rule.Coupon = "none"
		}
		rules = append(rules, rule)
	}
	return rules
}

func halfEven(num, den int64) int64 {
	q, r := num/den, num%den
	if 2*r > den || 2*r == den && q&1 == 1 {
		q++
	}
	return q
}

func mergeTimes(s *harness.Session) {
	s.Time(harness.Spec{Group: "Quote", Name: "merge of two copies with 10 lines"}, s.Pick(20_000, 5_000, 100), []harness.Impl{{
		Name: harness.Ours, Start: func() (func(int), func()) {
			a := basketCart()
			b := a.Clone("b")
			if err := b.Add(cart.Item{ID: "new", Price: cart.Amount(5, cart.EUR)}, 1); err != nil {
				panic(err)
			}
			return func(n int) {
				for range n {
					if err := a.Merge(b); err != nil {
						panic(err)
					}
				}
			}, func() {}
		},
	}})
}

// invoicesAddUp counts invoices whose lines, discounted one by one, do not sum
// up to the total, discounted as a whole.
func invoicesAddUp(s *harness.Session) {
	s.Value(harness.Spec{
		Group: "Invoices", Name: "invoices that do not add up, at 33.33 % off", Unit: "of a hundred", Bars: []harness.Bar{harness.AtMost(0)},
		Note: "real ones, or drawn ones where they are not there; lines of float64, each rounded to cents, as many shops do",
	}, func() []harness.Figure {
		var ours, lines, all float64
		pricing := cart.MustPricing(cart.Taxes{}, cart.Rule{ID: "third", Off: cart.Percent(33_33)})
		eachInvoice(s.Pick(1<<30, 5000, 50), func(prices, quantities []int64) {
			all++
			c := cart.New("a", pricing)
			var subtotal, rounded int64
			for i, price := range prices {
				if err := c.Add(cart.Item{ID: fmt.Sprint(i), Price: cart.Amount(price, cart.GBP)}, int(quantities[i])); err != nil {
					panic(err)
				}
				subtotal += price * quantities[i]
				rounded += int64(math.Round(float64(price*quantities[i]) * .3333))
			}
			q := must(c.Quote(cart.Context{}))
			want := halfEven(subtotal*3333, 10_000)
			sum := int64(0)
			for _, l := range q.Lines {
				sum += l.Total.Minor()
			}
			if sum != subtotal-want || q.Total.Minor() != sum {
				ours++
			}
			if rounded != want {
				lines++
			}
		})
		return []harness.Figure{{Name: harness.Ours, Value: 100 * ours / all}, {Name: "rounded lines", Value: 100 * lines / all}}
	})
}

// eachInvoice calls f with prices in pence and quantities of the lines of
// invoices.
func eachInvoice(limit int, f func(prices, quantities []int64)) {
	file, err := os.Open("../shared/data/commerce/retail_lines.csv.gz")
	if err != nil {
		r := rand.New(rand.NewPCG(1, 1))
		for range min(limit, 20_000) {
			var prices, quantities []int64
			for range 1 + r.IntN(40) {
				prices, quantities = append(prices, 1+r.Int64N(2000)), append(quantities, 1+r.Int64N(20))
			}
			f(prices, quantities)
		}
		return
	}
	defer file.Close()
	lines := csv.NewReader(bufio.NewReader(must(gzip.NewReader(file))))
	must(lines.Read())
	var prices, quantities []int64
	for last, n := "", 0; n < limit; {
		row, err := lines.Read()
		if err != nil || row[1] != last {
			if len(prices) > 0 {
				f(prices, quantities)
				n++
			}
			prices, quantities = nil, nil
			if err != nil {
				return
			}
			last = row[1]
		}
		quantity := must(strconv.ParseInt(row[3], 10, 64))
		price := int64(math.Round(must(strconv.ParseFloat(row[4], 64)) * 100))
		if quantity > 0 && price > 0 {
			prices, quantities = append(prices, price), append(quantities, quantity)
		}
	}
}
