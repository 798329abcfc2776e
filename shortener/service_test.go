package shortener

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const browser = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"

var person = Visit{UserAgent: browser}

// A clock is for Options.Now.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestCreateAndResolve(t *testing.T) {
	ctx, clock := t.Context(), newClock()
	s := New(new(MemoryStore), &Options{Now: clock.Now})
	link, secret, err := s.Create(ctx, "HTTPS://Example.com", nil)
	require.NoError(t, err)
	require.Len(t, link.Code, 7)
	require.NotEmpty(t, secret)
	require.Equal(t, "https://example.com/", link.URL)
	require.Equal(t, clock.now, link.Created)
	got, err := s.Lookup(ctx, link.Code)
	require.NoError(t, err)
	require.Equal(t, link, got)
	r, err := s.Resolve(ctx, link.Code, person)
	require.NoError(t, err)
	require.Equal(t, Redirect{"https://example.com/", http.StatusFound, Human}, r)
	other, otherSecret, err := s.Create(ctx, "https://example.com", &LinkOptions{Permanent: true, Owner: "me"})
	require.NoError(t, err)
	require.NotEqual(t, link.Code, other.Code)
	require.NotEqual(t, secret, otherSecret)
	r, err = s.Resolve(ctx, other.Code, person)
	require.NoError(t, err)
	require.Equal(t, http.StatusMovedPermanently, r.Status)
	_, err = s.Resolve(ctx, "none", person)
	require.ErrorIs(t, err, ErrNotFound)
	require.Panics(t, func() { New(nil, nil) })
}

// The ends of links, each with its own error.
func TestEnds(t *testing.T) {
	ctx, clock := t.Context(), newClock()
	s := New(new(MemoryStore), &Options{Now: clock.Now})
	create := func(opts LinkOptions) (string, string) {
		link, secret, err := s.Create(ctx, "https://example.com", &opts)
		require.NoError(t, err)
		return link.Code, secret
	}
	resolve := func(code string) error {
		_, err := s.Resolve(ctx, code, person)
		return err
	}
	expiring, secret := create(LinkOptions{Expires: clock.now.Add(time.Hour)})
	limited, _ := create(LinkOptions{MaxVisits: 2})
	removed, removedSecret := create(LinkOptions{})

	clock.advance(time.Hour - 1)
	require.NoError(t, resolve(expiring))
	clock.advance(1)
	require.ErrorIs(t, resolve(expiring), ErrExpired, "at the time itself")
	_, err := s.SetExpiry(ctx, expiring, secret, time.Time{})
	require.NoError(t, err)
	require.NoError(t, resolve(expiring))

	for _, visit := range []Visit{{UserAgent: "Slackbot-LinkExpanding 1.0"}, {UserAgent: "curl/8.5"}, {Method: "HEAD", UserAgent: browser}, {Purpose: "prefetch", UserAgent: browser}} {
		r, err := s.Resolve(ctx, limited, visit)
		require.NoError(t, err)
		require.NotEqual(t, Human, r.Class)
	}
	require.NoError(t, resolve(limited))
	require.NoError(t, resolve(limited))
	require.ErrorIs(t, resolve(limited), ErrExhausted)
	_, err = s.Resolve(ctx, limited, Visit{UserAgent: "curl/8.5"})
	require.ErrorIs(t, err, ErrExhausted, "nobody gets past the end")

	require.ErrorIs(t, s.Remove(ctx, removed, "guess"), ErrForbidden)
	require.ErrorIs(t, s.Remove(ctx, removed, ""), ErrForbidden)
	require.ErrorIs(t, s.Remove(ctx, removed, secret), ErrForbidden, "of another link")
	require.ErrorIs(t, s.Remove(ctx, "none", removedSecret), ErrNotFound)
	require.NoError(t, resolve(removed))
	require.NoError(t, s.Remove(ctx, removed, removedSecret))
	require.ErrorIs(t, resolve(removed), ErrRemoved)
	require.ErrorIs(t, s.Remove(ctx, removed, removedSecret), ErrRemoved)
	_, err = s.Edit(ctx, removed, removedSecret, "https://example.com")
	require.ErrorIs(t, err, ErrRemoved)

	for err, status := range map[error]int{
		ErrNotFound: 404, ErrExpired: 410, ErrRemoved: 410, ErrExhausted: 410, ErrTaken: 409, ErrReserved: 409,
		ErrBadURL: 400, ErrBadAlias: 400, ErrBadOption: 400, ErrForbidden: 403, ErrNoCodes: 500, errors.New("x"): 500,
		fmt.Errorf("wrapped: %w", ErrExpired): 410,
	} {
		require.Equal(t, status, Status(err), "%v", err)
	}
}

