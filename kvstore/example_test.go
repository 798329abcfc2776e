package kvstore_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/ashlar-go/ashlar/kvstore"
)

// dir returns a directory for an example.
func dir() (path string, remove func()) {
	path, err := os.MkdirTemp("", "kvstore")
	if err != nil {
		log.Fatal(err)
	}
	return path, func() { _ = os.RemoveAll(path) }
}

func Example() {
	path, remove := dir()
	defer remove()
	store, err := kvstore.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	for _, fruit := range []string{"pear", "apple", "plum"} {
		if err := store.Put([]byte("fruit/"+fruit), []byte("ripe"), nil); err != nil {
			log.Fatal(err)
		}
	}
	value, ok, err := store.Get([]byte("fruit/plum"))
	fmt.Printf("%s %v %v\n", value, ok, err)
	for entry, err := range store.Prefix([]byte("fruit/")) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", entry.Key)
	}
	// Output:
	// ripe true <nil>
	// fruit/apple
	// fruit/pear
	// fruit/plum
}

// A batch is there as a whole or not at all, and what it waits for is said once.
func ExampleStore_Apply() {
	path, remove := dir()
	defer remove()
	store, err := kvstore.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	var b kvstore.Batch
	b.Put([]byte("account/1"), []byte("90"))
	b.Put([]byte("account/2"), []byte("110"))
	b.Delete([]byte("transfer/7"))
	if err := store.Apply(&b, &kvstore.WriteOptions{Durability: kvstore.Synced}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Len(), store.Len())
	// Output: 3 2
}

// A snapshot does not change, whatever happens to the store.
func ExampleStore_Snapshot() {
	path, remove := dir()
	defer remove()
	store, err := kvstore.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	_ = store.Put([]byte("k"), []byte("before"), nil)
	snapshot, err := store.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	defer snapshot.Close()
	_ = store.Put([]byte("k"), []byte("after"), nil)

	then, _, _ := snapshot.Get([]byte("k"))
	now, _, _ := store.Get([]byte("k"))
	fmt.Printf("%s, %s\n", then, now)
	// Output: before, after
}

// A session ends by itself.
func ExampleWriteOptions() {
	path, remove := dir()
	defer remove()
	now := time.Unix(1_700_000_000, 0)
	store, err := kvstore.Open(path, &kvstore.Options{Now: func() time.Time { return now }})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	_ = store.Put([]byte("session/42"), []byte("ada"), &kvstore.WriteOptions{TTL: time.Hour, Durability: kvstore.Buffered})
	_, before, _ := store.Get([]byte("session/42"))
	now = now.Add(time.Hour)
	_, after, _ := store.Get([]byte("session/42"))
	fmt.Println(before, after)
	// Output: true false
}

// What is wrong on disk is an error that says where.
func ExampleCorruptError() {
	path, remove := dir()
	defer remove()
	store, err := kvstore.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 3 {
		_ = store.Put(fmt.Appendf(nil, "key-%d", i), []byte("value"), nil)
	}
	_ = store.Close()
	file := path + "/0000000000000001.log"
	data, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		log.Fatal(err)
	}

	store, err = kvstore.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	_, _, err = store.Get([]byte("key-2"))
	fmt.Println(err)
	corrupt, _ := errors.AsType[*kvstore.CorruptError](err)
	fmt.Println(corrupt.File, errors.Is(err, kvstore.ErrCorrupt))
	_ = store.Close()
	// Output:
	// kvstore: 0000000000000001.log: bad checksum at byte 124
	// 0000000000000001.log true
}
