package cart_test

import (
	"encoding/json"
	"fmt"

	"github.com/ashlar-go/ashlar/cart"
)

// eur returns an amount in cents.
func eur(cents int64) cart.Money { return cart.Amount(cents, cart.EUR) }

func Example() {
	pricing := cart.MustPricing(cart.Taxes{Standard: 20_00, Included: true},
		cart.Rule{ID: "ten percent off books", Coupon: "READ", Off: cart.Percent(10_00), Types: []string{"books"}})

	basket := cart.New("web-1", pricing)
	novel := cart.Item{ID: "978-3", Name: "A Novel", Type: "books", Price: eur(1995)}
	mug := cart.Item{ID: "mug", Name: "Mug", Type: "kitchen", Price: eur(850), Options: map[string]string{"colour": "blue"}}
	_ = basket.Add(novel, 3)
	_ = basket.Add(mug, 1)
	_ = basket.ChangeQuantity(novel.Key(), 1)
	_ = basket.ApplyCoupon("read")
	fmt.Println(basket.Total())

	_ = basket.Remove(mug.Key())
	fmt.Println(basket.Total())
	// Output:
	// 26.45 EUR <nil>
	// 17.95 EUR <nil>
}

func ExampleQuote_Explain() {
	pricing := cart.MustPricing(cart.Taxes{Standard: 20_00},
		cart.Rule{ID: "three for two", Off: cart.BuyGet(2, 1, 100_00), Types: []string{"pens"}},
		cart.Rule{ID: "5 EUR from 50 EUR on", Rank: 1, Off: cart.Less(eur(500)), MinSubtotal: eur(5000)})
	basket := cart.New("web-1", pricing)
	_ = basket.Add(cart.Item{ID: "pen", Name: "Pen", Type: "pens", Price: eur(199)}, 3)
	_ = basket.Add(cart.Item{ID: "pad", Name: "Pad", Price: eur(333)}, 1)
	quote, err := basket.Quote(cart.Context{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(quote.Explain())
	// Output:
	// 1 × Pad at 3.33 EUR: 3.33 EUR, plus tax of 0.67 EUR: 4.00 EUR
	// 3 × Pen at 1.99 EUR: 5.97 EUR, less 1.99 EUR, plus tax of 0.80 EUR: 4.78 EUR
	// three for two (100 % of 1 with each 2): -1.99 EUR
	// 5 EUR from 50 EUR on (5.00 EUR): not applied, it needs 50.00 EUR, and there are 9.30 EUR
	// total: 9.30 EUR, less 1.99 EUR, plus tax of 1.47 EUR: 8.78 EUR
}

// Two copies of a cart that did not hear of each other: what one removed is
// gone, what the other one added is there.
func ExampleCart_Merge() {
	book := cart.Item{ID: "book", Price: eur(1000)}
	pen := cart.Item{ID: "pen", Price: eur(150)}
	a := cart.New("a", nil)
	_ = a.Add(book, 1)
	b := a.Clone("b")

	_ = a.Remove(book.Key())
	_ = b.Add(pen, 2)
	_ = a.Merge(b)
	_ = b.Merge(a)
	fmt.Println(a.Quantity(book.Key()), a.Quantity(pen.Key()))
	fmt.Println(b.Quantity(book.Key()), b.Quantity(pen.Key()))
	fmt.Println("with more items:", cart.MoreItems(a, b).Items())
	// Output:
	// 0 2
	// 0 2
	// with more items: 2
}

func ExampleMoney_Allocate() {
	parts, err := eur(100).Allocate(1, 1, 1)
	fmt.Println(parts, err)
	// Output: [0.34 EUR 0.33 EUR 0.33 EUR] <nil>
}

func ExampleMoney_Add() {
	sum, err := eur(1 << 62).Add(eur(1 << 62))
	fmt.Println(sum, err)
	_, err = eur(1).Add(cart.Amount(1, cart.USD))
	fmt.Println(err)
	// Output:
	// 0 cart: amount too large: 46116860184273879.04 EUR + 46116860184273879.04 EUR
	// cart: different or unknown currency: 0.01 EUR and 0.01 USD
}

// Two lines of one cart that share stock.
func ExampleStock() {
	var stock cart.Stock
	stock.Set("shirt", 2)
	basket := cart.New("web-1", nil)
	_ = basket.Add(cart.Item{ID: "shirt", Price: eur(2000), Options: map[string]string{"print": "cat"}}, 2)
	_ = basket.Add(cart.Item{ID: "shirt", Price: eur(2000), Options: map[string]string{"print": "dog"}}, 1)
	fmt.Println(stock.Take(basket))
	// Output: cart: not enough in stock: 3 of shirt, and there are 2
}

func ExampleGuestMax() {
	book := cart.Item{ID: "book", Price: eur(1000)}
	account, guest := cart.New("account", nil), cart.New("guest", nil)
	_ = account.Add(book, 1)
	_ = guest.Add(book, 2)
	fmt.Println(cart.GuestMax(account, guest), account.Quantity(book.Key()))
	// Output: <nil> 2
}

func ExampleCart_MarshalJSON() {
	basket := cart.New("a", nil)
	_ = basket.Add(cart.Item{ID: "book", Price: eur(1000)}, 1)
	data, _ := json.Marshal(basket)
	fmt.Println(string(data))
	// Output: {"version":1,"host":"a","lines":[{"id":"book","price":{"amount":"10.00","currency":"EUR"},"quantity":1,"counters":{"a":{"added":1}}}]}
}
