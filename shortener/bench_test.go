package shortener_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/ashlar-go/ashlar/shortener"
)

func BenchmarkAppendCode(b *testing.B) {
	ctx := context.Background()
	for name, codes := range map[string]shortener.Codes{
		"permuted": shortener.NewPermuted(secret, nil, nil), "random": shortener.NewRandom(nil),
		"salted": shortener.NewSalted(nil), "hashed": shortener.NewHashed(nil, nil),
	} {
		b.Run("impl=ashlar/codes="+name, func(b *testing.B) {
			b.ReportAllocs()
			var room [16]byte
			for b.Loop() {
				if _, err := codes.AppendCode(ctx, room[:0], "https://example.com/a/path?that=is&rather=long", 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkResolve(b *testing.B) {
	ctx := context.Background()
	for _, analytics := range []bool{false, true} {
		opts := &shortener.Options{}
		if analytics {
			opts.Analytics = shortener.NewAnalytics(100_000)
		}
		links := shortener.New(new(shortener.MemoryStore), opts)
		codes := make([]string, 1<<14)
		for i := range codes {
			link, _, err := links.Create(ctx, fmt.Sprint("https://example.com/", i), nil)
			if err != nil {
				b.Fatal(err)
			}
			codes[i] = link.Code
		}
		visit := shortener.Visit{UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Referrer: "https://news.example/item", Country: "DE"}
		b.Run(fmt.Sprintf("impl=ashlar/analytics=%t", analytics), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i += 7 {
					if _, err := links.Resolve(ctx, codes[i&(len(codes)-1)], visit); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
