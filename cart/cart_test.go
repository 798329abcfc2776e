package cart

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func book(price int64) Item {
	return Item{ID: "book", Name: "A Book", Type: "books", Price: eur(price)}
}

func TestCart(t *testing.T) {
	c := New("a", nil)
	require.NoError(t, c.Add(book(1000), 2))
	require.NoError(t, c.Add(book(1000), 1))
	pen := Item{ID: "pen", Type: "office", Price: eur(150), Options: map[string]string{"colour": "blue", "size": "m"}}
	require.NoError(t, c.Add(pen, 4))
	same := Item{ID: "pen", Type: "office", Price: eur(150), Options: map[string]string{"size": "m", "colour": "blue"}}
	require.Equal(t, pen.Key(), same.Key(), "the order of options does not matter")
	require.NoError(t, c.Add(same, 1))
	other := book(900)
	require.NotEqual(t, other.Key(), new(book(1000)).Key(), "another price is another line")
	require.NoError(t, c.Add(other, 1))
	require.Equal(t, 3, c.Len())
	require.EqualValues(t, 9, c.Items())
	require.Equal(t, 3, c.Quantity(new(book(1000)).Key()))
	require.Equal(t, 5, c.Quantity(pen.Key()))
	total, err := c.Total()
	require.NoError(t, err)
	require.Equal(t, eur(3*1000+5*150+900), total)

	require.NoError(t, c.ChangeQuantity(pen.Key(), 2))
	require.Equal(t, 2, c.Quantity(pen.Key()))
	require.NoError(t, c.ChangeQuantity(other.Key(), 0))
	require.NoError(t, c.Remove(pen.Key()))
	require.Zero(t, c.Quantity(pen.Key()))
	require.ErrorIs(t, c.Remove(pen.Key()), ErrNoLine)
	require.ErrorIs(t, c.ChangeQuantity(pen.Key(), 1), ErrNoLine)
	require.ErrorIs(t, c.Remove("x"), ErrNoLine)
	require.NoError(t, c.Add(pen, 1))
	require.Equal(t, 1, c.Quantity(pen.Key()), "what was removed is not there again")

	// The caller may change his options afterwards.
	pen.Options["colour"] = "red"
	for item := range c.Lines() {
		if item.ID == "pen" {
			require.Equal(t, "blue", item.Options["colour"])
		}
	}
	total, err = New("a", nil).Total()
	require.NoError(t, err)
	require.Zero(t, total)
}

// Keys of different items are different, whatever is in their texts.
func TestKeysAreDistinct(t *testing.T) {
	items := []Item{
		{ID: "a"}, {ID: "a b"}, {ID: `a" "b`}, {ID: "a", Options: map[string]string{"b": "c"}}, {ID: "a", Options: map[string]string{"b": "c d=e"}},
		{ID: "a", Options: map[string]string{"b": "c", "d": "e"}}, {ID: `a "b"="c"`}, {ID: "a", Price: eur(1)}, {ID: "a", Price: Amount(1, USD)}, {ID: "a", Price: Amount(1, JPY)},
		{ID: "a", Options: map[string]string{"": ""}},
	}
	seen := map[Key]bool{}
	for _, item := range items {
		require.False(t, seen[item.Key()], "%+v", item)
		seen[item.Key()] = true
	}
	require.Equal(t, (&Item{ID: "a", Name: "x", Type: "y"}).Key(), (&Item{ID: "a"}).Key())
}

func TestBadInput(t *testing.T) {
	c := New("a", nil)
	require.ErrorIs(t, c.Add(Item{}, 1), ErrItem)
	require.ErrorIs(t, c.Add(book(-1), 1), ErrItem)
	for _, quantity := range []int{0, -1, MaxQuantity + 1} {
		require.ErrorIs(t, c.Add(book(1), quantity), ErrQuantity)
	}
	require.NoError(t, c.Add(book(1), MaxQuantity))
	require.ErrorIs(t, c.Add(book(1), 1), ErrQuantity)
	require.ErrorIs(t, c.ChangeQuantity(new(book(1)).Key(), -1), ErrQuantity)
	require.ErrorIs(t, c.ChangeQuantity(new(book(1)).Key(), MaxQuantity+1), ErrQuantity)
	require.ErrorIs(t, c.Add(Item{ID: "x", Price: Amount(1, USD)}, 1), ErrCurrency)
	require.ErrorIs(t, c.ApplyCoupon("TEN"), ErrNoCoupon)
	require.ErrorIs(t, c.RemoveCoupon("TEN"), ErrNoCoupon)
	require.Equal(t, MaxQuantity, c.Quantity(new(book(1)).Key()))
	// The counters of a line come to their end at last, with an error.
	var err error
	for range 2000 {
		if err = c.ChangeQuantity(new(book(1)).Key(), 1); err != nil {
			break
		}
		if err = c.ChangeQuantity(new(book(1)).Key(), MaxQuantity); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ErrQuantity)
}

