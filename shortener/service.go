package shortener

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// A Service makes links and finds out where they lead. Create one with New.
//
// A Service is safe for concurrent use by multiple goroutines if its Store is.
type Service struct {
	store Store
	codes Codes
	opts  Options
}

// Options are the settings of a Service. Nil and zero fields mean the defaults.
type Options struct {
	Codes Codes     // NewRandom(nil)
	URLs  URLPolicy // what may be shortened
	Words *Words    // DefaultWords()

	// SameURL lets Create return the link that there is for a URL, if it is
	// alive and neither it nor the new one has anything special: alias, expiry,
	// limit, owner or redirection. It needs Codes that are Hashed, and has no
	// effect with others. By default each call makes a link of its own.
	SameURL bool

	// ReuseAfter is for how long a code that was an alias stays taken when its
	// link was removed or has expired. 0 means for ever, so that old links
	// never lead somewhere else.
	ReuseAfter time.Duration

	// Analytics, if set, counts the visits of all links.
	Analytics *Analytics

	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// New returns a service on a store. It panics if store is nil.
func New(store Store, opts *Options) *Service {
	if store == nil {
		panic("shortener: nil store")
	}
	s := &Service{store: store}
	if opts != nil {
		s.opts = *opts
	}
	if s.codes = s.opts.Codes; s.codes == nil {
		s.codes = NewRandom(nil)
	}
	if s.opts.Words == nil {
		s.opts.Words = DefaultWords()
	}
	if s.opts.Now == nil {
		s.opts.Now = time.Now
	}
	return s
}

// LinkOptions are the settings of one link. Nil and zero fields mean the
// defaults.
type LinkOptions struct {
	// Alias is the code, instead of one that is made: 1 to 64 letters, digits,
	// hyphens, underscores and tildes.
	Alias string

	Expires   time.Time // when the link expires; zero means never
	MaxVisits int64     // by people, after which the link is exhausted; 0 means no limit

	// Permanent redirects with 301. Browsers then remember where the link
	// leads, and neither count as visits again nor learn of a change.
	Permanent bool

	Owner string // kept with the link
}

// maxAttempts is the number of codes that are tried for a link.
const maxAttempts = 64

// Create makes a link to a URL and returns it with the secret of its owner,
// which is kept nowhere: only its hash is. With Options.SameURL it may return
// one that is there already, and no secret.
//
// The error wraps ErrBadURL, ErrBadAlias, ErrBadOption, ErrReserved or ErrTaken
// if it is about the arguments, or ErrNoCodes.
func (s *Service) Create(ctx context.Context, url string, opts *LinkOptions) (link Link, secret string, err error) {
	if opts == nil {
		opts = &LinkOptions{}
	}
	now := instant(s.opts.Now())
	if opts.MaxVisits < 0 {
		return Link{}, "", fmt.Errorf("%w: a limit of %d visits", ErrBadOption, opts.MaxVisits)
	}
	if !opts.Expires.IsZero() && !now.Before(opts.Expires) {
		return Link{}, "", fmt.Errorf("%w: it would have expired at %v", ErrBadOption, opts.Expires)
	}
	if url, err = s.opts.URLs.Canonical(url); err != nil {
		return Link{}, "", err
	}
	secret = rand.Text()
	link = Link{
		URL: url, Created: now, Expires: instant(opts.Expires), MaxVisits: opts.MaxVisits,
		Permanent: opts.Permanent, Owner: opts.Owner, Secret: sha256.Sum256([]byte(secret)),
	}
	if opts.Alias != "" {
		link.Code, link.Alias = opts.Alias, true
		if err := s.insertAlias(ctx, link, now); err != nil {
			return Link{}, "", err
		}
		return link, secret, nil
	}
	plain := s.opts.SameURL && *opts == LinkOptions{}
	var room [64]byte
	for attempt := range maxAttempts {
		code, err := s.codes.AppendCode(ctx, room[:0], url, attempt)
		if err != nil {
			return Link{}, "", err
		}
		link.Code = string(code)
		if s.opts.Words.Reserved(link.Code) || s.opts.Words.Foul(link.Code) {
			continue
		}
		err = s.store.Insert(ctx, link)
		if err == nil {
			return link, secret, nil
		}
		if !errors.Is(err, ErrTaken) {
			return Link{}, "", err
		}
		if _, hashed := s.codes.(*Hashed); plain && hashed {
			old, err := s.store.Get(ctx, link.Code)
			if err == nil && old.URL == url && old.isPlain() && old.State(now) == nil {
				return old, "", nil
			}
		}
	}
	return Link{}, "", fmt.Errorf("%w: %d were taken", ErrNoCodes, maxAttempts)
}

// isPlain reports whether a link was made without options.
func (l *Link) isPlain() bool {
	return !l.Alias && l.Expires.IsZero() && l.MaxVisits == 0 && l.Owner == "" && !l.Permanent
}

// instant returns a time as a store keeps it.
func instant(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

func (s *Service) insertAlias(ctx context.Context, link Link, now time.Time) error {
	if err := checkAlias(link.Code); err != nil {
		return err
	}
	if s.opts.Words.Reserved(link.Code) {
		return fmt.Errorf("%w: %q", ErrReserved, link.Code)
	}
	err := s.store.Insert(ctx, link)
	if s.opts.ReuseAfter <= 0 || !errors.Is(err, ErrTaken) {
		return err
	}
	_, err = s.store.Update(ctx, link.Code, func(old *Link) error {
		end := old.Expires
		if !old.Removed.IsZero() && (end.IsZero() || old.Removed.Before(end)) {
			end = old.Removed
		}
		if end.IsZero() || !old.Alias || now.Before(end.Add(s.opts.ReuseAfter)) {
			return ErrTaken
		}
		*old = link
		return nil
	})
	if err == nil && s.opts.Analytics != nil {
		s.opts.Analytics.Forget(link.Code)
	}
	return err
}

func checkAlias(alias string) error {
	if len(alias) > 64 {
		return fmt.Errorf("%w: %d characters", ErrBadAlias, len(alias))
	}
	for i := range len(alias) {
		if !isUnreserved(alias[i]) {
			return fmt.Errorf("%w %q: it has a %q", ErrBadAlias, alias, alias[i])
		}
	}
	return nil
}

// A Redirect is where a visitor is sent.
type Redirect struct {
	URL    string
	Status int   // 302, or 301 if the link is permanent
	Class  Class // what the visitor was taken for
}

// Resolve returns where a link leads, and counts the visit. Of a link with a
// limit, visits by people use it up, exactly: of however many that come at the
// same time, no more than there are left get there. Bots and previews do not use
// it up.
//
// The error wraps ErrNotFound, ErrRemoved, ErrExpired or ErrExhausted, or is
// one of the store.
func (s *Service) Resolve(ctx context.Context, code string, visit Visit) (Redirect, error) {
	now := s.opts.Now()
	link, err := s.store.Get(ctx, code)
	if err != nil {
		return Redirect{}, err
	}
	class := visit.Class()
	if err = link.State(now); err == nil && link.MaxVisits > 0 && class == Human {
		link, err = s.store.Update(ctx, code, func(l *Link) error {
			if err := l.State(now); err != nil {
				return err
			}
			l.Visits++
			return nil
		})
	}
	if err != nil {
		return Redirect{}, err
	}
	if s.opts.Analytics != nil {
		s.opts.Analytics.Record(code, now, class, visit)
	}
	r := Redirect{link.URL, http.StatusFound, class}
	if link.Permanent {
		r.Status = http.StatusMovedPermanently
	}
	return r, nil
}

// Lookup returns a link without visiting it, also one that leads nowhere any
// more: see [Link.State].
func (s *Service) Lookup(ctx context.Context, code string) (Link, error) {
	return s.store.Get(ctx, code)
}

// Remove makes a link lead nowhere from now on. Its code stays taken. The error
// wraps ErrForbidden if the secret is not that of the owner, and ErrRemoved if
// it was removed before.
func (s *Service) Remove(ctx context.Context, code, secret string) error {
	_, err := s.change(ctx, code, secret, func(l *Link) error {
		l.Removed = instant(s.opts.Now())
		return nil
	})
	return err
}

// Edit makes a link lead to another URL, as the owner.
func (s *Service) Edit(ctx context.Context, code, secret, url string) (Link, error) {
	url, err := s.opts.URLs.Canonical(url)
	if err != nil {
		return Link{}, err
	}
	return s.change(ctx, code, secret, func(l *Link) error {
		l.URL = url
		return nil
	})
}

// SetExpiry changes when a link expires, as the owner; the zero time means
// never. A link that has expired is there again if the time is in the future.
func (s *Service) SetExpiry(ctx context.Context, code, secret string, expires time.Time) (Link, error) {
	return s.change(ctx, code, secret, func(l *Link) error {
		l.Expires = instant(expires)
		return nil
	})
}

// Stats returns what is known of the visits of a link, to the owner.
func (s *Service) Stats(ctx context.Context, code, secret string) (Stats, error) {
	link, err := s.store.Get(ctx, code)
	if err != nil {
		return Stats{}, err
	}
	if !link.hasSecret(secret) {
		return Stats{}, ErrForbidden
	}
	if s.opts.Analytics == nil {
		return Stats{}, nil
	}
	return s.opts.Analytics.Stats(code, s.opts.Now()), nil
}

func (s *Service) change(ctx context.Context, code, secret string, change func(*Link) error) (Link, error) {
	return s.store.Update(ctx, code, func(l *Link) error {
		switch {
		case !l.hasSecret(secret):
			return ErrForbidden
		case !l.Removed.IsZero():
			return ErrRemoved
		}
		return change(l)
	})
}

// hasSecret does not tell by its time how much of a secret is right.
func (l *Link) hasSecret(secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(sum[:], l.Secret[:]) == 1
}
