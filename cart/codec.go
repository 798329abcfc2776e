package cart

import (
	"encoding/json"
	"fmt"
)

// A cartJSON is how a Cart is written: with all that Merge needs.
type cartJSON struct {
	Version int                 `json:"version"`
	Host    string              `json:"host"`
	Lines   []lineJSON          `json:"lines"`
	Coupons map[string]counters `json:"coupons,omitempty"`
}

type lineJSON struct {
	ID       string            `json:"id"`
	Name     string            `json:"name,omitempty"`
	Type     string            `json:"type,omitempty"`
	Price    Money             `json:"price"`
	Options  map[string]string `json:"options,omitempty"`
	Quantity int64             `json:"quantity"` // for readers; the counters say it
	Counters counters          `json:"counters"`
}

// MarshalJSON writes the cart with all that other copies need to know. Quantities
// are in it for those who only want to read.
func (c *Cart) MarshalJSON() ([]byte, error) {
	j := cartJSON{Version: 1, Host: c.host, Lines: []lineJSON{}, Coupons: c.coupons}
	for _, l := range c.lines {
		j.Lines = append(j.Lines, lineJSON{l.item.ID, l.item.Name, l.item.Type, l.item.Price, l.item.Options, l.quantity, l.count})
	}
	return json.Marshal(j)
}

// UnmarshalJSON replaces what is in the cart by what MarshalJSON wrote. A cart
// that was made with New keeps its host and its pricing; the zero Cart gets the
// host that is written, and no pricing. If data is anything else it returns an
// error that wraps ErrEncoding, and changes nothing.
func (c *Cart) UnmarshalJSON(data []byte) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrEncoding, fmt.Errorf(format, args...))
	}
	var j cartJSON
	if err := strictly(data, &j); err != nil {
		return bad("%w", err)
	}
	if j.Version != 1 {
		return bad("version %d", j.Version)
	}
	next := New(j.Host, c.pricing)
	if c.host != "" {
		next.host = c.host
	}
	for i, l := range j.Lines {
		item := Item{l.ID, l.Name, l.Type, l.Price, l.Options}
		if l.ID == "" || l.Price.Sign() < 0 {
			return bad("line %d: %w: ID %q, price %v", i, ErrItem, l.ID, l.Price)
		}
		if err := l.Counters.check(); err != nil {
			return bad("line %d: %w", i, err)
		}
		if at, there := next.find(item.Key()); there || at != len(next.lines) {
			return bad("line %d: not in the order of keys", i)
		}
		made := next.line(item)
		made.count.merge(l.Counters)
		made.quantity = made.count.value()
		if made.quantity != l.Quantity {
			return bad("line %d: quantity %d, by its counters %d", i, l.Quantity, made.quantity)
		}
	}
	for code, count := range j.Coupons {
		if err := count.check(); err != nil || code != canonical(code) || code == "" {
			return bad("coupon %q: %v", code, err)
		}
		next.coupons[code] = counters{}
		next.coupons[code].merge(count)
	}
	if err := next.checkCurrency(); err != nil {
		return bad("%w", err)
	}
	*c = *next
	return nil
}

// check returns an error if counters cannot be.
func (c counters) check() error {
	if len(c) > maxHosts {
		return fmt.Errorf("%d hosts", len(c))
	}
	for host, n := range c {
		if n.ClearedAdded < 0 || n.ClearedTaken < 0 || n.Added < n.ClearedAdded || n.Taken < n.ClearedTaken || n.Added > maxCounter || n.Taken > maxCounter {
			return fmt.Errorf("host %q: %+v", host, n)
		}
	}
	return nil
}

// maxHosts is the number of hosts whose counters cannot overflow a sum.
const maxHosts = 1 << 20
