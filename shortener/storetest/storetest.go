// Package storetest tests whether a shortener.Store does as it should.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/shortener"
)

// Run tests a store. Open returns one that is empty, for each test another; it
// may use t for what it needs and to clean up.
func Run(t *testing.T, open func(t *testing.T) shortener.Store) {
	for _, test := range Tests() {
		t.Run(test.Name, func(t *testing.T) { test.Run(t, open(t)) })
	}
}

// A Test is one of those that Run runs.
type Test struct {
	Name string
	Run  func(t testing.TB, store shortener.Store)
}

// Tests returns the tests, for those who run them in another way.
func Tests() []Test {
	return []Test{
		{"InsertAndGet", insertAndGet},
		{"Absent", absent},
		{"Taken", taken},
		{"Codes", codes},
		{"Update", update},
		{"UpdateFails", updateFails},
		{"Delete", remove},
		{"ValuesAreCopies", valuesAreCopies},
		{"OneInsertWins", oneInsertWins},
		{"UpdatesAreExact", updatesAreExact},
		{"MaxVisitsIsExact", maxVisitsIsExact},
	}
}

// full returns a link that has something in every field.
func full(code string) shortener.Link {
	link := shortener.Link{
		Code: code, URL: "https://example.com/a?b=c&d=%20#é", Created: time.Date(2026, 5, 1, 12, 0, 0, 123456000, time.UTC),
		Expires: time.Date(2999, 12, 31, 23, 59, 59, 999999000, time.UTC), Removed: time.Date(2026, 5, 2, 0, 0, 0, 1000, time.UTC),
		MaxVisits: 1 << 40, Visits: 1<<40 - 1, Permanent: true, Alias: true, Owner: "Zoë 'x' \"y\" \\ \n",
	}
	for i := range link.Secret {
		link.Secret[i] = byte(255 - i)
	}
	return link
}

func insert(t testing.TB, store shortener.Store, link shortener.Link) {
	t.Helper()
	if err := store.Insert(context.Background(), link); err != nil {
		t.Fatalf("Insert(%q): %v", link.Code, err)
	}
}

