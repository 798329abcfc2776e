// Command ashlar is what a program that links package kvstore weighs at least.
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/ashlar-go/ashlar/kvstore"
)

func main() {
	db, err := kvstore.Open(os.Args[1], nil)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if err := db.Put([]byte("key"), []byte("value"), nil); err != nil {
		log.Fatal(err)
	}
	value, _, err := db.Get([]byte("key"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(value))
}
