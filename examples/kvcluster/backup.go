package kvcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// inside returns the path of a backup below the node's data, so that a client cannot
// write elsewhere.
func (n *Node) inside(name string) (string, error) {
	if !filepath.IsLocal(name) || name == "." || strings.ContainsAny(name, `/\`) {
		return "", fmt.Errorf("kvcluster: %q is no name for a backup: want one without slashes", name)
	}
	return filepath.Join(n.config.Dir, "backups", name), nil
}

// backup writes this node's share into a new directory below its data.
func (n *Node) backup(ctx context.Context, name string) error {
	dir, err := n.inside(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	return n.store.engine.Backup(ctx, dir)
}

func (n *Node) handleBackup(ctx context.Context, b []byte) ([]byte, error) {
	return nil, n.backup(ctx, string(b))
}

// backupAll lets every member write its share, as it is at some moment of its own. All
// must be there: what fewer have may be older than what was acknowledged.
func (n *Node) backupAll(ctx context.Context, name string) error {
	_, err := n.all(ctx, methodBackup, []byte(name), n.handleBackup)
	return err
}

// errNoBackup tells that a node has none of that name.
var errNoBackup = errors.New("kvcluster: there is no such backup")

// restore merges a backup of this node into the cluster: each object goes to its
// owners, whoever had it when the backup was made. What was written since stays,
// and what was deleted since, too, as long as deletes are remembered.
func (n *Node) restore(ctx context.Context, name string) (objects uint64, err error) {
	dir, err := n.inside(name)
	if err != nil {
		return 0, err
	}
	if _, err := CheckBackup(dir); errors.Is(err, fs.ErrNotExist) {
		return 0, errNoBackup
	} else if err != nil {
		return 0, err
	}
	b := n.newBatcher(ctx)
	for e, err := range ReadBackup(dir) {
		if err != nil {
			return objects, errors.Join(err, b.flush())
		}
		if len(e.Key) < hashSize {
			continue // the store's identity stays with the store
		}
		key := e.Key[hashSize:]
		o, err := decodeObject(key, e.Value)
		if err != nil {
			return objects, errors.Join(err, b.flush())
		}
		for _, owner := range n.roster.placement().owners(key) {
			b.add(owner, key, o)
		}
		objects++
	}
	return objects, b.flush()
}

// handleRestore answers with the number of objects in the backup, and with none if
// there is no backup.
func (n *Node) handleRestore(ctx context.Context, b []byte) ([]byte, error) {
	objects, err := n.restore(ctx, string(b))
	var e encoder
	if errors.Is(err, errNoBackup) {
		return e, nil
	}
	e.uvarint(objects)
	return e, err
}

// restoreAll merges the backups of that name of all members.
func (n *Node) restoreAll(ctx context.Context, name string) (objects uint64, err error) {
	replies, err := n.all(ctx, methodRestore, []byte(name), n.handleRestore)
	found := false
	for _, reply := range replies {
		if len(reply) > 0 {
			d := decoder{b: reply}
			objects += d.uvarint()
			found = true
		}
	}
	if err == nil && !found {
		err = errNoBackup
	}
	return objects, err
}

// backupTime is how long a member may take for its share.
const backupTime = time.Minute

// all calls every member at once, this node's own handler directly, and returns what
// they answered. The error names those that did not.
func (n *Node) all(ctx context.Context, method byte, request []byte, own func(context.Context, []byte) ([]byte, error)) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	var mu sync.Mutex
	var replies [][]byte
	var errs []error
	var calls sync.WaitGroup
	for _, m := range n.roster.placement().members {
		if m.Status == Left {
			continue
		}
		calls.Go(func() {
			reply, err := []byte(nil), replica.ErrDown
			switch {
			case m.Name == n.config.Name:
				reply, err = own(ctx, request)
			case n.gossip.isAlive(m.Name):
				reply, err = n.endpoint.Call(ctx, m.node(), method, request)
			}
			mu.Lock()
			defer mu.Unlock()
			replies = append(replies, reply)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))
			}
		})
	}
	calls.Wait()
	return replies, errors.Join(errs...)
}