func TestMerge(t *testing.T) {
	key := new(book(1000)).Key()
	start := func() (*Cart, *Cart) {
		a := New("a", nil)
		require.NoError(t, a.Add(book(1000), 2))
		return a, a.Clone("b")
	}
	both := func(a, b *Cart) int {
		t.Helper()
		x, y := a.Clone("x"), b.Clone("y")
		require.NoError(t, x.Merge(b))
		require.NoError(t, y.Merge(a))
		require.Equal(t, x.Quantity(key), y.Quantity(key))
		return x.Quantity(key)
	}
	a, b := start()
	require.Equal(t, 2, both(a, b), "copies are not added up")
	require.NoError(t, a.Add(book(1000), 3))
	require.NoError(t, b.Add(book(1000), 4))
	require.Equal(t, 9, both(a, b), "what both added is")

	a, b = start()
	require.NoError(t, a.Remove(key))
	require.Equal(t, 0, both(a, b), "removed stays removed")
	require.NoError(t, b.Add(book(1000), 1))
	require.Equal(t, 1, both(a, b), "unless added without having seen it")

	a, b = start()
	require.NoError(t, a.ChangeQuantity(key, 1))
	require.NoError(t, b.ChangeQuantity(key, 5))
	require.Equal(t, 4, both(a, b), "one less and three more")

	// One host takes what another one removes. What is added then counts.
	a, b = start()
	require.NoError(t, a.Remove(key))
	require.NoError(t, b.ChangeQuantity(key, 1))
	require.NoError(t, a.Merge(b))
	require.Zero(t, a.Quantity(key))
	require.NoError(t, a.Add(book(1000), 2))
	require.Equal(t, 2, a.Quantity(key))

	dollars := New("b", nil)
	require.NoError(t, dollars.Add(Item{ID: "x", Price: Amount(1, USD)}, 1))
	before, _ := json.Marshal(a)
	require.ErrorIs(t, a.Merge(dollars), ErrCurrency)
	after, _ := json.Marshal(a)
	require.Equal(t, before, after)

	named, unnamed := New("a", nil), New("b", nil)
	require.NoError(t, named.Add(book(1), 1))
	require.NoError(t, unnamed.Add(Item{ID: "book", Price: eur(1)}, 1))
	require.NoError(t, unnamed.Merge(named))
	for item := range unnamed.Lines() {
		require.Equal(t, "A Book", item.Name)
	}
}

// state is what matters of a cart, apart from its host.
func state(t testing.TB, c *Cart) string {
	b, err := json.Marshal(c.Clone(""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// randomChange makes one change that a customer might make.
func randomChange(r *rand.Rand, c *Cart) {
	item := Item{ID: string(rune('a' + r.IntN(3))), Price: eur(int64(100 + r.IntN(2)))}
	switch r.IntN(6) {
	case 0, 1, 2:
		_ = c.Add(item, 1+r.IntN(3))
	case 3:
		_ = c.Remove(item.Key())
	case 4:
		_ = c.ChangeQuantity(item.Key(), r.IntN(4))
	case 5:
		if r.IntN(2) == 0 {
			_ = c.ApplyCoupon("ten")
		} else {
			_ = c.RemoveCoupon("ten")
		}
	}
}

var ten = MustPricing(Taxes{}, Rule{ID: "ten", Coupon: "Ten", Off: Percent(10_00)})

// The laws of merging, over many interleavings of changes and merges among
// three hosts: whoever has heard of all changes has the same cart, in whatever
// order and how often he heard of them.
func TestMergeLaws(t *testing.T) {
	n := 100_000
	if testing.Short() || raceEnabled {
		n = 5000
	}
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 7))
		hosts := [3]*Cart{New("a", ten), New("b", ten), New("c", ten)}
		for range 3 + r.IntN(10) {
			i := r.IntN(3)
			if j := r.IntN(3); r.IntN(3) == 0 && i != j {
				if err := hosts[i].Merge(hosts[j]); err != nil {
					t.Fatal(err)
				}
			} else {
				randomChange(r, hosts[i])
			}
		}
		merged := func(order ...int) *Cart {
			c := hosts[order[0]].Clone("")
			for _, i := range order[1:] {
				if err := c.Merge(hosts[i]); err != nil {
					t.Fatal(err)
				}
			}
			return c
		}
		want := state(t, merged(0, 1, 2))
		for _, order := range [][]int{{2, 1, 0}, {1, 0, 2, 0, 1}, {0, 0, 1, 1, 2, 2}} {
			if got := state(t, merged(order...)); got != want {
				t.Fatalf("seed %d, order %v: %s, want %s", seed, order, got, want)
			}
		}
		left, right := merged(0, 1), merged(1, 2)
		if err := left.Merge(right); err != nil || state(t, left) != want {
			t.Fatalf("seed %d: groups differ", seed)
		}
	}
}

