package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/stm"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
	"github.com/ashlar-go/ashlar/occ"
	"github.com/dgraph-io/badger/v4"
	"github.com/hashicorp/go-memdb"
)

func init() {
	harness.Register(harness.Suite{Package: "occ", Doc: "transactions: time and aborts of transfers, reads beside writers, optimistic against locks", Run: func(s *harness.Session) {
		transfers(s)
		scans(s)
		contention(s)
		durable(s)
		reservations(s)
	}})
}

// A bank keeps accounts and moves one unit between two of them in one
// transaction: two reads, two writes. It calls think between them, once for every
// run of the body.
type bank interface {
	transfer(from, to int64, think func())
	sum() int64
	close()
}

// A scanner reads n accounts in one transaction, and calls attempt in each run
// of its body.
type scanner interface {
	bank
	scan(n int64, attempt func()) (sum int64)
}

const opening = 1000 // on every account

type bankMaker struct {
	name string
	make func(accounts int64) bank
}

var bankMakers = []bankMaker{
	{harness.Ours, newStore},
	{"anacrolix/stm", newSTM},
	{"go-memdb", newMemDB},
	{"badger", newBadger},
	{"2PL by hand", newTwoPhase},
	{"one mutex", newOneMutex},
}

func bankersNamed(names ...string) (makers []bankMaker) {
	for _, name := range names {
		i := slices.IndexFunc(bankMakers, func(m bankMaker) bool { return m.name == name })
		makers = append(makers, bankMakers[i])
	}
	return makers
}

// Ours.
type storeBank struct {
	s    *occ.Store[int64, int64]
	lock bool
}

func newStore(accounts int64) bank { return storeBank{s: fillStore(accounts)} }

func newLocking(accounts int64) bank { return storeBank{s: fillStore(accounts), lock: true} }

func fillStore(accounts int64) *occ.Store[int64, int64] {
	s := occ.New[int64, int64](nil)
	for i := range accounts {
		if _, _, err := s.CompareAndSwap(context.Background(), i, 0, opening); err != nil {
			panic(err)
		}
	}
	return s
}

func (b storeBank) transfer(from, to int64, think func()) {
	err := b.s.Update(context.Background(), func(tx *occ.Tx[int64, int64]) error {
		if b.lock {
			if err := tx.Lock(from, to); err != nil {
				return err
			}
		}
		x, _ := tx.Get(from)
		y, _ := tx.Get(to)
		think()
		tx.Put(from, x-1)
		tx.Put(to, y+1)
		return nil
	})
	if err != nil {
		panic(err)
	}
}

func (b storeBank) scan(n int64, attempt func()) (sum int64) {
	_ = b.s.View(context.Background(), func(tx *occ.Tx[int64, int64]) error {
		attempt()
		sum = 0
		for _, value := range tx.Range(0, n) {
			sum += value
		}
		return nil
	})
	return sum
}

func (b storeBank) sum() int64 { return b.scan(1<<62, func() {}) }
func (b storeBank) close()     {}

// A stmBank finds its variables in a map that does not change.
type stmBank struct{ accounts map[int64]*stm.Var }

func newSTM(accounts int64) bank {
	b := stmBank{make(map[int64]*stm.Var, accounts)}
	for i := range accounts {
		b.accounts[i] = stm.NewVar(int64(opening))
	}
	return b
}

func (b stmBank) transfer(from, to int64, think func()) {
	stm.Atomically(stm.VoidOperation(func(tx *stm.Tx) {
		a, c := b.accounts[from], b.accounts[to]
		x := tx.Get(a).(int64)
		y := tx.Get(c).(int64)
		think()
		tx.Set(a, x-1)
		tx.Set(c, y+1)
	}))
}

func (b stmBank) scan(n int64, attempt func()) (sum int64) {
	stm.Atomically(stm.VoidOperation(func(tx *stm.Tx) {
		attempt()
		sum = 0
		for i := range n {
			sum += tx.Get(b.accounts[i]).(int64)
		}
	}))
	return sum
}

