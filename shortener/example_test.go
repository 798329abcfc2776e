package shortener_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/ashlar-go/ashlar/shortener"
)

// secret is the key of codes; yours comes from your configuration.
var secret = [16]byte{'k', 'e', 'y'}

func Example() {
	ctx := context.Background()
	links := shortener.New(new(shortener.MemoryStore), &shortener.Options{
		Codes: shortener.NewPermuted(secret, nil, nil),
		URLs:  shortener.URLPolicy{Domains: []string{"sho.rt"}},
	})
	link, ownerSecret, err := links.Create(ctx, "HTTPS://Example.com/a/long?path", nil)
	fmt.Println(link.Code, link.URL, err)

	to, err := links.Resolve(ctx, link.Code, shortener.Visit{UserAgent: "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"})
	fmt.Println(to.Status, to.URL, to.Class, err)

	_ = links.Remove(ctx, link.Code, ownerSecret)
	_, err = links.Resolve(ctx, link.Code, shortener.Visit{})
	fmt.Println(err, shortener.Status(err))

	_, _, err = links.Create(ctx, "https://SHO.RT./loop", nil)
	fmt.Println(err)
	// Output:
	// ARQ0erv https://example.com/a/long?path <nil>
	// 302 https://example.com/a/long?path human <nil>
	// shortener: link was removed 410
	// shortener: bad URL "https://SHO.RT./loop": it leads back to sho.rt
}

// A campaign: a name of its own, an end, and a number of visitors, of which
// programs are none.
func ExampleService_Create() {
	ctx := context.Background()
	links := shortener.New(new(shortener.MemoryStore), nil)
	link, _, err := links.Create(ctx, "https://example.com/sale", &shortener.LinkOptions{
		Alias: "sale", Expires: time.Now().Add(24 * time.Hour), MaxVisits: 1,
	})
	fmt.Println(link.Code, err)

	browser := shortener.Visit{UserAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile Safari"}
	for _, visit := range []shortener.Visit{{UserAgent: "WhatsApp/2.24"}, browser, browser} {
		to, err := links.Resolve(ctx, "sale", visit)
		fmt.Println(visit.Class(), to.URL, err)
	}
	_, _, err = links.Create(ctx, "https://example.com/", &shortener.LinkOptions{Alias: "sale"})
	fmt.Println(errors.Is(err, shortener.ErrTaken))
	// Output:
	// sale <nil>
	// preview https://example.com/sale <nil>
	// human https://example.com/sale <nil>
	// human  shortener: link has had all its visits
	// true
}

// Behind HTTP.
func ExampleService_Resolve() {
	links := shortener.New(new(shortener.MemoryStore), nil)
	_, _, _ = links.Create(context.Background(), "https://example.com/", &shortener.LinkOptions{Alias: "x"})

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{code}", func(w http.ResponseWriter, r *http.Request) {
		to, err := links.Resolve(r.Context(), r.PathValue("code"), shortener.VisitOf(r))
		if err != nil {
			http.Error(w, err.Error(), shortener.Status(err))
			return
		}
		http.Redirect(w, r, to.URL, to.Status)
	})
	for _, path := range []string{"/x", "/y"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Println(w.Code, w.Header().Get("Location"))
	}
	// Output:
	// 302 https://example.com/
	// 404
}

// Codes that count, and do not look like it.
func ExamplePermuted() {
	codes := shortener.NewPermuted(secret, nil, &shortener.CodeOptions{Alphabet: shortener.Legible, Length: 6})
	for n := range uint64(3) {
		code, _ := codes.AppendNumber(nil, n)
		back, _ := codes.Number(string(code))
		fmt.Println(n, string(code), back)
	}
	// Output:
	// 0 4v7spD 0
	// 1 XCkDjf 1
	// 2 hnFHRq 2
}