func TestEdit(t *testing.T) {
	ctx := t.Context()
	s := New(new(MemoryStore), nil)
	link, secret, err := s.Create(ctx, "https://example.com", nil)
	require.NoError(t, err)
	_, err = s.Edit(ctx, link.Code, "guess", "https://evil.example")
	require.ErrorIs(t, err, ErrForbidden)
	_, err = s.Edit(ctx, link.Code, secret, "javascript:alert(1)")
	require.ErrorIs(t, err, ErrBadURL)
	edited, err := s.Edit(ctx, link.Code, secret, "https://new.example")
	require.NoError(t, err)
	require.Equal(t, "https://new.example/", edited.URL)
	r, err := s.Resolve(ctx, link.Code, person)
	require.NoError(t, err)
	require.Equal(t, "https://new.example/", r.URL)
}

func TestAliases(t *testing.T) {
	ctx, clock := t.Context(), newClock()
	s := New(new(MemoryStore), &Options{Now: clock.Now, ReuseAfter: 24 * time.Hour})
	create := func(alias string, expires time.Time) (string, error) {
		_, secret, err := s.Create(ctx, "https://example.com/"+alias, &LinkOptions{Alias: alias, Expires: expires})
		return secret, err
	}
	for alias, want := range map[string]error{
		"sale": nil, "Sale": nil, "a": nil, "a-b_c~d": nil, strings.Repeat("x", 64): nil, "analytics": nil,
		"admin": ErrReserved, "API": ErrReserved, "a/b": ErrBadAlias, "a b": ErrBadAlias, "é": ErrBadAlias, "a.b": ErrBadAlias, "%20": ErrBadAlias,
		strings.Repeat("x", 65): ErrBadAlias,
	} {
		_, err := create(alias, time.Time{})
		require.ErrorIs(t, err, want, alias)
	}
	_, err := create("sale", time.Time{})
	require.ErrorIs(t, err, ErrTaken)

	// A removed alias is free a day later, and one that expired as well.
	secret, err := create("old", time.Time{})
	require.NoError(t, err)
	require.NoError(t, s.Remove(ctx, "old", secret))
	_, err = create("expiring", clock.now.Add(time.Hour))
	require.NoError(t, err)
	clock.advance(24*time.Hour - 1)
	_, err = create("old", time.Time{})
	require.ErrorIs(t, err, ErrTaken)
	clock.advance(1)
	_, err = create("old", time.Time{})
	require.NoError(t, err)
	require.ErrorIs(t, s.Remove(ctx, "old", secret), ErrForbidden, "it has another owner now")
	_, err = create("expiring", time.Time{})
	require.ErrorIs(t, err, ErrTaken)
	clock.advance(time.Hour)
	_, err = create("expiring", time.Time{})
	require.NoError(t, err)

	forever := New(new(MemoryStore), &Options{Now: clock.Now})
	link, secret, err := forever.Create(ctx, "https://example.com", &LinkOptions{Alias: "x"})
	require.NoError(t, err)
	require.NoError(t, forever.Remove(ctx, link.Code, secret))
	clock.advance(1e6 * time.Hour)
	_, _, err = forever.Create(ctx, "https://example.com", &LinkOptions{Alias: "x"})
	require.ErrorIs(t, err, ErrTaken)
}

func TestBadOptions(t *testing.T) {
	ctx, clock := t.Context(), newClock()
	s := New(new(MemoryStore), &Options{Now: clock.Now, URLs: URLPolicy{Domains: []string{"sho.rt"}}})
	for _, opts := range []LinkOptions{{MaxVisits: -1}, {Expires: clock.now}, {Expires: clock.now.Add(-time.Hour)}} {
		_, _, err := s.Create(ctx, "https://example.com", &opts)
		require.ErrorIs(t, err, ErrBadOption)
	}
	_, _, err := s.Create(ctx, "https://sho.rt/x", nil)
	require.ErrorIs(t, err, ErrBadURL)
}

// Codes come from a list.
type listed []string