func (b stmBank) sum() int64 { return b.scan(int64(len(b.accounts)), func() {}) }
func (b stmBank) close()     {}

type memdbBank struct{ db *memdb.MemDB }

type memdbAccount struct {
	ID      int64
	Balance int64
}

func newMemDB(accounts int64) bank {
	db, err := memdb.NewMemDB(&memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
		"account": {Name: "account", Indexes: map[string]*memdb.IndexSchema{
			"id": {Name: "id", Unique: true, Indexer: &memdb.IntFieldIndex{Field: "ID"}},
		}},
	}})
	if err != nil {
		panic(err)
	}
	txn := db.Txn(true)
	for i := range accounts {
		if err := txn.Insert("account", &memdbAccount{i, opening}); err != nil {
			panic(err)
		}
	}
	txn.Commit()
	return memdbBank{db}
}

func (b memdbBank) transfer(from, to int64, think func()) {
	txn := b.db.Txn(true)
	defer txn.Commit()
	x, _ := txn.First("account", "id", from)
	y, _ := txn.First("account", "id", to)
	think()
	_ = txn.Insert("account", &memdbAccount{from, x.(*memdbAccount).Balance - 1})
	_ = txn.Insert("account", &memdbAccount{to, y.(*memdbAccount).Balance + 1})
}

func (b memdbBank) scan(n int64, attempt func()) (sum int64) {
	attempt()
	accounts, err := b.db.Txn(false).Get("account", "id")
	if err != nil {
		panic(err)
	}
	for ; n > 0; n-- {
		account := accounts.Next()
		if account == nil {
			break
		}
		sum += account.(*memdbAccount).Balance
	}
	return sum
}

func (b memdbBank) sum() int64 { return b.scan(1<<62, func() {}) }
func (b memdbBank) close()     {}

type badgerBank struct{ db *badger.DB }

