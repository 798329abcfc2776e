package commitlog_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// signed is a record whose key says what its value is.
func signed(rng *rand.Rand) commitlog.Record {
	key := fmt.Appendf(nil, "%d", rng.IntN(60))
	return commitlog.Record{Key: key, Value: signature(key, rng.IntN(300)), Timestamp: time.UnixMilli(1e12)}
}

func signature(key []byte, n int) []byte {
	sum := sha256.Sum256(fmt.Append(key, n))
	return slices.Repeat(sum[:], n/32+1)[:max(n, 1)]
}

func checkSigned(r commitlog.Record) error {
	if n := len(r.Value); n > 1 && string(signature(r.Key, n)) != string(r.Value) {
		return fmt.Errorf("offset %d, key %s: a value of %d bytes that nobody wrote", r.Offset, r.Key, n)
	}
	return nil
}

// All that changes a log, and all that reads it, at the same time: no reader
// sees what nobody wrote, offsets never go back without a truncation, and the
// log is sound, now and when it is opened again.
func TestAllAtOnce(t *testing.T) {
	for round, opts := range settings {
		rng := rand.New(rand.NewPCG(9, uint64(round)))
		opts.SegmentBytes = int64(8192 + rng.IntN(16000))
		opts.FS = vfs.NewMem()
		l, err := commitlog.Open("", &opts)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var writing, others sync.WaitGroup
		for w := range 2 {
			writing.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				var batch []byte
				for range 200 {
					var err error
					if w == 0 {
						_, err = l.Append(t.Context(), signed(rng))
					} else { // some are large; the slice is used again at once
						batch, err = commitlog.AppendBatchTo(batch[:0], 0, nil, signed(rng), signed(rng))
						if err == nil {
							_, err = l.AppendBatch(t.Context(), batch)
							clear(batch)
						}
					}
					if err != nil {
						t.Errorf("Append: %v", err)
						return
					}
				}
			})
		}
		for name, work := range map[string]func(*rand.Rand) error{
			"Compact": func(*rand.Rand) error { return l.Compact(ctx) },
			"Verify":  func(*rand.Rand) error { return l.Verify(ctx) },
			"Sync":    func(*rand.Rand) error { return l.Sync(ctx) },
			"Retain": func(rng *rand.Rand) error {
				l.SetRetention(0, int64(30_000+rng.IntN(100_000)))
				return l.Retain(ctx)
			},
			"TruncateFrom": func(rng *rand.Rand) error { return l.TruncateFrom(max(l.End()-rng.Int64N(40), l.Start())) },
			"DeleteBefore": func(rng *rand.Rand) error { return l.DeleteBefore(l.Start() + rng.Int64N(20)) },
			"Reset": func(rng *rand.Rand) error {
				if rng.IntN(20) > 0 {
					return nil
				}
				return l.Reset(l.End() + rng.Int64N(3))
			},
			"OffsetAt": func(*rand.Rand) error { _, _, err := l.OffsetAt(time.UnixMilli(1e12)); return err },
			"Records": func(*rand.Rand) error {
				for r, err := range l.Records(l.Start()) {
					if err := errors.Join(err, checkSigned(r)); err != nil {
						return err
					}
				}
				return nil
			},
			"Reader": func(*rand.Rand) error {
				r := l.NewReader(l.Start(), &commitlog.ReaderOptions{ChunkBytes: 700})
				last := int64(-1)
				for range 50 {
					rec, err := r.Next(ctx)
					if err != nil {
						return err
					}
					if rec.Offset <= last {
						return fmt.Errorf("offset %d after %d", rec.Offset, last)
					}
					last = rec.Offset
					if err := checkSigned(rec); err != nil {
						return err
					}
				}
				return nil
			},
		} {
			others.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(len(name))))
				for ctx.Err() == nil {
					if err := work(rng); err != nil && ctx.Err() == nil && !errors.Is(err, commitlog.ErrOutOfRange) {
						t.Errorf("%s: %v", name, err)
						return
					}
				}
			})
		}
		writing.Wait()
		cancel()
		others.Wait()
		l.SetRetention(0, 0) // Close, which seals what is full, would apply it
		require.NoError(t, l.Verify(t.Context()))
		read := func() (all []string) {
			for r, err := range l.Records(l.Start()) {
				require.NoError(t, errors.Join(err, checkSigned(r)))
				all = append(all, fmt.Sprintf("%d %s %x", r.Offset, r.Key, r.Value))
			}
			return all
		}
		before, start, end := read(), l.Start(), l.End()
		require.NoError(t, l.Close())
		l, err = commitlog.Open("", &opts)
		require.NoError(t, err)
		require.Equal(t, []int64{start, end}, []int64{l.Start(), l.End()}, "settings %d", round)
		require.Equal(t, before, read())
		require.NoError(t, l.Close())
	}
}