// Removals hold: a line that one removed, and that others have not added to
// since, is gone in all merges.
func TestRemovalHoldsAtRandom(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 8))
		a, b := New("a", nil), New("b", nil)
		for range 8 {
			randomChange(r, a)
			randomChange(r, b)
			require.NoError(t, a.Merge(b))
			require.NoError(t, b.Merge(a))
		}
		item := Item{ID: "a", Price: eur(100)}
		_ = a.Add(item, 1)
		require.NoError(t, b.Merge(a))
		require.NoError(t, a.Remove(item.Key()))
		extra := r.IntN(3)
		if extra > 0 {
			require.NoError(t, b.Add(item, extra))
		}
		require.NoError(t, b.Merge(a))
		require.Equal(t, extra, b.Quantity(item.Key()))
	}
}

func TestJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		a, b := New("a", ten), New("b", ten)
		for range 10 {
			randomChange(r, a)
			randomChange(r, b)
		}
		require.NoError(t, a.Merge(b))
		data, err := json.Marshal(a)
		require.NoError(t, err)
		back := New("z", ten)
		require.NoError(t, json.Unmarshal(data, back))
		require.Equal(t, state(t, a), state(t, back))
		require.Equal(t, "z", back.host)
		var zero Cart
		require.NoError(t, json.Unmarshal(data, &zero))
		require.Equal(t, "a", zero.host)
		for _, c := range []*Cart{a, back} { // and they go on alike
			require.NoError(t, c.Merge(b))
		}
		require.Equal(t, state(t, a), state(t, back))
	}
}

func TestJSONRefuses(t *testing.T) {
	c := New("a", nil)
	require.NoError(t, c.Add(Item{ID: "x", Price: eur(100), Options: map[string]string{"o": "p"}}, 2))
	require.NoError(t, c.Add(Item{ID: "y", Price: eur(100)}, 2))
	good, err := json.Marshal(c)
	require.NoError(t, err)
	for from, to := range map[string]string{
		`"version":1`: `"version":2`, `"quantity":2`: `"quantity":3`, `"id":"x"`: `"id":""`, `"amount":"1.00"`: `"amount":"-1.00"`,
		`"added":2`: `"added":-2`, `"id":"y"`: `"id":"a"`, `"currency":"EUR"`: `"currency":"USD"`, `"host":"a"`: `"host":1`, `"lines":[`: `"lines":[{},`,
		`"added":2}`: `"added":2,"cleared_added":3}`, `{"a":{`: `{"a":{"x":1,`, `"o":"p"`: `"o":1`,
	} {
		bad := strings.Replace(string(good), from, to, 1)
		require.NotEqual(t, string(good), bad, from)
		require.ErrorIs(t, c.UnmarshalJSON([]byte(bad)), ErrEncoding, bad)
	}
	for _, bad := range []string{``, `null`, `[]`, `{}`, string(good) + `{}`, string(good[:len(good)-1]),
		`{"version":1,"host":"a","lines":[],"coupons":{"ten":{}}}`, `{"version":1,"host":"a","lines":[],"coupons":{"TEN":{"a":{"added":1e30}}}}`,
		`{"version":1,"host":"a","lines":[],"coupons":{"TEN":{"a":{"added":9223372036854775807}}}}`} {
		require.ErrorIs(t, c.UnmarshalJSON([]byte(bad)), ErrEncoding, bad)
	}
	after, err := json.Marshal(c)
	require.NoError(t, err)
	require.Equal(t, string(good), string(after))
}

func FuzzJSON(f *testing.F) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 5 {
		c := New("a", ten)
		for range 6 {
			randomChange(r, c)
		}
		data, _ := json.Marshal(c)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := New("z", ten)
		if c.UnmarshalJSON(data) != nil {
			return
		}
		again, err := json.Marshal(c)
		require.NoError(t, err)
		back := New("z", ten)
		require.NoError(t, back.UnmarshalJSON(again), string(again))
		require.Equal(t, state(t, c), state(t, back))
		if q, err := c.Quote(Context{}); err == nil {
			checkQuote(t, c, q)
		}
		_ = c.Add(book(1), 1)
	})
}

