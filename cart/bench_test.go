package cart_test

import (
	"fmt"
	"testing"

	"github.com/ashlar-go/ashlar/cart"
)

func BenchmarkQuote(b *testing.B) {
	for _, rules := range []int{0, 1, 5} {
		for _, size := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("impl=ashlar/size=%d/rules=%d", size, rules), func(b *testing.B) {
				var list []cart.Rule
				for i := range rules {
					list = append(list, cart.Rule{ID: fmt.Sprint(i), Rank: i, Off: cart.Percent(5_00)})
				}
				c := cart.New("a", cart.MustPricing(cart.Taxes{Standard: 20_00}, list...))
				for i := range size {
					if err := c.Add(cart.Item{ID: fmt.Sprint(i), Price: eur(int64(i*137%5000 + 99))}, i%5+1); err != nil {
						b.Fatal(err)
					}
				}
				var q cart.Quote
				b.ReportAllocs()
				for b.Loop() {
					if err := c.QuoteInto(&q, cart.Context{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
