// Command goleveldb is what a program that links goleveldb weighs at least.
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

func main() {
	db, err := leveldb.OpenFile(os.Args[1], nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if err := db.Put([]byte("key"), []byte("value"), &opt.WriteOptions{Sync: true}); err != nil {
		log.Fatal(err)
	}
	value, err := db.Get([]byte("key"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(value))
}
