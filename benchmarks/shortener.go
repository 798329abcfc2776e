package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/bwmarrin/snowflake"
	"github.com/google/uuid"
	"github.com/jxskiss/base62"
	gonanoid "github.com/matoous/go-nanoid/v2"
	"github.com/oklog/ulid/v2"
	"github.com/rs/xid"
	"github.com/segmentio/ksuid"
	"github.com/teris-io/shortid"

	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/shortener"
)

func init() {
	harness.Register(harness.Suite{Package: "shortener", Doc: "codes of short links, and where they lead", Run: func(s *harness.Session) {
		codeTimes(s)
		codeCollisions(s)
		resolveTimes(s)
	}})
}

const longURL = "https://example.com/a/path?that=is&rather=long"

// codeBytes keeps codes from being optimised away.
var codeBytes int

var _ = &codeBytes

// oursAs is an implementation that makes codes of ours.
func oursAs(name string, make func() shortener.Codes) harness.Impl {
	return harness.Impl{Name: name, Start: func() (func(int), func()) {
		codes, ctx := make(), context.Background()
		return func(n int) {
			var room [16]byte
			for range n {
				code, err := codes.AppendCode(ctx, room[:0], longURL, 0)
				if err != nil {
					panic(err)
				}
				codeBytes += len(code)
			}
		}, func() {}
	}}
}

// textCodes is an implementation that returns codes as strings.
func textCodes(name string, code func(n uint64) string) harness.Impl {
	return harness.Impl{Name: name, Start: func() (func(int), func()) {
		number := uint64(0)
		return func(n int) {
			for range n {
				number++
				codeBytes += len(code(number))
			}
		}, func() {}
	}}
}

func codeTimes(s *harness.Session) {
	var key [16]byte
	node := must(snowflake.NewNode(1))
	n := s.Pick(300_000, 100_000, 100)
	s.Time(harness.Spec{
		Group: "Codes", Name: "codes that count without showing it", Note: "base62 and snowflake do show it; where base62 took 42 ns, sqids took 2,492 and hashids 746, which cannot be had",
		Bars: []harness.Bar{harness.AtMost(30), harness.AtMost(1).Of("base62")},
	}, n, []harness.Impl{
		oursAs(harness.Ours, func() shortener.Codes { return shortener.NewPermuted(key, nil, nil) }),
		textCodes("base62", func(n uint64) string { return string(base62.FormatUint(n)) }),
		textCodes("snowflake", func(uint64) string { return node.Generate().Base58() }),
	})
	s.Time(harness.Spec{
		Group: "Codes", Name: "codes by chance", Note: "7 characters; of the others nanoid has 7, and the rest as many as they have",
		Bars: []harness.Bar{harness.AtMost(1).Of("nanoid", "uuid", "ulid", "ksuid", "shortid")},
	}, n/10, []harness.Impl{
		oursAs(harness.Ours, func() shortener.Codes { return shortener.NewRandom(nil) }),
		textCodes("nanoid", func(uint64) string { return must(gonanoid.New(7)) }),
		textCodes("uuid", func(uint64) string { return uuid.NewString() }),
		textCodes("ulid", func(uint64) string { return ulid.Make().String() }),
		textCodes("ksuid", func(uint64) string { return ksuid.New().String() }),
		textCodes("xid", func(uint64) string { return xid.New().String() }),
		textCodes("shortid", func(uint64) string { return must(shortid.Generate()) }),
		textCodes("crypto/rand.Text", func(uint64) string { return rand.Text()[:7] }),
	})
	s.Time(harness.Spec{Group: "Codes", Name: "codes of a URL, salted", Note: "MD5 with a salt of 16 random bytes"}, n,
		[]harness.Impl{
			oursAs(harness.Ours, func() shortener.Codes { return shortener.NewSalted(nil) }),
			oursAs("ashlar Hashed", func() shortener.Codes { return shortener.NewHashed(key[:], nil) }),
		})
}

// codeCollisions counts codes that were there before.
func codeCollisions(s *harness.Session) {
	n := s.Pick(4_000_000, 1_000_000, 1000)
	s.Value(harness.Spec{
		Group: "Collisions", Name: fmt.Sprintf("%d codes of 7 characters", n), Unit: "collisions",
		Bars: []harness.Bar{harness.AtMost(0)},
		Note: fmt.Sprintf("by the law of birthdays %.1f are expected of codes that do not count", float64(n)*float64(n)/2/3521614606208),
	}, func() (figures []harness.Figure) {
		var key [16]byte
		for _, kind := range []struct {
			name  string
			codes shortener.Codes
		}{
			{harness.Ours, shortener.NewPermuted(key, nil, nil)}, {"ashlar Random", shortener.NewRandom(nil)},
			{"ashlar Salted", shortener.NewSalted(nil)}, {"ashlar Hashed", shortener.NewHashed(nil, nil)},
		} {
			seen, collisions := make(map[uint64]struct{}, n), 0
			var room [80]byte
			for i := range n {
				url := fmt.Appendf(room[:0], "https://example.com/%d", i)
				code, err := kind.codes.AppendCode(context.Background(), room[40:40], string(url), 0)
				if err != nil {
					panic(err)
				}
				number, _ := shortener.Base62.Parse(string(code))
				if _, there := seen[number]; there {
					collisions++
				}
				seen[number] = struct{}{}
			}
			figures = append(figures, harness.Figure{Name: kind.name, Value: float64(collisions)})
		}
		return figures
	})
}

func resolveTimes(s *harness.Session) {
	const links = 1 << 14
	ctx := context.Background()
	visit := shortener.Visit{
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Referrer: "https://news.example/item", Country: "DE", Visitor: "192.0.2.1",
	}
	service := func(name string, opts *shortener.Options) harness.Impl {
		return harness.Impl{Name: name, Start: func() (func(int), func()) {
			service := shortener.New(new(shortener.MemoryStore), opts)
			codes := make([]string, links)
			for i := range codes {
				link, _, err := service.Create(ctx, fmt.Sprint("https://example.com/", i), nil)
				if err != nil {
					panic(err)
				}
				codes[i] = link.Code
			}
			return func(n int) {
				var wg sync.WaitGroup
				for g := range 2 {
					wg.Go(func() {
						for i := range n / 2 {
							if _, err := service.Resolve(ctx, codes[(i*7+g*links/2)%links], visit); err != nil {
								panic(err)
							}
						}
					})
				}
				wg.Wait()
			}, func() {}
		}}
	}
	s.Time(harness.Spec{
		Group: "Resolve", Name: "from memory, 2 goroutines", Bars: []harness.Bar{harness.AtMost(200)},
		Note: "CPU of both goroutines for each link resolved, with its visitor classified",
	}, s.Pick(1_000_000, 300_000, 1000), []harness.Impl{
		service(harness.Ours, nil),
		service("with analytics", &shortener.Options{Analytics: shortener.NewAnalytics(2 * links)}),
	})
}
