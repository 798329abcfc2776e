package occ_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/occ"
)

// Move an amount from one account to another; nobody ever sees it on both, or
// on none.
func Example() {
	ctx := context.Background()
	accounts := occ.New[string, int](nil)
	errFunds := errors.New("not enough money")

	transfer := func(from, to string, amount int) error {
		return accounts.Update(ctx, func(tx *occ.Tx[string, int]) error {
			balance, _ := tx.Get(from)
			if balance < amount {
				return errFunds // and nothing has happened
			}
			tx.Put(from, balance-amount)
			other, _ := tx.Get(to)
			tx.Put(to, other+amount)
			return nil
		})
	}

	_ = accounts.Update(ctx, func(tx *occ.Tx[string, int]) error {
		tx.Put("ann", 100)
		return nil
	})
	fmt.Println(transfer("ann", "bob", 70))
	fmt.Println(transfer("ann", "bob", 70))
	_ = accounts.View(ctx, func(tx *occ.Tx[string, int]) error {
		for name, balance := range tx.All() {
			fmt.Println(name, balance)
		}
		return nil
	})
	// Output:
	// <nil>
	// not enough money
	// ann 30
	// bob 70
}

// Two customers want the last copy of a book. Each finds it in stock; the one
// who commits second is made to look again.
func Example_lastCopy() {
	ctx := context.Background()
	stock := occ.New[string, int](nil)
	_, _, _ = stock.CompareAndSwap(ctx, "the book", 0, 1)

	var wg sync.WaitGroup
	results := make([]string, 2)
	for customer := range results {
		wg.Go(func() {
			_ = stock.Update(ctx, func(tx *occ.Tx[string, int]) error {
				n, _ := tx.Get("the book")
				if n == 0 {
					results[customer] = "sold out"
					return nil
				}
				tx.Put("the book", n-1)
				results[customer] = "bought"
				return nil
			})
		})
	}
	wg.Wait()
	slices.Sort(results)
	left, _, _ := stock.Load("the book")
	fmt.Println(results, left)
	// Output: [bought sold out] 0
}

// Counters that everybody adds to: with Apply they never conflict.
func ExampleTx_Apply() {
	ctx := context.Background()
	counts := occ.New[string, int](nil)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			_ = counts.Update(ctx, func(tx *occ.Tx[string, int]) error {
				tx.Apply("visits", func(n int) int { return n + 1 })
				return nil
			})
		})
	}
	wg.Wait()
	n, _, _ := counts.Load("visits")
	fmt.Println(n, "visits,", counts.Stats().Aborts(), "aborts")
	// Output: 100 visits, 0 aborts
}

// A range that was read must not change before the commit: two doctors who
// both want to go home while two are on call cannot both do so.
func ExampleTx_All() {
	ctx := context.Background()
	onCall := occ.New[string, bool](nil)
	leave := func(name string) (left bool) {
		_ = onCall.Update(ctx, func(tx *occ.Tx[string, bool]) error {
			n := 0
			for range tx.All() {
				n++
			}
			if left = n > 1; left {
				tx.Delete(name)
			}
			return nil
		})
		return left
	}
	_ = onCall.Update(ctx, func(tx *occ.Tx[string, bool]) error {
		tx.Put("ann", true)
		tx.Put("bob", true)
		return nil
	})
	var wg sync.WaitGroup
	var left [2]bool
	wg.Go(func() { left[0] = leave("ann") })
	wg.Go(func() { left[1] = leave("bob") })
	wg.Wait()
	fmt.Println(left[0] != left[1], onCall.Len())
	// Output: true 1
}

// When it is known that others want the same, lock first: the body then runs
// once, and the others wait for it.
func ExampleTx_Lock() {
	ctx := context.Background()
	s := occ.New[string, int](nil)
	runs := 0
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_ = s.Update(ctx, func(tx *occ.Tx[string, int]) error {
				if err := tx.Lock("jackpot", "log"); err != nil {
					return err
				}
				runs++ // under the lock
				n, _ := tx.Get("jackpot")
				tx.Put("jackpot", n+1)
				return nil
			})
		})
	}
	wg.Wait()
	n, _, _ := s.Load("jackpot")
	fmt.Println(n, "of", runs)
	// Output: 10 of 10
}

// What an HTTP server does with ETag and If-Match.
func ExampleStore_CompareAndSwap() {
	ctx := context.Background()
	pages := occ.New[string, string](nil)
	etag, _, _ := pages.CompareAndSwap(ctx, "/home", 0, "hello")

	_, ann, _ := pages.CompareAndSwap(ctx, "/home", etag, "hello from ann")
	_, bob, _ := pages.CompareAndSwap(ctx, "/home", etag, "hello from bob")
	page, _, _ := pages.Load("/home")
	fmt.Println(ann, bob, page)
	// Output: true false hello from ann
}

// Two seats are held while the buyer pays. Who comes too late is told so by
// Confirm, in the same step that would have sold them.
func ExampleHolds() {
	ctx := context.Background()
	now := time.Date(2026, 7, 1, 20, 0, 0, 0, time.UTC)
	seats := occ.NewHolds[string, string](&occ.HoldOptions{
		TTL:         5 * time.Minute,
		MaxPerOwner: 4,
		Now:         func() time.Time { return now },
	})

	ann, _ := seats.Hold(ctx, "ann", "A1", "A2")
	_, err := seats.Hold(ctx, "bob", "A2", "A3")
	fmt.Println(err)

	now = now.Add(5 * time.Minute) // ann looks for her card
	bob, err := seats.Hold(ctx, "bob", "A2", "A3")
	fmt.Println(err, bob.Token > ann.Token)
	fmt.Println(seats.Confirm(ctx, ann.Token))
	fmt.Println(seats.Confirm(ctx, bob.Token))
	for hold := range seats.All() {
		fmt.Println(hold.Owner, hold.Resources, hold.Confirmed())
	}
	// Output:
	// occ: taken: [A2]
	// <nil> true
	// occ: the hold is over
	// <nil>
	// bob [A2 A3] true
}

// In a rush, let the store choose: what is chosen is taken in the same moment.
func ExampleHolds_HoldAny() {
	ctx := context.Background()
	row := []string{"A1", "A2", "A3", "A4", "A5"}
	seats := occ.NewHolds[string, string](nil)
	_, _ = seats.Hold(ctx, "ann", "A2")

	any2, _ := seats.HoldAny(ctx, "bob", occ.FirstFree(2, slices.Values(row)))
	fmt.Println(any2.Resources)

	together := func(free func(string) bool) []string {
		for i := range row[1:] {
			if free(row[i]) && free(row[i+1]) {
				return row[i : i+2]
			}
		}
		return nil
	}
	pair, _ := seats.HoldAny(ctx, "cat", together)
	fmt.Println(pair.Resources)
	_, err := seats.HoldAny(ctx, "dan", together)
	fmt.Println(err)
	// Output:
	// [A1 A3]
	// [A4 A5]
	// occ: taken
}

// With a log a store survives: here one in memory, in the tests of this
// package; a real one writes to disk.
func ExampleOpen() {
	ctx := context.Background()
	log := new(memoryLog[string, int])
	s, _ := occ.Open(ctx, log, nil)
	_ = s.Update(ctx, func(tx *occ.Tx[string, int]) error {
		tx.Put("stock", 3)
		tx.Put("orders", 1)
		return nil
	})

	again, err := occ.Open(ctx, log, nil)
	n, _, _ := again.Load("stock")
	fmt.Println(n, again.Len(), err)
	// Output: 3 2 <nil>
}
