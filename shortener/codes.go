package shortener

import (
	"context"
	"crypto/md5"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
)

// Codes make the codes of links. How likely it is that a code is taken already,
// its collision law, is said of each of the four kinds: [Salted], [Random],
// [Permuted] and [Hashed].
//
// A Codes is safe for concurrent use by multiple goroutines.
type Codes interface {
	// AppendCode appends a code for a URL to dst. Attempt is 0 at first, and
	// grows with each code for that URL which cannot be used. ErrNoCodes says
	// that there are no more.
	AppendCode(ctx context.Context, dst []byte, url string, attempt int) ([]byte, error)
}

// CodeOptions are the settings that all Codes have. Nil and zero fields mean the
// defaults.
type CodeOptions struct {
	Alphabet *Alphabet // Base62
	Length   int       // 7
}

func (o *CodeOptions) resolve() (a *Alphabet, length int, space uint64) {
	a, length = Base62, 7
	if o != nil && o.Alphabet != nil {
		a = o.Alphabet
	}
	if o != nil && o.Length != 0 {
		length = o.Length
	}
	if length < 0 {
		panic(fmt.Sprintf("shortener: codes of %d characters", length))
	}
	space, ok := a.Space(length)
	if !ok {
		panic(fmt.Sprintf("shortener: more than 2^64 codes of %d characters", length))
	}
	return a, length, space
}

// below returns a number below space that is as evenly spread as hash, which
// has 128 bits.
func below(hash []byte, space uint64) uint64 {
	hi, lo := binary.BigEndian.Uint64(hash), binary.BigEndian.Uint64(hash[8:])
	high, _ := bits.Mul64(lo, space)
	h, l := bits.Mul64(hi, space)
	_, carry := bits.Add64(l, high, 0)
	return h + carry
}

// A Salted cuts an MD5 of the URL and a salt to a code: the oldest scheme. The
// salt is drawn for each code, so a URL has many.
//
// Of n codes in a space of s, about n²/2s are the same as one before: for
// 7 characters of Base62, 0.14 of a million and 2.3 of 4 million. So each has to
// be looked up before it is given out, and then a link is lost to none.
type Salted struct {
	alphabet *Alphabet
	length   int
	space    uint64
}

// NewSalted returns Salted codes. It panics if the length is negative or if
// there would be more than 2^64 codes.
func NewSalted(opts *CodeOptions) *Salted {
	a, length, space := opts.resolve()
	return &Salted{a, length, space}
}

// AppendCode appends a code for the URL.
func (c *Salted) AppendCode(_ context.Context, dst []byte, url string, _ int) ([]byte, error) {
	var room [512]byte
	salted := append(room[:0], url...)
	var salt [16]byte
	if _, err := crand.Read(salt[:]); err != nil {
		return dst, err
	}
	sum := md5.Sum(append(salted, salt[:]...))
	return c.alphabet.Append(dst, below(sum[:], c.space), c.length), nil
}

// A Random draws codes, by a generator that nobody can predict. Its collision
// law is that of [Salted].
type Random struct {
	alphabet *Alphabet
	length   int
	space    uint64
}

// NewRandom returns Random codes. It panics where NewSalted does.
func NewRandom(opts *CodeOptions) *Random {
	a, length, space := opts.resolve()
	return &Random{a, length, space}
}

// AppendCode appends a code.
func (c *Random) AppendCode(_ context.Context, dst []byte, _ string, _ int) ([]byte, error) {
	r := randomness.Get().(*random)
	if r.next == len(r.bytes) {
		if _, err := crand.Read(r.bytes[:]); err != nil {
			return dst, err
		}
		r.next = 0
	}
	b := r.bytes[r.next:][:16]
	n := below(b, c.space)
	clear(b)
	r.next += 16
	randomness.Put(r)
	return c.alphabet.Append(dst, n, c.length), nil
}

// A random holds random bytes for some codes, since to draw many at a time
// takes little longer than few. Those that were used are cleared.
type random struct {
	bytes [512]byte
	next  int
}

var randomness = sync.Pool{New: func() any { return &random{next: 512} }}

// A Hashed makes codes of the content alone: a URL always gets the same code,
// as long as nobody else's URL has it. It goes with Options.SameURL. Whoever has
// the key can tell a URL's code without asking.
//
// Its collision law is that of [Salted], for different URLs; the code of the
// next attempt depends on the number of the attempt.
type Hashed struct {
	alphabet *Alphabet
	length   int
	space    uint64
	key      []byte
}

// NewHashed returns Hashed codes. Key may be empty; it keeps others from finding
// out whether a URL has been shortened. It panics where NewSalted does.
func NewHashed(key []byte, opts *CodeOptions) *Hashed {
	a, length, space := opts.resolve()
	return &Hashed{a, length, space, append([]byte(nil), key...)}
}

