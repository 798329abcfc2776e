package cart

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// A Currency is one of ISO 4217. The zero Currency is none.
type Currency struct {
	packed uint32 // the letters, and the number of digits: one word to copy
}

// Some currencies; NewCurrency makes others.
var (
	EUR = NewCurrency("EUR", 2)
	USD = NewCurrency("USD", 2)
	GBP = NewCurrency("GBP", 2)
	JPY = NewCurrency("JPY", 0)
	KWD = NewCurrency("KWD", 3)
)

// NewCurrency returns the currency with a code of three capital letters and a
// number of digits behind the point. It panics if they are anything else, or
// more than 4 digits.
func NewCurrency(code string, digits int) Currency {
	if len(code) != 3 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || digits < 0 || digits > 4 {
		panic(fmt.Sprintf("cart: currency %q with %d digits", code, digits))
	}
	return Currency{uint32(code[0])<<24 | uint32(code[1])<<16 | uint32(code[2])<<8 | uint32(digits)}
}

// String returns the code, and "" for none.
func (c Currency) String() string {
	if c == (Currency{}) {
		return ""
	}
	return string([]byte{byte(c.packed >> 24), byte(c.packed >> 16), byte(c.packed >> 8)})
}

// Digits returns the number of digits behind the point.
func (c Currency) Digits() int { return int(c.packed & 0xff) }

// A Money is an amount in the minor unit of its currency, as 1999 for 19.99
// EUR. The zero Money is nothing, of any currency. Values can be compared with
// == if they have the same currency.
type Money struct {
	minor    int64
	currency Currency
}

// Amount returns so many minor units of a currency.
func Amount(minor int64, c Currency) Money { return Money{minor, c} }

// Minor returns the amount in minor units.
func (m Money) Minor() int64 { return m.minor }

// Currency returns the currency.
func (m Money) Currency() Currency { return m.currency }

// Sign returns -1, 0 or 1.
func (m Money) Sign() int { return cmp.Compare(m.minor, 0) }

// common returns the currency of a sum, or an error that wraps ErrCurrency.
func (m Money) common(o Money) (Currency, error) {
	switch {
	case m.currency == o.currency, o == Money{}:
		return m.currency, nil
	case m == Money{}:
		return o.currency, nil
	}
	return Currency{}, fmt.Errorf("%w: %v and %v", ErrCurrency, m, o)
}

// Add returns m+o, or an error that wraps ErrCurrency or ErrOverflow.
func (m Money) Add(o Money) (Money, error) {
	c, err := m.common(o)
	if err != nil {
		return Money{}, err
	}
	sum, ok := add(m.minor, o.minor)
	if !ok {
		return Money{}, fmt.Errorf("%w: %v + %v", ErrOverflow, m, o)
	}
	return Money{sum, c}, nil
}

// Sub returns m-o, or an error as Add does.
func (m Money) Sub(o Money) (Money, error) {
	c, err := m.common(o)
	if err != nil {
		return Money{}, err
	}
	d := m.minor - o.minor
	if (m.minor < 0) != (o.minor < 0) && (d < 0) != (m.minor < 0) {
		return Money{}, fmt.Errorf("%w: %v - %v", ErrOverflow, m, o)
	}
	return Money{d, c}, nil
}

// Mul returns m times n, or an error that wraps ErrOverflow.
func (m Money) Mul(n int64) (Money, error) {
	p, ok := mul(m.minor, n)
	if !ok {
		return Money{}, fmt.Errorf("%w: %v × %d", ErrOverflow, m, n)
	}
	return Money{p, m.currency}, nil
}

// Cmp compares two amounts, or returns an error that wraps ErrCurrency.
func (m Money) Cmp(o Money) (int, error) {
	if _, err := m.common(o); err != nil {
		return 0, err
	}
	return cmp.Compare(m.minor, o.minor), nil
}

func add(a, b int64) (int64, bool) {
	sum := a + b
	return sum, (a < 0) != (b < 0) || (sum < 0) == (a < 0)
}

func mul(a, b int64) (int64, bool) {
	if a >= math.MinInt32 && a <= math.MaxInt32 && b >= math.MinInt32 && b <= math.MaxInt32 {
		return a * b, true
	}
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	negative := (a < 0) != (b < 0)
	if hi != 0 || lo > math.MaxInt64 && !(negative && lo == 1<<63) {
		return 0, false
	}
	if negative {
		return -int64(lo), true
	}
	return int64(lo), true
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}

// String returns the amount with its currency: "-19.99 EUR".
func (m Money) String() string {
	s := m.decimal()
	if m.currency != (Currency{}) {
		s += " " + m.currency.String()
	}
	return s
}

// decimal returns the amount without its currency.
func (m Money) decimal() string {
	digits := fmt.Sprintf("%0*d", m.currency.Digits()+1, magnitude(m.minor))
	if m.minor < 0 {
		digits = "-" + digits
	}
	if d := m.currency.Digits(); d > 0 {
		return digits[:len(digits)-d] + "." + digits[len(digits)-d:]
	}
	return digits
}

// Parse returns the amount that a decimal number stands for: "19.99", "-5",
// "0.5". The error wraps ErrAmount if it is no number or has more digits behind
// the point than the currency, and ErrOverflow if it is too large. Nothing is
// rounded.
func Parse(s string, c Currency) (Money, error) {
	bad := func(err error, why string) (Money, error) {
		return Money{}, fmt.Errorf("%w: %q is %s", err, s[:min(len(s), 100)], why)
	}
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if whole == "" || point && fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return bad(ErrAmount, "no decimal number")
	}
	if len(fraction) > c.Digits() {
		return bad(ErrAmount, fmt.Sprintf("more precise than %v, which has %d digits", c, c.Digits()))
	}
	n, ok := int64(0), true
	for _, d := range whole + fraction + strings.Repeat("0", c.Digits()-len(fraction)) {
		if n, ok = mul(n, 10); ok {
			n, ok = add(n, -int64(d-'0')) // negative, which has one more
		}
		if !ok {
			return bad(ErrOverflow, "too large")
		}
	}
	if !negative {
		if n == math.MinInt64 {
			return bad(ErrOverflow, "too large")
		}
		n = -n
	}
	return Money{n, c}, nil
}