func newBadger(accounts int64) bank {
	db, err := badger.Open(badger.DefaultOptions("").WithInMemory(true).WithLogger(nil).WithMetricsEnabled(false))
	if err != nil {
		panic(err)
	}
	batch := db.NewWriteBatch()
	for i := range accounts {
		if err := batch.Set(number(i), number(opening)); err != nil {
			panic(err)
		}
	}
	if err := batch.Flush(); err != nil {
		panic(err)
	}
	return badgerBank{db}
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func balance(txn *badger.Txn, key []byte) (n int64) {
	item, err := txn.Get(key)
	if err == nil {
		err = item.Value(func(value []byte) error {
			n = int64(binary.BigEndian.Uint64(value))
			return nil
		})
	}
	if err != nil {
		panic(err)
	}
	return n
}

func (b badgerBank) transfer(from, to int64, think func()) {
	for {
		err := b.db.Update(func(txn *badger.Txn) error {
			from, to := number(from), number(to)
			x, y := balance(txn, from), balance(txn, to)
			think()
			return cmp.Or(txn.Set(from, number(x-1)), txn.Set(to, number(y+1)))
		})
		if err == nil {
			return
		}
		if !errors.Is(err, badger.ErrConflict) {
			panic(err)
		}
	}
}

func (b badgerBank) scan(n int64, attempt func()) (sum int64) {
	_ = b.db.View(func(txn *badger.Txn) error {
		attempt()
		all := txn.NewIterator(badger.DefaultIteratorOptions)
		defer all.Close()
		for all.Rewind(); all.Valid() && n > 0; all.Next() {
			n--
			_ = all.Item().Value(func(value []byte) error {
				sum += int64(binary.BigEndian.Uint64(value))
				return nil
			})
		}
		return nil
	})
	return sum
}

func (b badgerBank) sum() int64 { return b.scan(1<<62, func() {}) }
func (b badgerBank) close()     { _ = b.db.Close() }

// A twoPhaseBank is pessimistic: a lock for each account, taken in the order of
// the accounts, and released when all is done.
type twoPhaseBank struct{ accounts map[int64]*lockedAccount }

type lockedAccount struct {
	sync.Mutex
	balance int64
}

func newTwoPhase(accounts int64) bank {
	b := twoPhaseBank{make(map[int64]*lockedAccount, accounts)}
	for i := range accounts {
		b.accounts[i] = &lockedAccount{balance: opening}
	}
	return b
}

func (b twoPhaseBank) transfer(from, to int64, think func()) {
	first, second := b.accounts[min(from, to)], b.accounts[max(from, to)]
	first.Lock()
	defer first.Unlock()
	second.Lock()
	defer second.Unlock()
	think()
	b.accounts[from].balance--
	b.accounts[to].balance++
}

func (b twoPhaseBank) sum() (sum int64) {
	for _, account := range b.accounts {
		sum += account.balance
	}
	return sum
}

func (b twoPhaseBank) close() {}

// An oneMutexBank is a map behind a mutex.
type oneMutexBank struct {
	mu       sync.Mutex
	accounts map[int64]int64
}

func newOneMutex(accounts int64) bank {
	b := &oneMutexBank{accounts: make(map[int64]int64, accounts)}
	for i := range accounts {
		b.accounts[i] = opening
	}
	return b
}

func (b *oneMutexBank) transfer(from, to int64, think func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, y := b.accounts[from], b.accounts[to]
	think()
	b.accounts[from], b.accounts[to] = x-1, y+1
}

func (b *oneMutexBank) sum() (sum int64) {
	for _, balance := range b.accounts {
		sum += balance
	}
	return sum
}

func (b *oneMutexBank) close() {}

// A rush is many goroutines that transfer between accounts.
type rush struct {
	name     string
	accounts population
	think    func()
	yields   bool
}

const bankers = 8 // goroutines

func think() {}

var rushes = []rush{
	{"uniform, 100k accounts", population{100_000, 0}, think, false},
	{"zipf 1.2, 100k accounts", population{100_000, 1.2}, think, false},
	{"uniform, 100 accounts", population{100, 0}, think, false},
	{"zipf 1.2, 100k accounts, yield in the body", population{100_000, 1.2}, runtime.Gosched, true},
	{"uniform, 100 accounts, yield in the body", population{100, 0}, runtime.Gosched, true},
	{"zipf 1.2, 100 accounts, yield in the body", population{100, 1.2}, runtime.Gosched, true},
}

// measure has the banks take turns of n transfers, and returns the samples and
// how many runs of bodies were in vain, for each transfer.
func (r rush) measure(s *harness.Session, n int, makers []bankMaker) (samples []harness.Samples, aborts []harness.Figure) {
	var impls []harness.Impl
	bodies, commits := make([]atomic.Int64, len(makers)), make([]int64, len(makers))
	keys, size := r.accounts.draw(), int64(r.accounts.size)
	for i, m := range makers {
		impls = append(impls, harness.Impl{Name: m.name, Start: func() (func(int), func()) {
			b := m.make(size)
			start := 0
			run := func(n int) {
				var wg sync.WaitGroup
				for g := range bankers {
					wg.Go(func() {
						runs := int64(0)
						body := func() { runs++; r.think() }
						at := start + g*(period/bankers)
						for j := at; j < at+2*(n/bankers); j += 2 {
							from, to := keys[j&(period-1)]%size, keys[(j+1)&(period-1)]%size
							if from == to {
								to = (to + 1) % size
							}
							b.transfer(from, to, body)
						}
						bodies[i].Add(runs)
					})
				}
				wg.Wait()
				start += 2 * (n / bankers)
				commits[i] += int64(n / bankers * bankers)
			}
			return run, func() {
				if sum := b.sum(); sum != size*opening {
					panic(fmt.Sprintf("%s has lost money: %d", m.name, sum))
				}
				b.close()
			}
		}})
	}
	samples = harness.Interleave(s.Rounds(), n, impls)
	for i, m := range makers {
		aborts = append(aborts, harness.Figure{Name: m.name, Value: float64(bodies[i].Load()-commits[i]) / float64(commits[i])})
	}
	return samples, aborts
}

func transfers(s *harness.Session) {
	var emits []func()
	for i, r := range rushes {
		timed := harness.Spec{
			Group: "Transfer: two reads, two writes, 8 goroutines", Name: "transfer, " + r.name, Unit: harness.CPUTime,
		}
		n := s.Pick(1<<15, 1<<14, 1<<8)
		if r.yields {
			n = s.Pick(1<<14, 1<<13, 1<<8) // what it costs is the yield; it is there for the aborts
		} else {
			timed.Bars = []harness.Bar{harness.AtMost(.333).Of("anacrolix/stm"), harness.AtMost(.05).Of("go-memdb", "badger")}
		}
		counted := harness.Spec{Group: "Runs of a body that were in vain, for each commit", Name: "aborts, " + r.name, Unit: "per commit"}
		if i > 0 && r.accounts.skew > 0 {
			counted.Bars = []harness.Bar{harness.AtMost(.5).Of("anacrolix/stm")}
		}
		wantTime, wantCount := s.Want(timed), s.Want(counted)
		if !wantTime && !wantCount {
			continue
		}
		samples, aborts := r.measure(s, n, bankMakers)
		if wantTime {
			s.Emit(timed, s.Rounds(), harness.Timings(samples))
		}
		if wantCount {
			emits = append(emits, func() { s.Emit(counted, s.Rounds(), aborts) })
		}
	}
	for _, emit := range emits {
		emit()
	}
}

// scans counts the attempts of readers of many keys, beside writers.
func scans(s *harness.Session) {
	s.Repeated(harness.Spec{
		Group: "A reader of 2000 keys beside 4 writers", Name: "scan, attempts", Unit: "attempts",
		Bars: []harness.Bar{harness.AtMost(1)},
	}, func(int) (figures []harness.Figure) {
		const keys = 2000
		for _, m := range bankersNamed(harness.Ours, "anacrolix/stm", "go-memdb", "badger") {
			b := m.make(keys).(scanner)
			var stop atomic.Bool
			var wg sync.WaitGroup
			for g := range int64(4) {
				wg.Go(func() {
					for i := g; !stop.Load(); i++ {
						b.transfer(i*7%keys, (i*13+1)%keys, runtime.Gosched)
					}
				})
			}
			n := s.Pick(300, 100, 3)
			attempts := 0
			for range n {
				if sum := b.scan(keys, func() { attempts++ }); sum != keys*opening && m.name == harness.Ours {
					panic(fmt.Sprintf("a scan saw %d", sum))
				}
			}
			stop.Store(true)
			wg.Wait()
			b.close()
			figures = append(figures, harness.Figure{Name: m.name, Value: float64(attempts) / float64(n)})
		}
		return figures
	})
}

// contention compares optimistic transactions with locks while fewer and fewer
// accounts are shared, by bodies that take no time, that give way, and that wait for something else.
func contention(s *harness.Session) {
	makers := append(bankersNamed(harness.Ours), bankMaker{"ashlar, Lock first", newLocking})
	makers = append(makers, bankersNamed("2PL by hand", "one mutex")...)
	for _, body := range []struct {
		name    string
		think   func()
		elapsed bool
		n       [3]int
	}{
		{"empty body", think, false, [3]int{1 << 16, 1 << 14, 1 << 8}},
		{"yield in the body", runtime.Gosched, false, [3]int{1 << 15, 1 << 13, 1 << 8}},
		{"wait of 50 µs in the body", func() { time.Sleep(50 * time.Microsecond) }, true, [3]int{1 << 12, 1 << 10, 1 << 6}},
	} {
		for _, accounts := range []int{10_000, 100, 10, 2} {
			spec := harness.Spec{
				Group: "Optimistic or with locks: processor time", Name: fmt.Sprintf("contention, %s, %d accounts", body.name, accounts), Unit: harness.CPUTime,
			}
			if body.elapsed {
				spec.Group, spec.Unit = "Optimistic or with locks: elapsed time", "elapsed ns/op"
			}
			if !s.Want(spec) {
				continue
			}
			n := s.Pick(body.n[0], body.n[1], body.n[2])
			if body.elapsed && accounts < 100 { // they wait one after the other
				n /= 8
			}
			samples, aborts := rush{name: spec.Name, accounts: population{accounts, 0}, think: body.think}.measure(s, n, makers)
			if body.elapsed {
				for _, of := range samples {
					for i := range of.Samples {
						of.Samples[i].CPU = of.Samples[i].Wall
					}
				}
			}
			spec.Note = fmt.Sprintf("aborts per commit: %.2f", aborts[0].Value)
			s.Emit(spec, s.Rounds(), harness.Timings(samples))
		}
	}
}

// A countingLog takes as long as a disk does, keeps nothing, and counts.
type countingLog struct{ appends int }

func (l *countingLog) Append(context.Context, []occ.Commit[int64, int64]) error {
	l.appends++
	time.Sleep(100 * time.Microsecond)
	return nil
}

func (l *countingLog) Replay(context.Context) iter.Seq2[occ.Commit[int64, int64], error] {
	return func(func(occ.Commit[int64, int64], error) bool) {}
}

// durable counts how many commits share an Append.
func durable(s *harness.Session) {
	s.Repeated(harness.Spec{
		Group: "With a log that takes 100 µs", Name: "log, commits for each Append of 64 writers", Unit: "commits", Higher: true,
		Bars: []harness.Bar{harness.AtLeast(8)},
	}, func(int) []harness.Figure {
		log := new(countingLog)
		const writers = 64
		store, err := occ.Open[int64, int64](context.Background(), log, nil)
		if err != nil {
			panic(err)
		}
		b := storeBank{s: store}
		n := int64(s.Pick(200, 50, 2))
		var wg sync.WaitGroup
		for g := range int64(writers) {
			wg.Go(func() {
				for i := range n {
					b.transfer(g*2*n+i, g*2*n+n+i, think)
				}
			})
		}
		wg.Wait()
		return []harness.Figure{{Name: harness.Ours, Value: float64(writers*n) / float64(log.appends)}}
	})
}

// reservations compares Holds with what is usually written by hand, a map from seat to
// owner and end behind a mutex.
func reservations(s *harness.Session) {
	const seats = 10_000
	type taken struct {
		owner int
		until time.Time
	}
	s.Time(harness.Spec{Group: "Holds", Name: "hold of two seats and release"}, s.Pick(1<<17, 1<<15, 1<<8), []harness.Impl{
		{Name: harness.Ours, Start: func() (func(int), func()) {
			h := occ.NewHolds[int, int](nil)
			ctx := context.Background()
			return func(n int) {
				for i := range n {
					hold, err := h.Hold(ctx, i%100, i*2%seats, i*2%seats+1)
					if err == nil {
						err = h.Release(ctx, hold.Token)
					}
					if err != nil {
						panic(err)
					}
				}
			}, none
		}},
		{Name: "map and mutex", Start: func() (func(int), func()) {
			var mu sync.Mutex
			m := map[int]taken{}
			return func(n int) {
				for i := range n {
					now := time.Now()
					a, b := i*2%seats, i*2%seats+1
					mu.Lock()
					if now.After(m[a].until) && now.After(m[b].until) {
						m[a] = taken{i % 100, now.Add(time.Minute)}
						m[b] = m[a]
					}
					mu.Unlock()
					mu.Lock()
					delete(m, a)
					delete(m, b)
					mu.Unlock()
				}
			}, none
		}},
	})
}
