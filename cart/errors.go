package cart

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

var (
	ErrOverflow  = errors.New("cart: amount too large")
	ErrCurrency  = errors.New("cart: different or unknown currency")
	ErrAmount    = errors.New("cart: bad amount")
	ErrWeights   = errors.New("cart: bad weights")
	ErrQuantity  = errors.New("cart: bad quantity")
	ErrNoLine    = errors.New("cart: no such line")
	ErrNoCoupon  = errors.New("cart: no such coupon")
	ErrItem      = errors.New("cart: bad item")
	ErrRule      = errors.New("cart: bad rule")
	ErrEncoding  = errors.New("cart: bad encoding")
	ErrNoStock   = errors.New("cart: not enough in stock")
	errTwoValues = errors.New("something follows")
)

// strictly decodes one JSON value, with fields that are known only.
func strictly(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errTwoValues
	}
	return nil
}
