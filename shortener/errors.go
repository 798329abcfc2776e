package shortener

import (
	"errors"
	"net/http"
)

var (
	ErrNotFound  = errors.New("shortener: no such link")
	ErrExpired   = errors.New("shortener: link has expired")
	ErrRemoved   = errors.New("shortener: link was removed")
	ErrExhausted = errors.New("shortener: link has had all its visits")

	ErrTaken     = errors.New("shortener: code is taken")
	ErrReserved  = errors.New("shortener: code is reserved")
	ErrBadAlias  = errors.New("shortener: bad alias")
	ErrBadURL    = errors.New("shortener: bad URL")
	ErrBadOption = errors.New("shortener: bad option")
	ErrForbidden = errors.New("shortener: wrong secret")
	ErrNoCodes   = errors.New("shortener: no codes left")
)

// Status returns the HTTP status that tells a visitor about an error: 404 for a
// link that never was, 410 for one that was, 400 and 409 for what cannot be
// made, 403 for a wrong secret, and 500 for all others.
func Status(err error) int {
	for _, known := range []struct {
		err    error
		status int
	}{
		{ErrNotFound, http.StatusNotFound},
		{ErrExpired, http.StatusGone},
		{ErrRemoved, http.StatusGone},
		{ErrExhausted, http.StatusGone},
		{ErrTaken, http.StatusConflict},
		{ErrReserved, http.StatusConflict},
		{ErrBadAlias, http.StatusBadRequest},
		{ErrBadURL, http.StatusBadRequest},
		{ErrBadOption, http.StatusBadRequest},
		{ErrForbidden, http.StatusForbidden},
	} {
		if errors.Is(err, known.err) {
			return known.status
		}
	}
	return http.StatusInternalServerError
}
