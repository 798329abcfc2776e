package kafka

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// Members that begin together have a leader although no timeout ever ends, and
// it is the one that knows most.
func TestFirstElection(t *testing.T) {
	dir := t.TempDir()
	begin := func() []controller {
		book, fabric := newAddressBook(map[int32]string{1: "", 2: "", 3: ""}), newFabric()
		var all []controller
		for id := int32(1); id <= 3; id++ {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			book.set(id, ln.Addr().String())
			q, err := openQuorum(quorumConfig{
				ID: id, Book: book, Listener: fabric.listen(id, ln), Data: filepath.Join(dir, strconv.Itoa(int(id))), Fabric: fabric,
				Session: time.Hour, Election: time.Hour, Log: slog.New(slog.DiscardHandler),
			})
			require.NoError(t, err)
			all = append(all, q)
		}
		require.NoError(t, firstElection(all))
		return all
	}
	propose := func(c controller, id int32) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Propose(ctx, command{Register: &registration{member: member{ID: id}}})
		require.NoError(t, err)
	}
	end := func(all ...controller) {
		for _, c := range all {
			require.NoError(t, c.Close())
		}
	}

	all := begin()
	propose(all[2], 3)
	require.EqualValues(t, 1, all[2].Leader(), "all know as much, so it is the first")
	require.NoError(t, all[0].(*quorum).raft.LeadershipTransferToServer("2", "2").Error())
	end(all[0])
	for id := range int32(3) {
		propose(all[2], id+1)
	}
	end(all[1:]...)

	all = begin()
	propose(all[0], 1) // waits until the first, which lacks some, has them
	require.NotEqualValues(t, 1, all[0].Leader())
	require.Len(t, all[0].Image().Brokers, 3)
	end(all...)

	// Entries of an early leader that nobody else has are not more than what
	// the others agreed on, however many there are.
	log, stable, err := openRaftStores(filepath.Join(dir, "1", "controller"))
	require.NoError(t, err)
	last, err := log.LastIndex()
	require.NoError(t, err)
	require.NoError(t, log.DeleteRange(last, last))
	for i := range uint64(10) {
		require.NoError(t, log.StoreLog(&raft.Log{Index: last + i, Term: 1, Type: raft.LogNoop}))
	}
	require.NoError(t, errors.Join(log.Close(), stable.Close()))
	all = begin()
	propose(all[0], 1)
	require.NotEqualValues(t, 1, all[0].Leader())
	end(all...)
}