// want checks what a store has under a code.
func want(t testing.TB, store shortener.Store, link shortener.Link) {
	t.Helper()
	got, err := store.Get(context.Background(), link.Code)
	if err != nil || got != link {
		t.Fatalf("Get(%q) = %+v, %v, want %+v", link.Code, got, err, link)
	}
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func insertAndGet(t testing.TB, store shortener.Store) {
	for _, link := range []shortener.Link{full("a"), {Code: "b", URL: "http://b/"}, {Code: "c"}} {
		insert(t, store, link)
	}
	want(t, store, full("a"))
	want(t, store, shortener.Link{Code: "b", URL: "http://b/"})
	want(t, store, shortener.Link{Code: "c"})
}

func absent(t testing.TB, store shortener.Store) {
	ctx := context.Background()
	insert(t, store, full("there"))
	for _, code := range []string{"", "ther", "There", "there ", "%", "_____"} {
		_, err := store.Get(ctx, code)
		wantErr(t, fmt.Sprintf("Get(%q)", code), err, shortener.ErrNotFound)
		_, err = store.Update(ctx, code, func(*shortener.Link) error {
			t.Errorf("Update(%q) calls its function", code)
			return nil
		})
		wantErr(t, fmt.Sprintf("Update(%q)", code), err, shortener.ErrNotFound)
		wantErr(t, fmt.Sprintf("Delete(%q)", code), store.Delete(ctx, code), shortener.ErrNotFound)
	}
	want(t, store, full("there"))
}

func taken(t testing.TB, store shortener.Store) {
	insert(t, store, full("a"))
	other := full("a")
	other.URL = "http://other/"
	wantErr(t, "Insert", store.Insert(context.Background(), other), shortener.ErrTaken)
	want(t, store, full("a"))
}

// Codes that differ a little are different, also by case.
func codes(t testing.TB, store shortener.Store) {
	all := []string{"a", "A", "aa", "a-", "a_", "a~", "0", "00", "é", strings.Repeat("x", 64)}
	for _, code := range all {
		insert(t, store, shortener.Link{Code: code, URL: "http://" + code})
	}
	for _, code := range all {
		want(t, store, shortener.Link{Code: code, URL: "http://" + code})
	}
}

func update(t testing.TB, store shortener.Store) {
	insert(t, store, shortener.Link{Code: "a", URL: "http://a/"})
	insert(t, store, shortener.Link{Code: "b", URL: "http://b/"})
	got, err := store.Update(context.Background(), "a", func(l *shortener.Link) error {
		if l.URL != "http://a/" {
			t.Errorf("the function gets %+v", l)
		}
		*l = full("a")
		return nil
	})
	if err != nil || got != full("a") {
		t.Fatalf("Update = %+v, %v", got, err)
	}
	want(t, store, full("a"))
	want(t, store, shortener.Link{Code: "b", URL: "http://b/"})
}

func updateFails(t testing.TB, store shortener.Store) {
	insert(t, store, full("a"))
	failed := errors.New("failed")
	_, err := store.Update(context.Background(), "a", func(l *shortener.Link) error {
		l.URL, l.Visits = "http://changed/", 0
		return failed
	})
	wantErr(t, "Update", err, failed)
	want(t, store, full("a"))
}

func remove(t testing.TB, store shortener.Store) {
	ctx := context.Background()
	insert(t, store, full("a"))
	insert(t, store, full("b"))
	if err := store.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	_, err := store.Get(ctx, "a")
	wantErr(t, "Get", err, shortener.ErrNotFound)
	wantErr(t, "Delete", store.Delete(ctx, "a"), shortener.ErrNotFound)
	insert(t, store, shortener.Link{Code: "a", URL: "http://new/"})
	want(t, store, shortener.Link{Code: "a", URL: "http://new/"})
	want(t, store, full("b"))
}

func valuesAreCopies(t testing.TB, store shortener.Store) {
	insert(t, store, full("a"))
	var kept *shortener.Link
	if _, err := store.Update(context.Background(), "a", func(l *shortener.Link) error { kept = l; return nil }); err != nil {
		t.Fatal(err)
	}
	kept.URL = "http://changed/"
	want(t, store, full("a"))
}

const crowd = 64

// together runs a function in many goroutines at a time.
func together(f func(i int)) {
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func oneInsertWins(t testing.TB, store shortener.Store) {
	for round := range 5 {
		code := fmt.Sprint("code", round)
		var mu sync.Mutex
		winner := -1
		together(func(i int) {
			err := store.Insert(context.Background(), shortener.Link{Code: code, Visits: int64(i)})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && winner >= 0:
				t.Errorf("both %d and %d inserted %s", winner, i, code)
			case err == nil:
				winner = i
			case !errors.Is(err, shortener.ErrTaken):
				t.Errorf("Insert: %v", err)
			}
		})
		want(t, store, shortener.Link{Code: code, Visits: int64(winner)})
	}
}

func updatesAreExact(t testing.TB, store shortener.Store) {
	const each = 10
	insert(t, store, shortener.Link{Code: "a"})
	insert(t, store, shortener.Link{Code: "b"})
	together(func(i int) {
		code := []string{"a", "b"}[i%2]
		for range each {
			if _, err := store.Update(context.Background(), code, func(l *shortener.Link) error { l.Visits++; return nil }); err != nil {
				t.Errorf("Update: %v", err)
			}
		}
	})
	want(t, store, shortener.Link{Code: "a", Visits: crowd / 2 * each})
	want(t, store, shortener.Link{Code: "b", Visits: crowd / 2 * each})
}

func maxVisitsIsExact(t testing.TB, store shortener.Store) {
	ctx := context.Background()
	service := shortener.New(store, nil)
	link, _, err := service.Create(ctx, "https://example.com/", &shortener.LinkOptions{MaxVisits: crowd + 10})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	arrived := 0
	together(func(int) {
		for range 3 {
			_, err := service.Resolve(ctx, link.Code, shortener.Visit{UserAgent: "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"})
			mu.Lock()
			if err == nil {
				arrived++
			} else if !errors.Is(err, shortener.ErrExhausted) {
				t.Errorf("Resolve: %v", err)
			}
			mu.Unlock()
		}
	})
	if arrived != crowd+10 {
		t.Errorf("%d visitors arrived, %d were allowed", arrived, crowd+10)
	}
}