// AppendCode appends the code of the URL and the attempt.
func (c *Hashed) AppendCode(_ context.Context, dst []byte, url string, attempt int) ([]byte, error) {
	var room [512]byte
	b := binary.BigEndian.AppendUint64(room[:0], uint64(len(c.key)))
	b = append(b, c.key...)
	b = binary.BigEndian.AppendUint64(b, uint64(attempt))
	sum := sha256.Sum256(append(b, url...))
	return c.alphabet.Append(dst, below(sum[:16], c.space), c.length), nil
}

// A Permuted counts, and shows the numbers in an order that only its key
// explains: a Feistel network over the numbers of the space.
//
// It gives out every code once before there is ErrNoCodes; two are never the
// same, so none has to be looked up, but for aliases that people chose. Codes
// do not betray how many there are or which come next to somebody without the
// key, unless he invests in the attack: the rounds are quick mixing, not a cipher
// that has been studied. Links that must not be found need Random codes of
// more characters.
type Permuted struct {
	alphabet *Alphabet
	length   int
	next     func(context.Context) (uint64, error)
	p        permutation
}

// NewPermuted returns Permuted codes. Next returns numbers, each once in the
// life of the store: 0, 1, 2 … from a sequence that survives restarts, or nil
// for one in memory, which begins anew with each Permuted. It panics if there
// are more than 2^62 codes, and where NewSalted does.
func NewPermuted(key [16]byte, next func(context.Context) (uint64, error), opts *CodeOptions) *Permuted {
	a, length, space := opts.resolve()
	if space > 1<<62 {
		panic(fmt.Sprintf("shortener: more than 2^62 codes of %d characters", length))
	}
	if next == nil {
		var counter atomic.Uint64
		next = func(context.Context) (uint64, error) { return counter.Add(1) - 1, nil }
	}
	return &Permuted{a, length, next, newPermutation(key, space)}
}

// AppendCode appends the next code.
func (c *Permuted) AppendCode(ctx context.Context, dst []byte, _ string, _ int) ([]byte, error) {
	n, err := c.next(ctx)
	if err != nil {
		return dst, err
	}
	return c.AppendNumber(dst, n)
}

// AppendNumber appends the code of a number, or returns ErrNoCodes if there are
// no codes for numbers as large as that.
func (c *Permuted) AppendNumber(dst []byte, n uint64) ([]byte, error) {
	if n >= c.p.space {
		return dst, fmt.Errorf("%w: all %d are given out", ErrNoCodes, c.p.space)
	}
	return c.alphabet.Append(dst, c.p.of(n), c.length), nil
}

// Number returns the number of a code, and false if it is not of this kind.
func (c *Permuted) Number(code string) (uint64, bool) {
	n, ok := c.alphabet.Parse(code)
	if !ok || len(code) != c.length || n >= c.p.space {
		return 0, false
	}
	return c.p.inverse(n), true
}

// A permutation is one of the numbers below space.
//
//	high bits     low bits
//	   │             │
//	   ⊕◄── mix k0 ──┤      A round changes one half by what it makes
//	   │             │      of the other one, so it can be undone.
//	   ├── mix k1 ──►⊕
//	   ⋮             ⋮      6 rounds
//
// That permutes the numbers of so many bits. Where space is less, what comes out
// too large goes in again, until it is not: less than two times on average.
type permutation struct {
	space     uint64
	shift     uint // number of low bits
	high, low uint64
	keys      [6]uint64
}

func newPermutation(key [16]byte, space uint64) permutation {
	p := permutation{space: space}
	total := uint(bits.Len64(space - 1))
	p.shift = (total + 1) / 2
	p.low = 1<<p.shift - 1
	p.high = 1<<(total-p.shift) - 1
	for i := range p.keys {
		sum := sha256.Sum256(append([]byte{byte(i)}, key[:]...))
		p.keys[i] = binary.BigEndian.Uint64(sum[:])
	}
	return p
}

func mix(x, key uint64) uint64 {
	hi, lo := bits.Mul64(x^key, 0x9e3779b97f4a7c15)
	return hi ^ lo
}

func (p *permutation) of(n uint64) uint64 {
	for {
		h, l := n>>p.shift, n&p.low
		h ^= mix(l, p.keys[0]) & p.high
		l ^= mix(h, p.keys[1]) & p.low
		h ^= mix(l, p.keys[2]) & p.high
		l ^= mix(h, p.keys[3]) & p.low
		h ^= mix(l, p.keys[4]) & p.high
		l ^= mix(h, p.keys[5]) & p.low
		if n = h<<p.shift | l; n < p.space {
			return n
		}
	}
}

func (p *permutation) inverse(n uint64) uint64 {
	for {
		h, l := n>>p.shift, n&p.low
		l ^= mix(h, p.keys[5]) & p.low
		h ^= mix(l, p.keys[4]) & p.high
		l ^= mix(h, p.keys[3]) & p.low
		h ^= mix(l, p.keys[2]) & p.high
		l ^= mix(h, p.keys[1]) & p.low
		h ^= mix(l, p.keys[0]) & p.high
		if n = h<<p.shift | l; n < p.space {
			return n
		}
	}
}
