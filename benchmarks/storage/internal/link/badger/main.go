// Command badger is what a program that links Badger weighs at least.
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/dgraph-io/badger/v4"
)

func main() {
	db, err := badger.Open(badger.DefaultOptions(os.Args[1]))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *badger.Txn) error {
		if err := tx.Set([]byte("key"), []byte("value")); err != nil {
			return err
		}
		item, err := tx.Get([]byte("key"))
		if err != nil {
			return err
		}
		return item.Value(func(value []byte) error {
			fmt.Println(string(value))
			return nil
		})
	})
	if err != nil {
		log.Fatal(err)
	}
}