func (l *listed) AppendCode(_ context.Context, dst []byte, _ string, _ int) ([]byte, error) {
	if len(*l) == 0 {
		return dst, ErrNoCodes
	}
	code := (*l)[0]
	*l = (*l)[1:]
	return append(dst, code...), nil
}

func TestCodesThatCannotBeUsed(t *testing.T) {
	ctx := t.Context()
	codes := &listed{"aaa", "aaa", "Admin", "xSHiTx", "bbb"}
	s := New(new(MemoryStore), &Options{Codes: codes})
	for _, want := range []string{"aaa", "bbb"} {
		link, _, err := s.Create(ctx, "https://example.com", nil)
		require.NoError(t, err)
		require.Equal(t, want, link.Code)
	}
	_, _, err := s.Create(ctx, "https://example.com", nil)
	require.ErrorIs(t, err, ErrNoCodes)

	for range 2 * maxAttempts {
		*codes = append(*codes, "aaa")
	}
	_, _, err = s.Create(ctx, "https://example.com", nil)
	require.ErrorIs(t, err, ErrNoCodes)
	require.Len(t, *codes, maxAttempts, "it gives up")
}

// A space of codes is used up to the last one.
func TestPermutedToTheEnd(t *testing.T) {
	ctx := t.Context()
	store := new(MemoryStore)
	opts := &CodeOptions{Alphabet: NewAlphabet("abc"), Length: 4}
	s := New(store, &Options{Codes: NewPermuted(key, nil, opts), Words: new(Words)})
	for range 81 {
		_, _, err := s.Create(ctx, "https://example.com", nil)
		require.NoError(t, err)
	}
	require.Equal(t, 81, store.Len())
	_, _, err := s.Create(ctx, "https://example.com", nil)
	require.ErrorIs(t, err, ErrNoCodes)
}

func TestSameURL(t *testing.T) {
	ctx, clock := t.Context(), newClock()
	s := New(new(MemoryStore), &Options{Codes: NewHashed([]byte("k"), nil), SameURL: true, Now: clock.Now})
	create := func(opts *LinkOptions) (Link, string) {
		link, secret, err := s.Create(ctx, "https://example.com", opts)
		require.NoError(t, err)
		return link, secret
	}
	first, secret := create(nil)
	again, none := create(&LinkOptions{})
	require.Equal(t, first, again)
	require.Empty(t, none)
	special, _ := create(&LinkOptions{MaxVisits: 1})
	require.NotEqual(t, first.Code, special.Code)
	again, _ = create(nil)
	require.Equal(t, first, again)
	require.NoError(t, s.Remove(ctx, first.Code, secret))
	next, _ := create(nil)
	require.NotEqual(t, first.Code, next.Code)
	require.NotEqual(t, special.Code, next.Code)
	again, _ = create(nil)
	require.Equal(t, next, again)

	s = New(new(MemoryStore), &Options{Codes: NewHashed([]byte("k"), nil)})
	a, _, err := s.Create(ctx, "https://example.com", nil)
	require.NoError(t, err)
	b, _, err := s.Create(ctx, "https://example.com", nil)
	require.NoError(t, err)
	require.NotEqual(t, a.Code, b.Code)
}

// What a store fails with goes to the caller.
type failing struct{ *MemoryStore }

var errStore = errors.New("store is away")

func (failing) Insert(context.Context, Link) error        { return errStore }
func (failing) Get(context.Context, string) (Link, error) { return Link{}, errStore }

func TestErrorsOfTheStore(t *testing.T) {
	ctx := t.Context()
	s := New(failing{new(MemoryStore)}, nil)
	_, _, err := s.Create(ctx, "https://example.com", nil)
	require.ErrorIs(t, err, errStore)
	_, _, err = s.Create(ctx, "https://example.com", &LinkOptions{Alias: "a"})
	require.ErrorIs(t, err, errStore)
	_, err = s.Resolve(ctx, "a", person)
	require.ErrorIs(t, err, errStore)
	_, err = s.Stats(ctx, "a", "")
	require.ErrorIs(t, err, errStore)
}

