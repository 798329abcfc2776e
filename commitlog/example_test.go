package commitlog_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
)

func Example() {
	dir, err := os.MkdirTemp("", "commitlog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	orders, err := commitlog.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"tea", "coffee", "cocoa"} {
		offset, err := orders.Append(ctx, commitlog.Record{Key: []byte("alice"), Value: []byte(text)})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("durable at", offset)
	}
	if err := orders.Close(); err != nil {
		log.Fatal(err)
	}

	if orders, err = commitlog.Open(dir, nil); err != nil {
		log.Fatal(err)
	}
	defer orders.Close()
	for r, err := range orders.Records(1) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s: %s\n", r.Offset, r.Key, r.Value)
	}
	// Output:
	// durable at 0
	// durable at 1
	// durable at 2
	// 1 alice: coffee
	// 2 alice: cocoa
}

// A reader waits at the end of the log for more.
func ExampleReader() {
	dir, err := os.MkdirTemp("", "commitlog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	l, err := commitlog.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	done := make(chan bool)
	go func() {
		defer close(done)
		r := l.NewReader(l.Start(), &commitlog.ReaderOptions{Durable: true})
		for range 2 {
			record, err := r.Next(ctx)
			if err != nil {
				log.Fatal(err)
			}
			fmt.Printf("got %s\n", record.Value)
		}
	}()
	for _, text := range []string{"one", "two"} {
		if _, err := l.Append(ctx, commitlog.Record{Value: []byte(text)}); err != nil {
			log.Fatal(err)
		}
	}
	<-done
	// Output:
	// got one
	// got two
}

// Many records share a sync, and one call makes all of them durable.
func ExampleLog_Sync() {
	dir, err := os.MkdirTemp("", "commitlog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	l, err := commitlog.Open(dir, &commitlog.Options{Sync: commitlog.SyncNever})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	for i := range 1000 {
		if _, err := l.Append(ctx, commitlog.Record{Value: fmt.Append(nil, i)}); err != nil {
			log.Fatal(err)
		}
	}
	if err := l.Sync(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.End(), l.Durable(), l.Stats().Syncs)
	// Output: 1000 1000 1
}

func ExampleLog_OffsetAt() {
	dir, err := os.MkdirTemp("", "commitlog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := commitlog.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for i := range 10 {
		r := commitlog.Record{Timestamp: noon.Add(time.Duration(i) * time.Minute)}
		if _, err := l.Append(context.Background(), r); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(l.OffsetAt(noon.Add(150 * time.Second)))
	fmt.Println(l.OffsetAt(noon.Add(time.Hour)))
	// Output:
	// 3 true <nil>
	// 0 false <nil>
}

// Records with the same key are in one partition, in order.
func ExampleTopic() {
	dir, err := os.MkdirTemp("", "commitlog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	clicks, err := commitlog.OpenTopic(dir, 4, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer clicks.Close()
	for _, user := range []string{"alice", "bob", "alice"} {
		partition, offset, err := clicks.Append(ctx, commitlog.Record{Key: []byte(user)})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: partition %d, offset %d\n", user, partition, offset)
	}
	// Output:
	// alice: partition 1, offset 0
	// bob: partition 2, offset 0
	// alice: partition 1, offset 1
}
