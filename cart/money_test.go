package cart

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func eur(minor int64) Money { return Amount(minor, EUR) }

func TestMoney(t *testing.T) {
	sum, err := eur(1999).Add(eur(1))
	require.NoError(t, err)
	require.Equal(t, eur(2000), sum)
	require.Equal(t, "20.00 EUR", sum.String())
	require.Equal(t, int64(2000), sum.Minor())
	require.Equal(t, EUR, sum.Currency())
	require.Equal(t, 1, sum.Sign())
	_, err = eur(1).Add(Amount(1, USD))
	require.ErrorIs(t, err, ErrCurrency)
	_, err = eur(1).Sub(Amount(1, USD))
	require.ErrorIs(t, err, ErrCurrency)
	_, err = eur(1).Cmp(Amount(1, USD))
	require.ErrorIs(t, err, ErrCurrency)
	sum, err = Money{}.Add(eur(5))
	require.NoError(t, err)
	require.Equal(t, eur(5), sum, "nothing has any currency")
	c, err := eur(5).Cmp(eur(6))
	require.NoError(t, err)
	require.Equal(t, -1, c)
	for _, bad := range []func(){
		func() { NewCurrency("eur", 2) }, func() { NewCurrency("EURO", 2) }, func() { NewCurrency("EUR", -1) }, func() { NewCurrency("EUR", 5) },
	} {
		require.Panics(t, bad)
	}
	for m, want := range map[Money]string{
		eur(0): "0.00 EUR", eur(-5): "-0.05 EUR", eur(math.MinInt64): "-92233720368547758.08 EUR", Amount(7, JPY): "7 JPY", Amount(-1, KWD): "-0.001 KWD", {}: "0",
	} {
		require.Equal(t, want, m.String())
	}
}

// Rhymond/go-money: 2^62 + 2^62 was negative, and there was no error.
func TestTrapOverflow(t *testing.T) {
	edges := []int64{0, 1, -1, 2, -2, 1 << 31, -1 << 31, 1<<31 - 1, 1 << 32, 1 << 62, -1 << 62, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1, math.MinInt64 + 1, 3037000500}
	fits := func(x *big.Int) bool { return x.IsInt64() }
	for _, a := range edges {
		for _, b := range edges {
			x, y := big.NewInt(a), big.NewInt(b)
			for name, test := range map[string]struct {
				want *big.Int
				got  func() (Money, error)
			}{
				"+": {new(big.Int).Add(x, y), func() (Money, error) { return eur(a).Add(eur(b)) }},
				"-": {new(big.Int).Sub(x, y), func() (Money, error) { return eur(a).Sub(eur(b)) }},
				"×": {new(big.Int).Mul(x, y), func() (Money, error) { return eur(a).Mul(b) }},
			} {
				got, err := test.got()
				if !fits(test.want) {
					require.ErrorIs(t, err, ErrOverflow, "%d %s %d", a, name, b)
					continue
				}
				require.NoError(t, err, "%d %s %d", a, name, b)
				require.Equal(t, test.want.Int64(), got.Minor(), "%d %s %d", a, name, b)
			}
		}
	}
}

// go-money: 0.29 became 28 cents by way of a float64. Here only text is read.
func TestParse(t *testing.T) {
	for s, want := range map[string]int64{
		"0.29": 29, "1.15": 115, "136.98": 13698, "5": 500, "5.1": 510, "-0.01": -1, "0": 0, "-0": 0, "007.50": 750,
		"92233720368547758.07": math.MaxInt64, "-92233720368547758.08": math.MinInt64,
	} {
		got, err := Parse(s, EUR)
		require.NoError(t, err, s)
		require.Equal(t, eur(want), got)
	}
	for s, want := range map[string]error{
		"": ErrAmount, "-": ErrAmount, ".5": ErrAmount, "5.": ErrAmount, "1e3": ErrAmount, "1,5": ErrAmount, " 1": ErrAmount, "+1": ErrAmount, "--1": ErrAmount,
		"0x1": ErrAmount, "1.2.3": ErrAmount, "NaN": ErrAmount, "1.005": ErrAmount, "١": ErrAmount,
		"92233720368547758.08": ErrOverflow, "-92233720368547758.09": ErrOverflow, "99999999999999999999999": ErrOverflow,
	} {
		_, err := Parse(s, EUR)
		require.ErrorIs(t, err, want, s)
	}
	yen, err := Parse("5", JPY)
	require.NoError(t, err)
	require.Equal(t, Amount(5, JPY), yen)
	_, err = Parse("5.0", JPY)
	require.ErrorIs(t, err, ErrAmount)
}

func TestMoneyJSON(t *testing.T) {
	for _, m := range []Money{eur(1999), eur(math.MinInt64), Amount(5, JPY), {}, Amount(5, NewCurrency("XXX", 4)), Amount(5, NewCurrency("EUR", 3))} {
		b, err := json.Marshal(m)
		require.NoError(t, err)
		var back Money
		require.NoError(t, json.Unmarshal(b, &back), string(b))
		require.Equal(t, m, back, string(b))
	}
	b, _ := json.Marshal(eur(1999))
	require.Equal(t, `{"amount":"19.99","currency":"EUR"}`, string(b))
	for _, s := range []string{
		`19.99`, `"19.99"`, `{}`, `{"amount":19.99,"currency":"EUR"}`, `{"amount":"19.999","currency":"EUR"}`, `{"amount":"1","currency":"XYZ"}`,
		`{"amount":"1","currency":"eur"}`, `{"amount":"1","currency":"EUR","digits":9}`, `{"amount":"1","currency":"EUR","x":1}`, `null`,
		`{"amount":"99999999999999999999","currency":"EUR"}`,
	} {
		var m Money
		if err := m.UnmarshalJSON([]byte(s)); err == nil {
			t.Errorf("%s is %v", s, m)
		}
	}
}