func TestStrategies(t *testing.T) {
	make2 := func() (account, guest *Cart) {
		account, guest = New("a", ten), New("g", ten)
		require.NoError(t, account.Add(book(1000), 2))
		require.NoError(t, account.Add(Item{ID: "pen", Price: eur(150)}, 1))
		require.NoError(t, guest.Add(book(1000), 5))
		require.NoError(t, guest.Add(Item{ID: "mug", Price: eur(800)}, 1))
		require.NoError(t, guest.ApplyCoupon("TEN"))
		return account, guest
	}
	for name, test := range map[string]struct {
		combine        func(account, guest *Cart) error
		book, pen, mug int
		coupon         bool
	}{
		"sum":     {GuestSum, 7, 1, 1, true},
		"max":     {GuestMax, 5, 1, 1, true},
		"replace": {GuestReplace, 5, 0, 1, true},
		"keep":    {GuestKeep, 2, 1, 0, false},
	} {
		account, guest := make2()
		require.NoError(t, test.combine(account, guest))
		got := []int{account.Quantity(new(book(1000)).Key()), account.Quantity((&Item{ID: "pen", Price: eur(150)}).Key()), account.Quantity((&Item{ID: "mug", Price: eur(800)}).Key())}
		require.Equal(t, []int{test.book, test.pen, test.mug}, got, name)
		require.Equal(t, test.coupon, account.HasCoupon("ten"), name)
		require.EqualValues(t, 6, guest.Items(), "the guest's is as it was")
	}
	account, guest := make2()
	require.NoError(t, GuestKeep(New("b", nil), guest))
	require.Same(t, guest, MoreItems(account, guest))
	require.Same(t, guest, MoreItems(guest, account))
	require.Same(t, account, MoreItems(account, account.Clone("x")))

	dollars := New("g", nil)
	require.NoError(t, dollars.Add(Item{ID: "x", Price: Amount(1, USD)}, 1))
	before := state(t, account)
	require.ErrorIs(t, GuestSum(account, dollars), ErrCurrency)
	require.Equal(t, before, state(t, account))
	require.NoError(t, GuestReplace(account, dollars))
	require.EqualValues(t, 1, account.Items())
}

// Two lines of one cart that share stock are checked together, and of many who
// want the last one, one gets it.
func TestStock(t *testing.T) {
	var s Stock
	c := New("a", nil)
	require.NoError(t, c.Add(Item{ID: "shirt", Price: eur(1), Options: map[string]string{"size": "m"}}, 2))
	require.NoError(t, c.Add(Item{ID: "shirt", Price: eur(1), Options: map[string]string{"size": "l"}}, 1))
	require.NoError(t, c.Add(book(1), 1))
	s.Set("shirt", 2)
	s.Set("book", 1)
	err := s.Take(c)
	require.ErrorIs(t, err, ErrNoStock)
	require.Equal(t, &Shortage{"shirt", 3, 2}, err)
	require.EqualValues(t, 1, s.Have("book"), "nothing is taken")
	s.Set("shirt", 3)
	require.NoError(t, s.Take(c))
	require.Zero(t, s.Have("shirt")+s.Have("book"))
	s.Return(c)
	require.EqualValues(t, 3, s.Have("shirt"))
	new(Stock).Return(c)
	require.Panics(t, func() { s.Set("x", -1) })
}

func TestLastCopyConcurrentSafe(t *testing.T) {
	for range 50 {
		var s Stock
		s.Set("book", 1)
		var mu sync.Mutex
		var wg sync.WaitGroup
		winners := 0
		for i := range 64 {
			wg.Go(func() {
				c := New(fmt.Sprint(i), nil)
				if err := c.Add(book(1), 1); err != nil {
					t.Error(err)
				}
				if s.Take(c) == nil {
					mu.Lock()
					winners++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, winners)
	}
}

func TestCoupons(t *testing.T) {
	c := New("a", ten)
	require.NoError(t, c.ApplyCoupon(" ten "))
	require.NoError(t, c.ApplyCoupon("TEN"))
	require.Equal(t, []string{"TEN"}, c.Coupons())
	b := c.Clone("b")
	require.NoError(t, c.RemoveCoupon("Ten"))
	require.ErrorIs(t, c.RemoveCoupon("ten"), ErrNoCoupon)
	require.NoError(t, b.Merge(c))
	require.Empty(t, b.Coupons())
	require.True(t, reflect.DeepEqual([]string(nil), b.Coupons()))
	require.NoError(t, b.ApplyCoupon("ten"))
	require.NoError(t, c.Merge(b))
	require.True(t, c.HasCoupon("ten"))
}