// A moneyJSON is how a Money is written: as text, since a JSON number is a
// float64 to many.
type moneyJSON struct {
	Amount   string `json:"amount"`
	Currency string `json:"currency"`
	Digits   *int   `json:"digits,omitempty"` // if not those that ISO 4217 has for most
}

// MarshalJSON writes {"amount":"19.99","currency":"EUR"}.
func (m Money) MarshalJSON() ([]byte, error) {
	j := moneyJSON{Amount: m.decimal(), Currency: m.currency.String()}
	if known, ok := currencies[j.Currency]; j.Currency != "" && (!ok || known != m.currency) {
		j.Digits = new(m.currency.Digits())
	}
	return json.Marshal(j)
}

// currencies are those whose digits need not be written.
var currencies = map[string]Currency{"EUR": EUR, "USD": USD, "GBP": GBP, "JPY": JPY, "KWD": KWD}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Money) UnmarshalJSON(data []byte) error {
	var j moneyJSON
	if err := strictly(data, &j); err != nil {
		return fmt.Errorf("%w: %w", ErrAmount, err)
	}
	c, ok := currencies[j.Currency]
	switch {
	case j.Currency == "":
		c = Currency{}
	case j.Digits != nil && (*j.Digits < 0 || *j.Digits > 4), j.Digits == nil && !ok, len(j.Currency) != 3, strings.Trim(j.Currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		return fmt.Errorf("%w: currency %.20q", ErrCurrency, j.Currency)
	case j.Digits != nil:
		c = NewCurrency(j.Currency, *j.Digits)
	}
	v, err := Parse(j.Amount, c)
	if err != nil {
		return err
	}
	*m = v
	return nil
}

// A Rounding says what becomes of a fraction of a minor unit.
type Rounding int

const (
	HalfEven Rounding = iota // to the nearest, halves to the even one
	HalfUp                   // to the nearest, halves away from zero
	Down                     // towards zero
	Up                       // away from zero
)

// share returns a·num/den, rounded. Den must be positive, num not negative, and
// num at most den, or the result may not fit.
func (r Rounding) share(a, num, den int64) int64 {
	var q, rest uint64
	if m := magnitude(a); m < 1<<32 && uint64(num) < 1<<31 {
		p := m * uint64(num)
		if den == 10_000 { // by a constant it takes a fraction of the time
			q, rest = p/10_000, p%10_000
		} else {
			q, rest = p/uint64(den), p%uint64(den)
		}
	} else {
		hi, lo := bits.Mul64(m, uint64(num))
		q, rest = bits.Div64(hi, lo, uint64(den))
	}
	d := uint64(den)
	if rest != 0 {
		switch r {
		case HalfEven:
			if rest > d-rest || rest == d-rest && q&1 == 1 {
				q++
			}
		case HalfUp:
			if rest >= d-rest {
				q++
			}
		case Up:
			q++
		}
	}
	if a < 0 {
		return -int64(q)
	}
	return int64(q)
}

// Allocate shares an amount out in proportion to weights, so that the parts sum
// up to the amount exactly: each gets its share rounded down, and what is left
// goes to the largest remainders, a minor unit each, first ones first where they
// are equal. Parts of a negative amount are those of the positive one, negated.
//
// It returns an error that wraps ErrWeights if a weight is negative, if their
// sum is beyond an int64, or if it is zero and the amount is not.
func (m Money) Allocate(weights ...int64) ([]Money, error) {
	parts := make([]int64, len(weights))
	if err := allocate(m.minor, weights, parts); err != nil {
		return nil, err
	}
	out := make([]Money, len(parts))
	for i, p := range parts {
		out[i] = Money{p, m.currency}
	}
	return out, nil
}

// allocate is Allocate into parts.
func allocate(amount int64, weights, parts []int64) error {
	sum, ok := int64(0), true
	for _, w := range weights {
		if sum, ok = add(sum, w); w < 0 || !ok {
			return fmt.Errorf("%w: %d", ErrWeights, w)
		}
	}
	clear(parts)
	if amount == 0 {
		return nil
	}
	if sum == 0 {
		return fmt.Errorf("%w: their sum is 0", ErrWeights)
	}
	m, left := magnitude(amount), magnitude(amount)
	for i, w := range weights {
		hi, lo := bits.Mul64(m, uint64(w))
		q, _ := bits.Div64(hi, lo, uint64(sum))
		parts[i] = int64(q)
		left -= q
	}
	// Less than one for each weight is left. Remainders are computed again
	// for every unit: there are few, and nothing has to be kept.
	for last, at := uint64(math.MaxUint64), -1; left > 0; left-- {
		best, bestAt := uint64(0), -1
		for i, w := range weights {
			hi, lo := bits.Mul64(m, uint64(w))
			_, rest := bits.Div64(hi, lo, uint64(sum))
			behind := rest < last || rest == last && i > at
			if rest > 0 && behind && (bestAt < 0 || rest > best) {
				best, bestAt = rest, i
			}
		}
		parts[bestAt]++
		last, at = best, bestAt
	}
	if amount < 0 {
		for i := range parts {
			parts[i] = -parts[i]
		}
	}
	return nil
}