func TestRounding(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		a := int64(r.Uint64()) >> r.IntN(64)
		den := r.Int64N(20_000) + 1
		num := r.Int64N(den + 1)
		exact := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(a), big.NewInt(num)), big.NewInt(den))
		for mode, want := range map[Rounding]int64{HalfEven: roundRat(exact, HalfEven), HalfUp: roundRat(exact, HalfUp), Down: roundRat(exact, Down), Up: roundRat(exact, Up)} {
			if got := mode.share(a, num, den); got != want {
				t.Fatalf("mode %d: %d × %d / %d = %d, want %d", mode, a, num, den, got, want)
			}
		}
	}
	for _, half := range []struct {
		a                      int64
		even, up, down, higher int64
	}{{1, 0, 1, 0, 1}, {3, 2, 2, 1, 2}, {-1, 0, -1, 0, -1}, {-3, -2, -2, -1, -2}, {5, 2, 3, 2, 3}} {
		require.Equal(t, half.even, HalfEven.share(half.a, 1, 2))
		require.Equal(t, half.up, HalfUp.share(half.a, 1, 2))
		require.Equal(t, half.down, Down.share(half.a, 1, 2))
		require.Equal(t, half.higher, Up.share(half.a, 1, 2))
	}
}

// roundRat rounds by the book.
func roundRat(x *big.Rat, mode Rounding) int64 {
	abs := new(big.Rat).Abs(x)
	floor := new(big.Int).Quo(abs.Num(), abs.Denom())
	rest := new(big.Rat).Sub(abs, new(big.Rat).SetInt(floor))
	up := false
	switch c := rest.Cmp(big.NewRat(1, 2)); mode {
	case HalfEven:
		up = c > 0 || c == 0 && floor.Bit(0) == 1
	case HalfUp:
		up = c >= 0
	case Up:
		up = rest.Sign() > 0
	}
	if up {
		floor.Add(floor, big.NewInt(1))
	}
	return floor.Int64() * int64(x.Sign())
}

func TestAllocate(t *testing.T) {
	for _, test := range []struct {
		amount  int64
		weights []int64
		want    []int64
	}{
		{100, []int64{1, 1, 1}, []int64{34, 33, 33}},
		{-100, []int64{1, 1, 1}, []int64{-34, -33, -33}},
		{5, []int64{3, 7}, []int64{2, 3}},
		{1, []int64{1, 2}, []int64{0, 1}},
		{0, []int64{0, 0}, []int64{0, 0}},
		{10, []int64{0, 1, 0}, []int64{0, 10, 0}},
		{math.MaxInt64, []int64{1, 1}, []int64{1 << 62, 1<<62 - 1}},
		{math.MinInt64, []int64{1}, []int64{math.MinInt64}},
		{3, []int64{math.MaxInt64 / 2, math.MaxInt64 / 2}, []int64{2, 1}},
	} {
		parts, err := eur(test.amount).Allocate(test.weights...)
		require.NoError(t, err)
		for i, p := range parts {
			require.Equal(t, eur(test.want[i]), p, "%d by %v", test.amount, test.weights)
		}
	}
	for _, weights := range [][]int64{{-1, 2}, {0, 0}, {}, {math.MaxInt64, 1}} {
		_, err := eur(5).Allocate(weights...)
		require.ErrorIs(t, err, ErrWeights)
	}
}

// FuzzAllocate: parts sum up, have the sign of the amount, and are their shares
// to within one.
func FuzzAllocate(f *testing.F) {
	f.Add(int64(100), []byte{1, 1, 1})
	f.Add(int64(-99999), []byte{0, 255, 3, 3, 3, 0})
	f.Fuzz(func(t *testing.T, amount int64, data []byte) {
		if len(data) > 64 {
			return
		}
		weights, sum := make([]int64, len(data)), int64(0)
		for i, b := range data {
			weights[i] = int64(b) << (b % 40)
			sum += weights[i]
		}
		parts, err := eur(amount).Allocate(weights...)
		if sum == 0 && amount != 0 {
			require.ErrorIs(t, err, ErrWeights)
			return
		}
		require.NoError(t, err)
		left := big.NewInt(amount)
		for i, p := range parts {
			left.Sub(left, big.NewInt(p.Minor()))
			if p.Minor() != 0 && (p.Minor() < 0) != (amount < 0) {
				t.Fatalf("a part of %d is %d", amount, p.Minor())
			}
			if sum > 0 {
				exact := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(amount), big.NewInt(weights[i])), big.NewInt(sum))
				off := exact.Sub(exact, new(big.Rat).SetInt64(p.Minor()))
				if off.Abs(off).Cmp(big.NewRat(1, 1)) >= 0 {
					t.Fatalf("part %d is off by %v", i, off)
				}
			}
		}
		if left.Sign() != 0 {
			t.Fatalf("%v is left of %d", left, amount)
		}
	})
}