func TestMaxVisitsConcurrentSafe(t *testing.T) {
	ctx := t.Context()
	s := New(new(MemoryStore), &Options{Analytics: NewAnalytics(100)})
	link, secret, err := s.Create(ctx, "https://example.com", &LinkOptions{MaxVisits: 100})
	require.NoError(t, err)
	var mu sync.Mutex
	arrived, exhausted := 0, 0
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 5 {
				_, err := s.Resolve(ctx, link.Code, person)
				_, _ = s.Resolve(ctx, link.Code, Visit{UserAgent: "Twitterbot/1.0"})
				mu.Lock()
				switch {
				case err == nil:
					arrived++
				case errors.Is(err, ErrExhausted):
					exhausted++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Equal(t, 100, arrived)
	require.Equal(t, 220, exhausted)
	stats, err := s.Stats(ctx, link.Code, secret)
	require.NoError(t, err)
	require.EqualValues(t, 100, stats.Humans)
}

func TestClasses(t *testing.T) {
	for agent, want := range map[string]Class{
		browser: Human,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1": Human,
		"Mozilla/5.0 (Linux; Android 14; CUBOT KINGKONG) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36":                                    Human,
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)":                                                                Bot,
		"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0)":                                                             Bot,
		"curl/8.5.0": Bot, "Go-http-client/2.0": Bot, "python-requests/2.32": Bot, "": Bot,
		"facebookexternalhit/1.1": Preview, "Twitterbot/1.0": Preview, "WhatsApp/2.23": Preview, "TelegramBot (like TwitterBot)": Preview,
		"Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)": Preview, "http.rb/5.1 (Mastodon/4.3; +https://mastodon.social/)": Preview,
	} {
		v := Visit{UserAgent: agent}
		for range 2 { // the second time it is remembered
			require.Equal(t, want, v.Class(), agent)
		}
	}
	for _, v := range []Visit{{Method: "HEAD", UserAgent: browser}, {Purpose: "prefetch;prerender", UserAgent: browser}, {Purpose: "Preview", UserAgent: browser}} {
		require.Equal(t, Preview, v.Class())
	}
	require.Equal(t, Human, (&Visit{Purpose: "other", UserAgent: browser}).Class())
	require.Equal(t, "preview", Preview.String())
	for agent, want := range map[string]Device{
		browser: Desktop, "Mozilla/5.0 (iPhone; like Mac OS X) Mobile": Mobile, "Mozilla/5.0 (iPad; CPU OS 17)": Tablet,
		"Mozilla/5.0 (Linux; Android 14; SM-X910) Safari": Tablet, "Mozilla/5.0 (Linux; Android 14) Mobile": Mobile, "": OtherDevice,
	} {
		require.Equal(t, want, (&Visit{UserAgent: agent}).Device(), agent)
	}
	require.Equal(t, "tablet", Tablet.String())
}

// User agents that differ each time do not fill memory.
func TestAgentsAreBounded(t *testing.T) {
	var c agentCache
	for i := range 3 * maxAgents {
		require.Equal(t, Bot, c.of(fmt.Sprint("bot", i)).class)
	}
	c.of(strings.Repeat("x", maxAgent+1))
	n := 0
	c.known.Load().Range(func(key, _ any) bool { n++; require.LessOrEqual(t, len(key.(string)), maxAgent); return true })
	require.LessOrEqual(t, n, maxAgents+1)
}

func TestVisitOf(t *testing.T) {
	r := httptest.NewRequest("GET", "/abc", nil)
	r.Header.Set("User-Agent", browser)
	r.Header.Set("Referer", "https://www.news.example/story?id=1")
	r.Header.Set("X-Moz", "prefetch")
	r.RemoteAddr = "192.0.2.1:1234"
	v := VisitOf(r)
	require.Equal(t, Visit{Method: "GET", UserAgent: browser, Purpose: "prefetch", Referrer: "https://www.news.example/story?id=1", Visitor: "192.0.2.1|" + browser}, v)
	require.Equal(t, Preview, v.Class())
	r.RemoteAddr = "@"
	v = VisitOf(r)
	require.Equal(t, "@|"+browser, v.Visitor)
	for referrer, host := range map[string]string{
		"": "", "https://www.News.example/x": "news.example", "https://news.example:8443": "news.example", "android-app://com.app/": "com.app",
		"%zz": "", "not a url": "", "https://" + strings.Repeat("x", 101): "",
	} {
		require.Equal(t, host, referringHost(referrer), referrer)
	}
}

func TestAnalytics(t *testing.T) {
	ctx, clock := t.Context(), newClock()
	s := New(new(MemoryStore), &Options{Analytics: NewAnalytics(1000), Now: clock.Now})
	link, secret, err := s.Create(ctx, "https://example.com", nil)
	require.NoError(t, err)
	visit := func(v Visit) {
		_, err := s.Resolve(ctx, link.Code, v)
		require.NoError(t, err)
	}
	for i := range 30 {
		visit(Visit{UserAgent: browser, Referrer: "https://a.example/x", Country: "de", Visitor: fmt.Sprint(i % 10)})
	}
	clock.advance(2 * time.Hour)
	visit(Visit{UserAgent: browser, Country: "FR"})
	visit(Visit{UserAgent: "curl/8"})
	visit(Visit{UserAgent: "Twitterbot"})
	stats, err := s.Stats(ctx, link.Code, secret)
	require.NoError(t, err)
	require.EqualValues(t, 31, stats.Humans)
	require.EqualValues(t, 1, stats.Bots)
	require.EqualValues(t, 1, stats.Previews)
	require.EqualValues(t, 10, stats.Visitors)
	require.EqualValues(t, [4]int64{Desktop: 31}, stats.Devices)
	require.Equal(t, []Count{{"a.example", 30, 0}, {"", 1, 0}}, stats.Referrers)
	require.Equal(t, []Count{{"DE", 30, 0}, {"FR", 1, 0}}, stats.Countries)
	require.EqualValues(t, 1, stats.Hours[statHours-1])
	require.EqualValues(t, 30, stats.Hours[statHours-3])

	_, err = s.Stats(ctx, link.Code, "guess")
	require.ErrorIs(t, err, ErrForbidden)
	clock.advance(166 * time.Hour)
	stats, err = s.Stats(ctx, link.Code, secret)
	require.NoError(t, err)
	require.EqualValues(t, 1, stats.Hours[1])
	require.Equal(t, stats.Hours, [statHours]int64{1: 1}, "30 are older than a week")
	clock.advance(1000 * time.Hour)
	visit(person)
	stats, err = s.Stats(ctx, link.Code, secret)
	require.NoError(t, err)
	require.Equal(t, stats.Hours, [statHours]int64{statHours - 1: 1})
	require.EqualValues(t, 32, stats.Humans)

	stats, err = New(s.store, nil).Stats(ctx, link.Code, secret)
	require.NoError(t, err)
	require.Zero(t, stats.Humans)
	require.Panics(t, func() { NewAnalytics(0) })
}

// Links, referrers and countries have their bounds; what is frequent stays.
func TestAnalyticsAreBounded(t *testing.T) {
	a := NewAnalytics(160)
	now := time.Unix(1_700_000_000, 0)
	for i := range 5000 {
		a.Record(fmt.Sprint("code", i), now, Human, Visit{Visitor: "x"})
	}
	for i := range a.shards {
		require.LessOrEqual(t, len(a.shards[i].links), 10)
		require.Equal(t, a.shards[i].recent.Len(), len(a.shards[i].links))
	}
	for i := range 5000 {
		a.Record("busy", now.Add(time.Duration(i)*time.Second-10000*time.Hour), Human, Visit{Referrer: fmt.Sprintf("https://r%d.example/", i), Country: "xyz"})
		a.Record("busy", now, Human, Visit{Referrer: "https://frequent.example"})
	}
	stats := a.Stats("busy", now)
	require.Len(t, stats.Referrers, topReferrers)
	require.Equal(t, "frequent.example", stats.Referrers[0].Name)
	require.GreaterOrEqual(t, stats.Referrers[0].Count-stats.Referrers[0].Error, int64(4000))
	require.EqualValues(t, []Count{{"", 10_000, 0}}, stats.Countries)
	a.Forget("busy")
	a.Forget("busy")
	require.Zero(t, a.Stats("busy", now).Humans)
}

func TestAnalyticsConcurrentSafe(t *testing.T) {
	a := NewAnalytics(16)
	now := time.Unix(1_700_000_000, 0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				a.Record("same", now, Class(i%3), Visit{UserAgent: fmt.Sprint(i), Visitor: fmt.Sprint(i)})
				_ = a.Stats("same", now)
			}
		})
	}
	wg.Wait()
	stats := a.Stats("same", now)
	require.EqualValues(t, 4000, stats.Humans+stats.Bots+stats.Previews)
}
