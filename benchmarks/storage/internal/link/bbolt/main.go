// Command bbolt is what a program that links bbolt weighs at least.
package main

import (
	"fmt"
	"log"
	"os"

	"go.etcd.io/bbolt"
)

func main() {
	db, err := bbolt.Open(os.Args[1], 0o600, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("bucket"))
		if err != nil {
			return err
		}
		if err := bucket.Put([]byte("key"), []byte("value")); err != nil {
			return err
		}
		fmt.Println(string(bucket.Get([]byte("key"))))
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
}
